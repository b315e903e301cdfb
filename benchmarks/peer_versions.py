"""The methods that `benchmarks.peers` times: each as its authors built it in PyTorch, beside ours of the same numbers.

Ours are the registered sets `<method>_released`. Both sides get the same parameters under the names of the PyTorch
version, and where gradients are compared the same batch and noise, drawn from the key of our update.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import programs, update_versions
from benchmarks.measure import repeated
from benchmarks.random_data import half_cheetah_problem, random_dataset
from benchmarks.update_versions import OURS, Program, Version
from macaw_jax.actor_critics.actor_critic import split_loss_key
from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.hyperparameters import Part
from macaw_jax.learners.context import split_update_key
from macaw_jax.training.loop import compile_chunk, initialise, make_chunk
from macaw_jax.types import Algorithm, Array, Params, Problem, TaskBatch, Trajectory

if TYPE_CHECKING:
  from benchmarks.torch_context import Rows

THEIRS = "pytorch"
UPDATE_KEY = 1

Sizes = Mapping[str, int]
Arrays = dict[str, np.ndarray]


class Peer(NamedTuple):
  """A method on both sides."""

  versions: dict[str, Version]  # ours and theirs
  tasks: TaskBatch  # on which their gradients are compared


def recorded_descent(rate: float | optax.Schedule) -> optax.GradientTransformation:
  """Plain gradient steps that keep the last gradient: where steps follow each other, later ones see the earlier."""
  return optax.chain(optax.trace(decay=0.0), optax.scale_by_learning_rate(rate))


def with_settings(value: Any, **changes: Any) -> Any:
  """A part of an algorithm with those of the settings changed that it has."""
  assert isinstance(value, Part)
  return value.factory(
    **dict(value.settings) | {name: change for name, change in changes.items() if name in value.settings}
  )


def released(method: str, width: int | None, problem: Problem, **changes: Any) -> Algorithm:
  """Our repetition of a released code, all hidden layers of a width if one is given; `changes` are its optimiser's."""
  factory: Any = ALGORITHMS[f"{method}_released"]
  arguments = dict(factory.keywords)
  if width is not None:
    for name in ("encoder", "actor_critic"):
      hidden = arguments[name].settings["hidden_sizes"]
      arguments[name] = with_settings(arguments[name], hidden_sizes=(width,) * len(hidden))
  return factory(problem, **arguments | {"optimizer": with_settings(arguments["optimizer"], **changes)})


# Parameters and gradients of ours under the names of the PyTorch versions


def perceptron(name: str, params: Params) -> Arrays:
  """The layers of an `MLP`."""
  arrays: Arrays = {}
  for index in range(len(params)):
    layer = "out" if index == len(params) - 1 else f"layer{index}"
    kernel, bias = (params[f"layer_{index}"][key] for key in ("kernel", "bias"))
    arrays |= {f"{name}/{layer}/W": np.asarray(kernel).T.copy(), f"{name}/{layer}/b": np.array(bias)}
  return arrays


def policy(params: Params) -> Arrays:
  """The two heads of a policy, which are one layer of ours."""
  arrays = perceptron("policy", params)
  for letter in "Wb":
    both = arrays[f"policy/out/{letter}"]
    arrays[f"policy/out/{letter}"], arrays[f"policy/log_std/{letter}"] = np.split(both, 2)
  return arrays


def latent_behind_action(arrays: Arrays, problem: Problem) -> Arrays:
  """Networks of [o, z, a] as networks of [o, a, z]."""

  def moved(weights: np.ndarray) -> np.ndarray:
    latent_size = weights.shape[1] - problem.observation_size - problem.action_size
    of_state, of_latent, of_action = np.split(weights, np.cumsum([problem.observation_size, latent_size]), axis=1)
    return np.concatenate([of_state, of_action, of_latent], axis=1)

  return {name: moved(array) if name.endswith("/layer0/W") else array for name, array in arrays.items()}


