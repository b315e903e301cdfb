"""Bernoulli bandits: five arms, whose probabilities of a reward no observation shows.

  task         p [5], one probability an arm, from U(0, 1)
  action [5]   pulls arm k = the largest entry, the first of equal ones
  reward       1 with probability p_k, else 0
  observation  [1] = 1
  episode      of as many steps as there are pulls: 10, 100 or 500; no state ends it

The 2200 tasks are those of all three families; the first 2000 are for training.

The draw of a pull is a function of the state, which holds a key and the pulls so far: u = U(0, 1) of the key of an
episode and of the number of the pull, and the reward is 1 where u < p_k. So `reward` gives for the same state and
action the same number again, and under another task that which the same luck would have brought there.

Source: Duan et al. 2016 (RL^2), section 3.1, where an episode is one pull and a trial is what is an episode here.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import AnalyticDynamics, Task, TaskFamily, never
from macaw_jax.types import Array, Key

NUM_ARMS = 5
NUM_TRAIN_TASKS = 2000
NUM_TEST_TASKS = 200
TASK_SEED = 1337
PULLS = {"bandit_10": 10, "bandit_100": 100, "bandit_500": 500}


class Bandit(NamedTuple):
  """State of an episode: its luck, and what was pulled."""

  luck: chex.Array  # [..., W]  uint32, the data of a PRNG key
  pulls: chex.Array  # [..., 5]  int32, of each arm so far


def bandit_10() -> TaskFamily:
  """2200 bandits `task["probability"]` [5], 10 pulls."""
  return _family("bandit_10")


def bandit_100() -> TaskFamily:
  """The same bandits, 100 pulls."""
  return _family("bandit_100")


def bandit_500() -> TaskFamily:
  """The same bandits, 500 pulls."""
  return _family("bandit_500")


def reset(task: Task, key: Key) -> Bandit:
  """No pulls yet, and a luck of the key's."""
  return Bandit(jax.random.key_data(key), jnp.zeros(NUM_ARMS, jnp.int32))


def step(task: Task, state: Bandit, action: Array) -> Bandit:
  """One pull more of the arm that an action [5] names."""
  chex.assert_shape(action, (NUM_ARMS,))
  return state._replace(pulls=state.pulls.at[jnp.argmax(action)].add(1))


def observe(task: Task, state: Bandit) -> Array:
  """One, [1]: nothing is to be seen."""
  return jnp.ones(1)


def reward(task: Task, state: Bandit, action: Array, next_state: Bandit) -> Array:
  """1 where the draw of this pull is below the probability of the arm that an action [5] names, else 0."""
  chex.assert_shape(action, (NUM_ARMS,))
  key = jax.random.fold_in(jax.random.wrap_key_data(state.luck), jnp.sum(state.pulls))
  # In float32 whatever the precision of the caller: one in float64 would be another draw.
  draw = jax.random.uniform(key, dtype=jnp.float32)
  return jnp.where(draw < jnp.asarray(task["probability"])[jnp.argmax(action)], 1.0, 0.0)


def _family(name: str) -> TaskFamily:
  num_tasks = NUM_TRAIN_TASKS + NUM_TEST_TASKS
  probability = np.random.RandomState(TASK_SEED).uniform(size=(num_tasks, NUM_ARMS)).astype(np.float32)
  return TaskFamily(
    name=name,
    observation_size=1,
    action_size=NUM_ARMS,
    horizon=PULLS[name],
    tasks={"probability": probability},
    train_tasks=tuple(range(NUM_TRAIN_TASKS)),
    test_tasks=tuple(range(NUM_TRAIN_TASKS, num_tasks)),
    dynamics=AnalyticDynamics(step),
    reset=reset,
    observe=observe,
    reward=reward,
    terminal=never,
    discrete_actions=True,
  )
