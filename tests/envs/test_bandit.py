import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.collection.collect import make_relabel
from macaw_jax.envs.bandit import Bandit, reset, reward, step
from macaw_jax.envs.rollout import make_rollout

TASK = {"probability": np.float32([0.1, 0.9, 0.5, 0.0, 1.0])}
ARMS = jnp.eye(5)


def act(params, adapted, timestep, key):
  """Scores at random, or zero where there is no key."""
  if key is None:
    return jnp.zeros(5), adapted
  return jax.random.uniform(key, (5,), minval=-1.0, maxval=1.0), adapted


@pytest.mark.parametrize(("name", "pulls"), [("bandit_10", 10), ("bandit_100", 100), ("bandit_500", 500)])
def test_a_family_has_as_many_steps_as_pulls_and_the_same_tasks(name, pulls):
  family = envs.make(name)
  assert (family.horizon, family.discrete_actions, family.task_entries) == (pulls, True, 5)
  assert (family.train_tasks, family.test_tasks) == (tuple(range(2000)), tuple(range(2000, 2200)))
  random = np.random.RandomState(1337)
  expected = [[random.uniform() for _ in range(5)] for _ in range(2200)]
  np.testing.assert_allclose(family.tasks["probability"], expected, atol=1e-7)


def test_the_largest_entry_is_pulled_and_the_first_of_equal_ones():
  state = reset(TASK, jax.random.key(0))
  for action, arm in (([0.2, -1.0, 0.3, 0.1, 0.0], 2), ([0.0] * 5, 0), ([-1.0, 0.5, -1.0, 0.5, -1.0], 1)):
    after = step(TASK, state, jnp.array(action))
    np.testing.assert_array_equal(after.pulls - state.pulls, np.eye(5)[arm])
    np.testing.assert_array_equal(after.luck, state.luck)
    state = after


def test_an_action_of_another_size_is_refused():
  with pytest.raises(AssertionError):
    reward(TASK, reset(TASK, jax.random.key(0)), jnp.ones(4), None)


def test_rewards_are_draws_with_the_probability_of_the_arm():
  """Over 20,000 keys and over 20,000 pulls of one key; five standard errors."""
  count = 20_000
  starts = jax.vmap(lambda key: reset(TASK, key))(jax.random.split(jax.random.key(0), count))
  one = jax.random.key_data(jax.random.key(1))
  later = Bandit(jnp.broadcast_to(one, (count, *one.shape)), jnp.zeros((count, 5), int).at[:, 3].set(jnp.arange(count)))
  rewards = jax.jit(jax.vmap(jax.vmap(reward, (None, None, 0, None)), (None, 0, None, None)))
  for states in (starts, later):
    drawn = np.asarray(rewards(TASK, states, ARMS, None))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    deviation = np.sqrt(TASK["probability"] * (1 - TASK["probability"]) / count)
    assert np.all(np.abs(drawn.mean(axis=0) - TASK["probability"]) <= 5 * deviation)
    neighbours = np.corrcoef(drawn[:-1, 2], drawn[1:, 2])[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(count)


def test_the_reward_of_a_state_is_the_same_again_in_another_precision_too():
  """Of stored states rewards are computed anew, in float64: what was paid, and what other tasks would have paid."""
  family = envs.make("bandit_10")
  tasks = {"probability": family.tasks["probability"][:4]}
  episodes = make_rollout(family, act)({}, {}, tasks, jax.random.key(0), deterministic=False)
  relabelled = make_relabel(family._replace(tasks=tasks))(episodes)  # [4, 10, 4]
  np.testing.assert_array_equal(relabelled[np.arange(4), :, np.arange(4)], episodes.reward)
  # The same luck: where arms are better, no pull is worse.
  best = np.argmax(episodes.action, axis=-1)
  probability = tasks["probability"][:, best]  # [task, episode, step]
  better = probability[:, None] >= probability[None]
  paid = np.moveaxis(relabelled, -1, 0)
  assert np.all((paid[:, None] >= paid[None])[better])


def test_episodes_differ_by_their_keys_alone():
  family = envs.make("bandit_100")
  tasks = {"probability": np.tile(np.float32([0.5] * 5), (3, 1))}
  rollout = make_rollout(family, lambda params, adapted, timestep, key: (ARMS[0], adapted))
  first, again = (rollout({}, {}, tasks, jax.random.key(7)).reward for _ in range(2))
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first[0], first[1])
  assert not np.array_equal(first, rollout({}, {}, tasks, jax.random.key(8)).reward)


def test_nothing_is_seen_and_nothing_ends():
  family = envs.make("bandit_10")
  episodes = make_rollout(family, act)({}, {}, {"probability": np.ones((2, 5), np.float32)}, jax.random.key(0))
  np.testing.assert_array_equal(episodes.observation, np.ones((2, 10, 1)))
  np.testing.assert_array_equal(episodes.mask, np.ones((2, 10)))
  np.testing.assert_array_equal(episodes.terminal, np.zeros((2, 10)))