def of_soft_actor_critic(net: Mapping[str, Params], problem: Problem) -> Arrays:
  """The parts that PEARL, FOCAL and CSRO have, those of them that are there."""
  arrays = policy(net["policy"]) | perceptron("encoder", net["encoder"])
  for part, name in {"value": "vf", "target_value": "target_vf", "behaviour_model": "behaviour_model"}.items():
    arrays |= perceptron(name, net[part]) if part in net else {}
  of_actions = twins(net["critic"])
  if "discriminator" in net:
    of_actions |= perceptron("discriminator", net["discriminator"])
  return arrays | latent_behind_action(of_actions, problem)


def twins(params: Params) -> Arrays:
  """Two critics, which are one part of ours."""
  first, second = (jax.tree.map(lambda leaf, index=index: leaf[index], params) for index in range(2))
  return perceptron("qf1", first) | perceptron("qf2", second)


# Context-based methods

Named = Callable[[Mapping[str, Params], Problem], Arrays]


class Context(NamedTuple):
  """A context-based method.

  named: our parts, or their gradients, as PyTorch's arrays
  learner: `(arrays, optimiser) -> learner` in PyTorch, with the released numbers if no optimiser is given
  shares: how many batches of rows an update reads
  """

  named: Named
  learner: Callable[..., "TorchLearner"]
  shares: int = 1


class TorchLearner(NamedTuple):
  """A method in PyTorch.

  record: the gradients by which parameters are stepped from now on, as of `torch_context.Agent.record`
  on: `(context, batches, task indices, key)`, an update with the noise that the key of ours stands for
  update: an update on batches and noise of its own
  """

  record: Callable[[], Arrays]
  on: Callable[[Any, list[Any], np.ndarray, Array], None]
  update: Callable[["Sampler", Sizes], None]


class Sampler:
  """Rows drawn with replacement, task by task, as the released replay buffers do."""

  def __init__(self, dataset: Any) -> None:
    names = ("observation", "action", "reward", "next_observation", "terminal")
    self.columns = {name: np.array(getattr(dataset, name)) for name in names}
    self.generator = np.random.default_rng(0)

  def tasks(self, number: int) -> np.ndarray:
    """Different tasks."""
    return self.generator.choice(len(self.columns["reward"]), number, replace=False)

  def rows(self, tasks: np.ndarray, size: int) -> "Rows":
    """Rows of each task: `[T, size, ...]`."""
    import torch

    from benchmarks.torch_context import Rows

    of_tasks = []
    for task in tasks:
      chosen = self.generator.integers(0, self.columns["reward"].shape[1], size)
      of_tasks.append({name: torch.from_numpy(column[task, chosen]) for name, column in self.columns.items()})
    return Rows(**{name: torch.stack([of_task[name] for of_task in of_tasks]) for name in self.columns})


def torch_rows(transitions: Any) -> "Rows":
  """Transitions of ours for PyTorch."""
  import torch

  from benchmarks.torch_context import Rows

  return Rows(**{name: torch.tensor(np.array(getattr(transitions, name))) for name in Rows._fields})


def tensor(array: Array) -> Any:
  """Noise of ours for PyTorch."""
  import torch

  return torch.tensor(np.array(array))


def pearl(arrays: Arrays, optimizer: Any = None) -> TorchLearner:
  """PEARL in PyTorch."""
  import torch

  from benchmarks import torch_context

  agent = torch_context.Pearl(arrays, torch_context.Settings(), optimizer)
  latent_size = agent.encoder.out.out_features // 2

  def on(context: Any, batches: list[Any], tasks: np.ndarray, key: Array) -> None:
    keys = split_update_key(key)
    action = split_loss_key(keys.actor_critic).action
    noise = {
      "z": tensor(jax.random.normal(keys.latent, (len(tasks), latent_size))),
      "action": tensor(jax.random.normal(action, batches[0].action.shape)),
    }
    agent.update(context, batches[0], noise)

  def update(sampler: Sampler, sizes: Sizes) -> None:
    tasks = sampler.tasks(sizes["tasks"])
    context, batch = sampler.rows(tasks, sizes["context"]), sampler.rows(tasks, sizes["rows"])
    agent.update(context, batch, {"z": torch.randn(len(tasks), latent_size), "action": torch.randn(batch.action.shape)})

  return TorchLearner(agent.record, on, update)


