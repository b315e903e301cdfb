"""The check of a family that was made outside of the package: its tasks, its splits, and whether its functions fit.

Functions are called on shapes alone, but for a few steps that show whether the physics reads the task.
"""

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from macaw_jax.envs.family import (
  AnalyticDynamics,
  GymnasiumDynamics,
  MujocoDynamics,
  Physics,
  State,
  Task,
  TaskFamily,
)
from macaw_jax.envs.import_mujoco import import_mujoco
from macaw_jax.errors import ConfigurationError, error_in

Shape = jax.ShapeDtypeStruct
TASKS_STEPPED, STEPS_TAKEN = 8, 2  # to see whether the physics reads the task


def check_family(family: TaskFamily, file: str) -> TaskFamily:
  """The family.

  Raises:
    ConfigurationError: its numbers or its functions do not fit together; the one line names the field, what it is and
      what was expected, and the line of `file` in which a function failed.
  """
  try:
    _check_numbers(family)
    _check_tasks(family.tasks)
    _check_splits(family)
    if not isinstance(family.dynamics, GymnasiumDynamics):  # Those have read their spaces.
      _check_functions(family, file)
    if isinstance(family.dynamics, AnalyticDynamics) and family.differ_in == "rewards":
      _check_that_physics_is_shared(family, family.dynamics)
  except ValueError as error:
    raise ConfigurationError(f"family {family.name!r}: {file}: {error}") from error
  return family


def _expect(holds: bool, field: str, found: object, expected: str) -> None:
  """Raises ValueError, which says what a field is and what was expected, unless that holds."""
  if not holds:
    raise ValueError(f"{field} is {' '.join(str(found).split()):.80}; expected {expected}")


def _is_integer(value: object) -> bool:
  return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _check_numbers(family: TaskFamily) -> None:
  for field in ("observation_size", "action_size", "horizon"):
    value = getattr(family, field)
    _expect(_is_integer(value) and value >= 1, field, value, "an integer of at least 1")
  _expect(family.differ_in in ("rewards", "physics"), "differ_in", repr(family.differ_in), "'rewards' or 'physics'")
  _expect(isinstance(family.discrete_actions, bool), "discrete_actions", repr(family.discrete_actions), "True or False")


def _check_tasks(tasks: Any) -> None:
  is_dict = isinstance(tasks, Mapping) and bool(tasks) and all(isinstance(name, str) for name in tasks)
  _expect(is_dict, "tasks", tasks, "a dict of arrays by name, as {'goal': goals}")
  for name, values in tasks.items():
    is_array = isinstance(values, np.ndarray | jax.Array) and values.dtype.kind in "iuf" and np.size(values) > 0
    right = is_array and values.ndim >= 1 and bool(np.isfinite(np.asarray(values)).all())
    _expect(right, f"tasks[{name!r}]", values, "an array of finite numbers, its first axis the tasks")
  counts = {name: len(values) for name, values in tasks.items()}
  _expect(len(set(counts.values())) == 1, "the number of tasks", counts, "one number for all")


def _check_splits(family: TaskFamily) -> None:
  splits: dict[str, Any] = {"train_tasks": family.train_tasks, "test_tasks": family.test_tasks}
  if family.extrapolation is not None:
    splits |= {f"extrapolation.{name}": indices for name, indices in family.extrapolation._asdict().items()}
  last = family.num_tasks - 1
  for field, indices in splits.items():
    is_tuple = isinstance(indices, Sequence) and len(indices) > 0 and len(set(indices)) == len(indices)
    right = is_tuple and all(_is_integer(index) and 0 <= index <= last for index in indices)
    _expect(right, field, indices, f"one or more different integers from 0 to {last}")


