"""Adaptation by memory: a recurrent cell that runs over the steps of a task, whatever episodes they belong to.

At step t the cell reads x_t = (o_t, a_{t-1}, r_{t-1}, d_{t-1}), with d = 1 where the previous step ended its episode.
At the first step of a task a, r and d are zero. At the first step of a later episode they are those of the last step
of the one before, so that the end of an episode and its last reward are seen; the memory is kept. Duan et al. 2016
(RL^2), section 2.2; the public code of garage writes zeros there, and its agent never sees a last reward.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from macaw_jax.losses.returns import reward_of
from macaw_jax.networks.cells import Carry, Cell, MakeCell, run_cell, where_happened
from macaw_jax.types import Array, Key, Params, Problem, Steps, TaskBatch, TimeStep, Trajectory, Transition

MEMORY = "memory"  # the name of an agent's memory among the parts that adaptation changes


class Previous(NamedTuple):
  """The step before the present one; all zero before the first of a task."""

  action: Array  # [A]
  reward: Array  # []
  last: Array  # []  1.0 where it ended its episode


class Memory(NamedTuple):
  """All that an agent remembers of its task."""

  carry: Carry
  previous: Previous  # the last step that the cell has not read the end of


class Recurrence(NamedTuple):
  """A cell that runs over the steps of a task.

  init:        `(key) -> params`
  start:       the memory before a task
  run:         `(params, memory, steps [N, ...]) -> (memory, outputs [N, M])`, outputs[t] before action t is chosen
  ahead:       `(params, memory, steps [N, ...]) -> outputs [N, M]`, in the states that the steps led to, as if no
               episode ended
  act:         `(params, memory, timestep) -> (memory, output [M])`, one step of an episode
  output_size: M
  """

  init: Callable[[Key], Params]
  start: Memory
  run: Callable[[Params, Memory, Steps], tuple[Memory, Array]]
  ahead: Callable[[Params, Memory, Steps], Array]
  act: Callable[[Params, Memory, TimeStep], tuple[Memory, Array]]
  output_size: int


def recurrence(problem: Problem, make_cell: MakeCell) -> Recurrence:
  """The cell over the steps of the problem's tasks."""
  cell: Cell = make_cell(problem.observation_size + problem.action_size + 2)
  nothing = Previous(jnp.zeros(problem.action_size), jnp.zeros(()), jnp.zeros(()))

  def run(params: Params, memory: Memory, steps: Steps) -> tuple[Memory, Array]:
    before, previous = _previous(memory.previous, steps)
    carry, outputs = run_cell(cell, params, memory.carry, _inputs(steps.observation, before), steps.mask)
    return Memory(carry, previous), outputs

  def ahead(params: Params, memory: Memory, steps: Steps) -> Array:
    before, _ = _previous(memory.previous, steps)
    led_to = Previous(jnp.clip(steps.action, -1.0, 1.0), steps.reward, jnp.zeros_like(steps.last))

    def step(carry: Carry, item: tuple[Array, Array, Array]) -> tuple[Carry, Array]:
      present, following, happened = item
      after, _ = cell.step(params, carry, present)
      carry = where_happened(happened, after, carry)
      return carry, cell.step(params, carry, following)[1]

    inputs = (_inputs(steps.observation, before), _inputs(steps.next_observation, led_to), steps.mask)
    return jax.lax.scan(step, memory.carry, inputs)[1]

  def act(params: Params, memory: Memory, timestep: TimeStep) -> tuple[Memory, Array]:
    within = Previous(timestep.action, timestep.reward, jnp.zeros(()))
    # A time step has no action and no reward at the start of an episode; the memory has those of the one before.
    previous = jax.tree.map(lambda kept, new: jnp.where(timestep.first > 0, kept, new), memory.previous, within)
    carry, output = cell.step(params, memory.carry, _inputs(timestep.observation, previous))
    return Memory(carry, previous), output

  return Recurrence(cell.init, Memory(cell.start, nothing), run, ahead, act, cell.output_size)