def context_peer(method: str, sizes: Sizes, width: int | None) -> Peer:
  """A context-based method, on random data of the half-cheetah's sizes."""
  recipe = CONTEXT[method]
  rows = recipe.shares * sizes["rows"]
  dataset = random_dataset(sizes["tasks"], max(2_000, sizes["context"] + rows))
  problem = half_cheetah_problem(sizes["tasks"])
  make = partial(released, method, width, problem)
  batches = programs.sampled(make, sizes["tasks"], sizes["context"], rows)
  key = jax.random.key(UPDATE_KEY)

  def first_arrays() -> Arrays:
    return recipe.named(jax.jit(make().init)(jax.random.key(update_versions.INIT_KEY)).params.net, problem)

  def our_gradient(tasks: TaskBatch) -> Arrays:
    algorithm = make(optimizer=recorded_descent)
    state = jax.jit(algorithm.init)(jax.random.key(update_versions.INIT_KEY))
    state, _ = jax.jit(algorithm.update)(state, tasks, key)
    kept = state.opt_state.inner_states
    return recipe.named({part: of_part.inner_state[0].trace[part] for part, of_part in kept.items()}, problem)

  def our_updates(updates: int) -> Program:
    program = programs.updates_of_one(batches, dataset, updates)
    return Program(program.run, program.compile_seconds)

  def their_gradient(tasks: TaskBatch) -> Arrays:
    import torch

    learner = recipe.learner(first_arrays(), lambda parameters, rate: torch.optim.SGD(parameters, lr=rate))
    gradients = learner.record()
    batches = torch_rows(tasks.query).shares(recipe.shares)
    learner.on(torch_rows(tasks.support), batches, np.asarray(tasks.task_index), key)
    return gradients

  def their_updates(updates: int) -> Program:
    learner, sampler = recipe.learner(first_arrays()), Sampler(dataset)

    def run() -> None:
      for _ in range(updates):
        learner.update(sampler, sizes)

    return Program(run, None)

  tasks = jax.jit(batches.sample)(dataset, key)
  return Peer({OURS: Version(our_gradient, our_updates), THEIRS: Version(their_gradient, their_updates)}, tasks)


CONTEXT = {"pearl": Context(of_soft_actor_critic, pearl)}


# Gradient-based methods


def macaw_peer(sizes: Sizes, width: int | None) -> Peer:
  """MACAW with its defaults; the released structure is `benchmarks.torch_macaw.Loop`."""
  of_macaw = update_versions.Sizes(sizes["tasks"], sizes["rows"])
  of_macaw = of_macaw._replace(width=width or of_macaw.width)
  dataset = update_versions.make_dataset(of_macaw)
  versions, _ = update_versions.build_versions([OURS, "torch_loop"], of_macaw, dataset)
  tasks = jax.jit(partial(update_versions.sample, of_macaw))(dataset, jax.random.key(UPDATE_KEY))
  return Peer({OURS: versions[OURS], THEIRS: versions["torch_loop"]}, tasks)


