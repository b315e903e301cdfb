import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.envs.bandit_policies import (
  Counts,
  as_act,
  gittins_table,
  greedy,
  make_policies,
  no_counts,
  regret,
  ucb1,
)
from macaw_jax.envs.rollout import make_rollout
from macaw_jax.types import TimeStep

NUM_TASKS, THEIR_TASKS = 2500, 5000


def index_by_restarts(wins, losses, discount, lookahead):
  """The Gittins index as the value of a problem in which one may always begin again from this state.

  Katehakis and Veinott 1987: the index is (1 - discount) times the value of that problem at the state. Found by
  bisection on that value, with a recursion of its own.
  """

  def begun_again(restart):
    @functools.cache
    def value(w, l):  # noqa: E741
      p = (w + 1) / (w + l + 2)
      if w + l == wins + losses + lookahead:
        return max(restart, p / (1 - discount))
      return max(restart, p * (1 + discount * value(w + 1, l)) + (1 - p) * discount * value(w, l + 1))

    p = (wins + 1) / (wins + losses + 2)
    return p * (1 + discount * value(wins + 1, losses)) + (1 - p) * discount * value(wins, losses + 1)

  low, high = 0.0, 1.0 / (1.0 - discount)
  for _ in range(40):
    middle = (low + high) / 2
    low, high = (middle, high) if begun_again(middle) > middle else (low, middle)
  return low * (1 - discount)


def test_gittins_indices_are_those_of_another_calculation():
  table = gittins_table(4, 0.9)
  for wins, losses in ((0, 0), (1, 0), (0, 1), (2, 1), (0, 3)):
    assert table[wins, losses] == pytest.approx(index_by_restarts(wins, losses, 0.9, 120), abs=2e-5)
  assert np.isnan(table[2, 2])


@pytest.mark.parametrize(
  ("discount", "published"),
  [(0.9, [0.7029, 0.8001, 0.5001]), (0.99, [0.8699, 0.9102, 0.7005])],
)
def test_gittins_indices_are_those_that_were_published(discount, published):
  """Of Beta(1, 1), Beta(2, 1) and Beta(1, 2), in the tables of Gittins, Glazebrook and Weber 2011."""
  table = gittins_table(2, discount)
  np.testing.assert_allclose([table[0, 0], table[1, 0], table[0, 1]], published, atol=1e-4)


@pytest.mark.parametrize(("num_pulls", "discount"), [(0, 0.9), (3, 1.0), (3, 0.0)])
def test_a_table_of_nothing_is_refused(num_pulls, discount):
  with pytest.raises(ValueError, match=f"num_pulls={num_pulls}, discount={discount}: expected"):
    gittins_table(num_pulls, discount)


def test_scores_by_hand():
  pulls, wins, key = jnp.array([4.0, 0.0, 2.0]), jnp.array([1.0, 0.0, 2.0]), jax.random.key(0)
  np.testing.assert_allclose(greedy(pulls, wins, key), [2 / 6, 1 / 2, 3 / 4], rtol=1e-6)
  width = 0.2 * np.sqrt(2 * np.log(6) / np.array([4, 2]))
  np.testing.assert_allclose(ucb1(pulls, wins, key), [0.25 + width[0], np.inf, 1 + width[1]], rtol=1e-6)
  policies = make_policies(10)
  table = gittins_table(10, 0.9)
  np.testing.assert_allclose(policies["gittins"](pulls, wins, key), table[[1, 0, 2], [3, 0, 0]], rtol=1e-6)
  keys = jax.random.split(key, 4000)
  samples = jax.vmap(policies["thompson"], (None, None, 0))(pulls, wins, keys)
  # Beta(2, 4), Beta(1, 1), Beta(3, 1): means and standard deviations.
  a, b = np.array([2, 1, 3]), np.array([4, 1, 1])
  deviation = np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
  assert np.all(np.abs(samples.mean(axis=0) - a / (a + b)) < 5 * deviation / np.sqrt(4000))
  np.testing.assert_allclose(samples.std(axis=0), deviation, rtol=0.06)