def _inputs(observation: Array, previous: Previous) -> Array:
  """x_t, `[..., O + A + 2]`."""
  return jnp.concatenate([observation, previous.action, previous.reward[..., None], previous.last[..., None]], axis=-1)


def _previous(first: Previous, steps: Steps) -> tuple[Previous, Previous]:
  """The step before each one, leaves `[N, ...]`, and the last one of all.

  Steps that did not happen are passed over.
  """

  def step(previous: Previous, item: tuple[Previous, Array]) -> tuple[Previous, Previous]:
    present, happened = item
    return where_happened(happened, present, previous), previous

  taken = Previous(jnp.clip(steps.action, -1.0, 1.0), steps.reward, steps.last)  # as the task took it
  last, before = jax.lax.scan(step, first, (taken, steps.mask))
  return before, last


def steps_of_rows(rows: Transition) -> Steps:
  """The steps of consecutive recorded rows `[..., N]`."""
  mask = jnp.ones_like(rows.reward) if rows.mask is None else rows.mask
  return Steps(rows.observation, rows.action, rows.reward, rows.last, rows.next_observation, mask)


def steps_of_episodes(episodes: Trajectory) -> Steps:
  """The steps of episodes `[..., S, H]` that followed each other, `[..., S * H]`; those past an end do not count."""
  mask = episodes.mask
  following = jnp.concatenate([mask[..., 1:], jnp.zeros_like(mask[..., :1])], axis=-1)
  steps = Steps(
    observation=episodes.observation,
    action=episodes.action,
    reward=reward_of(episodes),
    last=mask * (1.0 - following),
    next_observation=episodes.next_observation,
    mask=mask,
  )
  joined = mask.ndim - 2
  return jax.tree.map(lambda leaf: leaf.reshape(*leaf.shape[:joined], -1, *leaf.shape[joined + 2 :]), steps)


def steps_of_support(support: Transition | Trajectory) -> Steps:
  """The steps of one task's support: recorded rows `[B]`, or own episodes `[K, E, H]` in their order.

  The last recorded row ends an episode, wherever it was cut: the agent's next step begins a new one.
  """
  if isinstance(support, Transition):
    steps = steps_of_rows(support)
    return steps._replace(last=steps.last.at[-1].set(1.0))
  sets = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), support._replace(state=None))
  return steps_of_episodes(sets)


def trials_of(tasks: TaskBatch) -> Steps:
  """The trial of each task, `[T, N, ...]`: the episodes of its support, and then those of its query.

  The batch is that of an on-policy agent. Its support is None where the agent does not stop to adapt.
  """
  query = steps_of_episodes(tasks.query._replace(state=None))
  if tasks.support is None:
    return query
  return _joined(jax.vmap(steps_of_support)(tasks.support), query)


def episodes_of(tasks: TaskBatch) -> Steps:
  """The episodes of each task, `[E, T, H, ...]`: those of its support, if it has one, and then those of its query.

  Each is a trial by itself, as for an agent that has nothing to remember.
  """
  sets = [tasks.query] if tasks.support is None else [tasks.support, tasks.query]

  def alone(episodes: Trajectory) -> Steps:
    leading = episodes.mask.ndim - 1  # of [T, ..., H]
    rows = episodes._replace(state=None)
    rows = jax.tree.map(lambda leaf: leaf.reshape(len(leaf), -1, 1, *leaf.shape[leading:]), rows)
    return steps_of_episodes(rows)  # [T, E, H]

  joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *map(alone, sets))
  return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), joined)


def recorded_trials(tasks: TaskBatch) -> Transition:
  """The rows of the support of each task, and then those of its query: `[T, B + B', ...]`.

  Both are consecutive rows. The support ends an episode, wherever it was cut: the query does not go on from there.
  """
  support = tasks.support._replace(last=tasks.support.last.at[:, -1].set(1.0))
  return _joined(support, tasks.query)


def _joined(first: Any, second: Any) -> Any:
  return jax.tree.map(lambda before, after: jnp.concatenate([before, after], axis=1), first, second)
