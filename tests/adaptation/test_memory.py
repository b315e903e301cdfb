"""The memory of a task: what a cell reads at each step, over the ends of episodes."""

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.adaptation.memory import episodes_of, recurrence, steps_of_episodes, steps_of_support, trials_of
from macaw_jax.networks.cells import Cell, gru
from macaw_jax.objectives.ppo import happened_first
from macaw_jax.types import Problem, Steps, TaskBatch, TimeStep, Trajectory, Transition

PROBLEM = Problem(observation_size=2, action_size=1, num_tasks=3, discount=0.9)
SIZE = 2 + 1 + 2


def remember_inputs(input_size):
  """A cell whose output is its input: all that it reads can be seen."""
  assert input_size == SIZE
  return Cell(lambda key: {}, jnp.zeros(()), lambda params, carry, features: (carry + 1, features), SIZE)


def episodes(*lengths, horizon=3, first=1.0):
  """Episodes `[S, 1, H]` of these lengths, all numbers different, as an on-policy agent's support has them."""
  count = len(lengths) * horizon
  numbers = first + jnp.arange(float(count)).reshape(len(lengths), 1, horizon)
  mask = (jnp.arange(horizon) < jnp.array(lengths)[:, None, None]).astype(float)
  return Trajectory(
    observation=numbers[..., None] * jnp.array([1.0, -1.0]),
    action=numbers[..., None] / 10.0,  # those of ten and more are cut where the task takes them
    next_observation=(numbers[..., None] + 0.5) * jnp.array([1.0, -1.0]),
    mask=mask,
    reward=100.0 * numbers * mask,
  )


def test_the_cell_reads_the_step_before_over_the_end_of_an_episode():
  memory = recurrence(PROBLEM, remember_inputs)
  steps = steps_of_support(episodes(2, 3))
  after, inputs = memory.run({}, memory.start, steps)
  happened = np.asarray(inputs)[np.asarray(steps.mask) > 0]
  expected = [
    # o, -o, a, r and d of the step before; nothing before the first
    [1, -1, 0, 0, 0],
    [2, -2, 0.1, 100, 0],
    [4, -4, 0.2, 200, 1],  # a new episode: the last reward of the one before is seen, and that it has ended
    [5, -5, 0.4, 400, 0],
    [6, -6, 0.5, 500, 0],
  ]
  np.testing.assert_allclose(happened, expected, rtol=1e-6)
  np.testing.assert_allclose(after.previous.reward, 600)
  np.testing.assert_allclose(after.previous.last, 1)
  assert after.carry == 5


def test_acting_reads_what_running_over_the_same_steps_reads():
  memory = recurrence(PROBLEM, gru(hidden_size=4))
  params = memory.init(jax.random.key(0))
  both = episodes(2, 3, first=0.01)
  steps = steps_of_support(both)
  _, outputs = memory.run(params, memory.start, steps)
  acting = memory.start
  found = []
  for index, length in enumerate((2, 3)):
    if index:  # between episodes the agent adapts to those so far
      acting, _ = memory.run(params, memory.start, steps_of_support(jax.tree.map(lambda leaf: leaf[:1], both)))
    for t in range(length):
      one = jax.tree.map(lambda leaf, index=index: leaf[index, 0], both)
      first = t == 0
      timestep = TimeStep(
        one.observation[t],
        jnp.zeros(1) if first else jnp.clip(one.action[t - 1], -1, 1),
        jnp.zeros(()) if first else one.reward[t - 1],
        jnp.asarray(float(first)),
      )
      acting, output = memory.act(params, acting, timestep)
      found.append(output)
  np.testing.assert_allclose(jnp.stack(found), outputs[np.asarray(steps.mask) > 0], rtol=1e-5, atol=1e-6)


def test_a_recorded_support_ends_where_the_agent_begins_anew():
  memory = recurrence(PROBLEM, remember_inputs)
  count = 4
  numbers = jnp.arange(float(count))
  rows = Transition(
    observation=jnp.stack([numbers, -numbers], axis=-1),
    action=numbers[:, None] / 10,
    reward=numbers,
    next_observation=jnp.stack([numbers + 1, -numbers - 1], axis=-1),
    terminal=jnp.zeros(count),
    last=jnp.array([0.0, 1.0, 0.0, 0.0]),
    mc_return=jnp.zeros(count),
    final_observation=jnp.zeros((count, 2)),
    final_discount=jnp.zeros(count),
  )
  after, inputs = memory.run({}, memory.start, steps_of_support(rows))
  np.testing.assert_array_equal(inputs[:, -1], [0, 0, 1, 0])
  assert after.previous.last == 1
  # Rows that only fill a place are passed over, whatever they hold.
  masked = steps_of_support(rows._replace(mask=jnp.array([1.0, 1.0, 0.0, 0.0])))
  short, _ = memory.run({}, memory.start, masked)
  assert short.carry == 2
  np.testing.assert_allclose(short.previous.reward, 1)


def test_the_trial_of_a_task_is_its_support_and_then_its_query():
  support = jax.tree.map(lambda leaf: leaf[None], episodes(2, 3))  # [T, K, E, H]
  query = jax.tree.map(lambda leaf: leaf[0][None], episodes(1, first=20.0))  # [T, E, H]
  steps = trials_of(TaskBatch(support, query, jnp.arange(1)))
  assert steps.mask.shape == (1, 9)
  kept = np.asarray(steps.reward[0])[np.asarray(steps.mask[0]) > 0]
  np.testing.assert_allclose(kept, [100, 200, 400, 500, 600, 2000])
  np.testing.assert_array_equal(steps.last[0][np.asarray(steps.mask[0]) > 0], [0, 1, 0, 0, 1, 1])
  alone = trials_of(TaskBatch(None, query, jnp.arange(1)))
  np.testing.assert_allclose(alone.reward[0], [2000, 0, 0])

  first: Steps = happened_first(jax.tree.map(lambda leaf: leaf[0], steps))
  np.testing.assert_array_equal(first.mask, [1] * 6 + [0] * 3)
  np.testing.assert_allclose(first.reward[:6], kept)


def test_an_action_stays_as_drawn_and_is_read_as_taken():
  memory = recurrence(PROBLEM, remember_inputs)
  steps = steps_of_episodes(jax.tree.map(lambda leaf: leaf[:, 0], episodes(2, 2, first=15.0)))
  np.testing.assert_allclose(steps.action[0, 0], 1.5)
  _, inputs = memory.run({}, memory.start, steps)
  np.testing.assert_allclose(inputs[1, 2], 1.0)


def test_each_episode_is_a_trial_of_an_agent_that_has_nothing_to_remember():
  """Support [T, K, E, H] and query [T, E, H] of two tasks; each episode ends where its mask does."""
  of_task = [episodes(2, 3, 1, first=first) for first in (1.0, 50.0)]  # [3, 1, 3]
  both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *of_task)
  support = jax.tree.map(lambda leaf: leaf[:, :2], both)  # [T, K=2, E=1, H]
  query = jax.tree.map(lambda leaf: leaf[:, 2], both)
  steps = episodes_of(TaskBatch(support, query, jnp.arange(2)))
  assert steps.mask.shape == (3, 2, 3)
  for task, numbers in enumerate(both.observation[..., 0]):
    np.testing.assert_array_equal(steps.observation[:, task, :, 0], numbers[:, 0])
  np.testing.assert_array_equal(steps.mask[:, 1].sum(axis=-1), [2, 3, 1])
  np.testing.assert_array_equal(steps.last[:, 0], [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
  alone = episodes_of(TaskBatch(None, query, jnp.arange(2)))
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[2:]), alone, steps)