def random_episodes(sizes: Sizes, problem: Problem) -> TaskBatch:
  """Episodes of random length, before adaptation and after."""
  shape = (sizes["tasks"], sizes["episodes"], sizes["steps"])

  def draw(key: Array) -> Trajectory:
    keys = jax.random.split(key, 5)
    length = jax.random.randint(keys[0], (*shape[:2], 1), max(1, shape[2] // 2), shape[2] + 1)
    mask = (jnp.arange(shape[2]) < length).astype(float)
    observation, following, action = (
      jax.random.normal(key, (*shape, size)) * mask[..., None]
      for key, size in zip(keys[1:4], (problem.observation_size,) * 2 + (problem.action_size,), strict=True)
    )
    reward = jax.random.normal(keys[4], shape) * mask
    return Trajectory(observation, action, following, mask, reward)

  support, query = (draw(key) for key in jax.random.split(jax.random.key(0)))
  return TaskBatch(jax.tree.map(lambda leaf: leaf[:, None], support), query, jnp.arange(shape[0]))


def norml_arrays(tree: Mapping[str, Params], rule: Mapping[str, Params]) -> Arrays:
  """NoRML's parameters, whose matrices stand as ours do."""
  arrays: Arrays = {}
  for name, params in {"policy": tree["policy"], "offset": rule["offset"], "rate": rule["step_size"]}.items():
    layers = perceptron(name, params["network"]) | {f"{name}/log_std": np.array(params["log_std"])}
    arrays |= {key: array.T.copy() for key, array in layers.items()}
  return arrays | {key: array.T.copy() for key, array in perceptron("advantage", tree["advantage"]).items()}


def norml_peer(sizes: Sizes, width: int | None) -> Peer:
  """NoRML on the point agent's sizes, episodes given: what is timed is adaptation and the step, not the collection."""
  problem = Problem(observation_size=2, action_size=2, num_tasks=sizes["tasks"], discount=0.9, horizon=sizes["steps"])
  hidden = {} if width is None else dict.fromkeys(("hidden_sizes", "advantage_hidden_sizes"), (width, width))
  make = partial(ALGORITHMS["norml_released"], problem, **hidden)
  tasks, key = random_episodes(sizes, problem), jax.random.key(UPDATE_KEY)

  def first(algorithm: Algorithm) -> Any:
    return initialise(algorithm, jax.random.key(update_versions.INIT_KEY))

  def learner(optimizer: Any = None) -> Any:
    from benchmarks import torch_norml

    params = first(make()).params
    return torch_norml.Norml(norml_arrays(params.net, params.rule), torch_norml.Settings(), optimizer)

  def episodes(of_tasks: Trajectory) -> list[Any]:
    from benchmarks import torch_norml

    columns = {name: np.array(getattr(of_tasks, name)) for name in torch_norml.Episodes._fields}
    return [
      torch_norml.Episodes(**{name: column[task] for name, column in columns.items()}) for task in range(sizes["tasks"])
    ]

  def split(tasks: TaskBatch) -> tuple[list[Any], list[Any]]:
    return episodes(jax.tree.map(lambda leaf: leaf[:, 0], tasks.support)), episodes(tasks.query)

  def our_gradient(tasks: TaskBatch) -> Arrays:
    algorithm = make(optimizer=recorded_descent)
    state, _ = jax.jit(algorithm.update)(first(algorithm), tasks, key)
    trace = state.opt_state[0].trace
    # The rates stay as they are, as most of the released configurations have it.
    return {name: array for name, array in norml_arrays(trace.net, trace.rule).items() if not name.startswith("rate/")}

  def our_updates(updates: int) -> Program:
    algorithm = make()
    state = first(algorithm)
    chunk = make_chunk(algorithm, lambda tasks, key: tasks, updates)
    started = time.perf_counter()
    compiled = compile_chunk(chunk, state, tasks, key)
    seconds = time.perf_counter() - started
    return Program(repeated(lambda state: compiled(state, tasks, key), state), seconds)

  def their_gradient(tasks: TaskBatch) -> Arrays:
    theirs = learner()
    theirs.update(*split(tasks))
    return theirs.gradients()

  def their_updates(updates: int) -> Program:
    theirs, (supports, queries) = learner(), split(tasks)

    def run() -> None:
      for _ in range(updates):
        theirs.update(supports, queries)

    return Program(run, None)

  return Peer({OURS: Version(our_gradient, our_updates), THEIRS: Version(their_gradient, their_updates)}, tasks)


class Method(NamedTuple):
  """A method and the sizes of an update in its released configuration."""

  sizes: Sizes
  build: Callable[[Sizes, int | None], Peer]


METHODS = {
  "macaw": Method({"tasks": 5, "rows": 256}, macaw_peer),
  "pearl": Method({"tasks": 16, "context": 100, "rows": 256}, partial(context_peer, "pearl")),
  "norml": Method({"tasks": 10, "episodes": 25, "steps": 10}, norml_peer),
}