def _check_functions(family: TaskFamily, file: str) -> None:
  """Follows the shapes of one step through the functions."""

  def call(field: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
      return jax.eval_shape(function, *arguments)
    except Exception as error:
      raise ValueError(f"{field}: {error_in(file, error)}") from error

  task = {
    name: Shape(np.shape(values)[1:], jax.dtypes.canonicalize_dtype(values.dtype))
    for name, values in family.tasks.items()
  }
  action = Shape((family.action_size,), np.float32)
  start = call("reset", family.reset, task, jax.eval_shape(jax.random.key, 0))
  actuated = call("actuate", family.actuate, task, action)
  if isinstance(family.dynamics, MujocoDynamics):
    start = after = _state_of_model(family.dynamics, task, start, actuated)
  else:
    right = isinstance(family.dynamics, AnalyticDynamics)
    _expect(right, "dynamics", family.dynamics, "AnalyticDynamics or MujocoDynamics")
    _expect(bool(jax.tree.leaves(start)), "what reset gives", start, "a state, a pytree of arrays")
    after = call("dynamics.step", family.dynamics.step, task, start, actuated)  # type: ignore[union-attr]
    _expect(_text(after) == _text(start), "what dynamics.step gives", _text(after), f"{_text(start)}, as reset gives")
  observation = call("observe", family.observe, task, start)
  shown = call("show", family.show, observation, Shape((), np.float32))
  size = (family.observation_size,)
  _expect(_shape(shown) == size, "the shape of what observe gives", _shape(shown), f"{size}, as observation_size says")
  reward = call("reward", family.reward, task, start, action, after)
  _expect(_shape(reward) == (), "the shape of what reward gives", _shape(reward), "(), one number")
  terminal = call("terminal", family.terminal, task, after)
  _expect(_text(terminal) == "bool[]", "what terminal gives", _text(terminal), "bool[], true or false")


def _check_that_physics_is_shared(family: TaskFamily, dynamics: AnalyticDynamics) -> None:
  """Steps from the same state by the same action in several tasks: where tasks differ in rewards, all are the same."""
  chosen = np.unique(np.linspace(0, family.num_tasks - 1, TASKS_STEPPED).round().astype(int))
  tasks = {name: np.asarray(values)[chosen] for name, values in family.tasks.items()}
  start = family.reset({name: values[0] for name, values in tasks.items()}, jax.random.key(0))
  action = jax.random.uniform(jax.random.key(1), (family.action_size,), minval=-1.0, maxval=1.0)
  states = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(chosen), *np.shape(leaf))), start)
  for _ in range(STEPS_TAKEN):
    states = jax.vmap(lambda task, state: dynamics.step(task, state, family.actuate(task, action)))(tasks, states)
  same = all(np.allclose(leaf, leaf[:1], rtol=1e-5, atol=1e-6, equal_nan=True) for leaf in jax.tree.leaves(states))
  _expect(same, "differ_in", "'rewards'", "'physics', as a step leads elsewhere in another task")


def _state_of_model(dynamics: MujocoDynamics, task: Task, start: State, actuated: Any) -> Physics:
  """The shapes of a state as an engine fills it in; raises ValueError where the model does not fit the family."""
  mujoco = import_mujoco()
  model = mujoco.MjModel.from_xml_path(dynamics.xml_path)  # ValueError says what is wrong with the file
  data = mujoco.MjData(model)
  found = {"qpos": _shape(start.qpos), "qvel": _shape(start.qvel)} if isinstance(start, Physics) else start
  expected = {"qpos": (model.nq,), "qvel": (model.nv,)}
  _expect(found == expected, "what reset gives", found, f"Physics of the shapes {expected}, as {dynamics.xml_path} has")
  _expect(_shape(actuated) == (model.nu,), "the shape of what actuate gives", _shape(actuated), f"({model.nu},)")
  for name in dynamics.derived:
    _expect(hasattr(data, name), "dynamics.derived", repr(name), "names of fields of mjData, as 'cfrc_ext'")
  for name in dynamics.randomised:
    _expect(
      hasattr(model, name) and name in task, "dynamics.randomised", repr(name), "fields of mjModel that are in tasks"
    )
    shape = np.shape(getattr(model, name))
    _expect(_shape(task[name]) == shape, f"the shape of tasks[{name!r}]", _shape(task[name]), f"{shape} for each task")
  return start._replace(derived={name: Shape(np.shape(getattr(data, name)), np.float32) for name in dynamics.derived})


def _shape(found: Any) -> Any:
  """The shape of an array; of anything else, its own description."""
  return found.shape if isinstance(found, Shape) else _text(found)


def _text(found: Any) -> str:
  """Types and shapes of a pytree, as `float32[2]`."""
  return str(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", found)).replace("'", "")