def test_an_acting_function_counts_what_it_is_told_and_draws_among_the_best():
  act = as_act(greedy)

  def told(action, reward, first):
    return TimeStep(jnp.ones(1), jnp.array(action), jnp.array(reward), jnp.array(first))

  counts = Counts(jnp.array([2.0, 3.0, 2.0]), jnp.array([1.0, 0.0, 0.0]))
  action, after = act({}, counts, told([0.0, -1.0, 0.2], 1.0, 0.0), jax.random.key(0))
  np.testing.assert_array_equal(after.pulls, [2.0, 3.0, 3.0])
  np.testing.assert_array_equal(after.wins, [1.0, 0.0, 1.0])
  np.testing.assert_array_equal(action, [1.0, 0.0, 0.0])  # 2/4, 1/5, 2/5
  _, same = act({}, counts, told([0.0, 0.0, 0.0], 0.0, 1.0), jax.random.key(0))
  np.testing.assert_array_equal(same.pulls, counts.pulls)
  # At the start all are equal: each is drawn about as often.
  start = told([0.0, 0.0, 0.0], 0.0, 1.0)
  drawn, _ = jax.vmap(lambda key: act({}, no_counts(3), start, key))(jax.random.split(jax.random.key(1), 3000))
  np.testing.assert_allclose(drawn.mean(axis=0), 1 / 3, atol=5 * np.sqrt(2 / 9 / 3000))


def test_regret_by_hand():
  found = regret(jnp.array([0.2, 0.9, 0.5]), jnp.array([1, 0, 2, 1]))
  assert found == pytest.approx(0.7 + 0.4)


@pytest.fixture(scope="module")
def played():
  """100 pulls in 2500 bandits: of each policy the rewards [T, 100] and what was expected of its choices, [T, 100]."""
  family = envs.make("bandit_100")
  probability = np.random.default_rng(0).uniform(size=(NUM_TASKS, 5)).astype(np.float32)
  counts = jax.tree.map(lambda leaf: jnp.tile(leaf, (NUM_TASKS, 1)), no_counts(5))
  found = {}
  for name, policy in make_policies(100).items():
    if name != "random":
      rollout = make_rollout(family, as_act(policy))
      episodes = rollout({}, counts, {"probability": probability}, jax.random.key(0), deterministic=False)
      choices = np.argmax(episodes.action, axis=-1)
      np.testing.assert_array_equal(np.sum(episodes.action, axis=-1), 1.0)
      expected = np.take_along_axis(probability, choices, axis=1)
      regrets = jax.vmap(regret)(probability, choices)
      np.testing.assert_allclose(regrets, 100 * probability.max(axis=1) - expected.sum(axis=1), atol=1e-3)
      found[name] = np.asarray(episodes.reward), expected
  return found


@pytest.mark.parametrize(
  ("name", "pulls", "reference"),
  [
    ("thompson", 10, 5.86),
    ("greedy", 10, 6.62),
    ("thompson", 100, 75.4),
    ("greedy", 100, 76.3),
    ("ucb1", 100, 77.9),
    ("gittins", 100, 78.3),
  ],
)
def test_policies_earn_what_others_found(name, pulls, reference, played):
  """Four standard errors of the difference of two means over bandits, theirs and ours.

  The mean of Gittins is printed in Duan et al. 2016 (RL^2), table 1, the others are of a simulation in NumPy. The other
  policies do not depend on how many pulls are to come, so that ten pulls are the first ten of a hundred.
  """
  rewards, expected = (values[:, :pulls].sum(axis=1) for values in played[name])
  error = np.std(rewards) * np.sqrt(1 / NUM_TASKS + 1 / THEIR_TASKS)
  assert abs(np.mean(rewards) - reference) < 4 * error
  assert abs(np.mean(rewards - expected)) < 4 * np.std(rewards - expected) / np.sqrt(NUM_TASKS)


def test_the_order_of_the_policies(played):
  """Over the same bandits, by what their choices were worth; three standard errors of the difference."""
  worth = {name: expected.sum(axis=1) for name, (_, expected) in played.items()}
  for better, worse in (("gittins", "ucb1"), ("ucb1", "greedy"), ("ucb1", "thompson")):
    difference = worth[better] - worth[worse]
    assert np.mean(difference) > 3 * np.std(difference) / np.sqrt(NUM_TASKS)
