"""PPO on trials: advantages over the ends of episodes, ratios of one, and what is held fixed."""

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.networks.stochastic_policy import stochastic_policy
from macaw_jax.objectives.ppo import (
  RETURNS,
  follow_returns,
  happened_first,
  initial_returns,
  judge,
  ppo_loss,
  value_network,
  value_of,
)
from macaw_jax.types import Problem, Steps

DISCOUNT, LAMBDA = 0.9, 0.7
TRIALS, LENGTH, SIZE = 2, 6, 3
KEY = jax.random.key(0)
POLICY = stochastic_policy(Problem(2, 4, 1, DISCOUNT, discrete_actions=True), SIZE, (5,))
VALUE = value_network(SIZE, (5,))
MASK = jnp.array([[1.0] * 6, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]])


def trials():
  keys = jax.random.split(KEY, 3)
  action = jax.nn.one_hot(jax.random.randint(keys[0], (TRIALS, LENGTH), 0, 4), 4)
  observation = jax.random.normal(keys[1], (TRIALS, LENGTH, 2))
  reward = 10.0 * jax.random.normal(keys[2], (TRIALS, LENGTH)) * MASK
  return Steps(observation, action, reward, jnp.zeros_like(MASK), observation, MASK)


def net():
  keys = jax.random.split(jax.random.key(1), 2)
  made = {"policy": POLICY.init(keys[0]), "value": VALUE.init(keys[1]), RETURNS: initial_returns(KEY)}
  return made | {RETURNS: follow_returns(DISCOUNT)(made, trials())}


FEATURES = jax.random.normal(jax.random.key(2), (TRIALS, LENGTH, SIZE))


def judged(net, features=FEATURES, **changes):
  settings = {"discount": DISCOUNT, "lambda_": LAMBDA} | changes
  return judge(POLICY, VALUE, net, trials(), features, jnp.asarray(0.5), **settings)


def test_advantages_run_over_the_whole_trial_as_by_hand():
  steps, parts = trials(), net()
  values = np.asarray(value_of(VALUE, parts, FEATURES, MASK), np.float64)
  expected = np.zeros((TRIALS, LENGTH))
  for trial in range(TRIALS):
    count = int(MASK[trial].sum())
    for t in range(count):
      for j in range(t, count):
        following = values[trial, j + 1] if j + 1 < count else 0.0  # nothing is bootstrapped where a trial ends
        error = float(steps.reward[trial, j]) + DISCOUNT * following - values[trial, j]
        expected[trial, t] += (DISCOUNT * LAMBDA) ** (j - t) * error
  found = judged(parts)
  valid = np.asarray(MASK) > 0
  np.testing.assert_allclose(np.asarray(found.target)[valid], (expected + values)[valid], rtol=1e-4)
  standardised = (expected[valid] - expected[valid].mean()) / expected[valid].std()
  np.testing.assert_allclose(np.asarray(found.advantage)[valid], standardised, rtol=1e-3, atol=1e-4)


def test_with_lambda_one_a_target_is_the_return_to_go_of_the_trial():
  steps = trials()
  found = judged(net(), lambda_=1.0)
  for trial in range(TRIALS):
    count = int(MASK[trial].sum())
    to_go = [sum(DISCOUNT ** (j - t) * float(steps.reward[trial, j]) for j in range(t, count)) for t in range(count)]
    np.testing.assert_allclose(found.target[trial, :count], to_go, rtol=1e-4, atol=1e-4)


def loss_of(parts, batch, *, entropy_weight=0.0, value_weight=0.0):
  made = ppo_loss(
    POLICY,
    VALUE,
    lambda net, batch: batch.features,
    clip=0.2,
    entropy_weight=entropy_weight,
    value_weight=value_weight,
  )
  return made(parts, batch, KEY)


def test_the_behaviour_policy_has_a_ratio_of_one_and_the_plain_policy_gradient():
  parts = net()
  batch = judged(parts)
  value, metrics = loss_of(parts, batch)
  np.testing.assert_allclose(metrics["divergence"], 0, atol=1e-6)
  np.testing.assert_allclose(value, 0, atol=1e-6)  # advantages are centred

  def plain(policy):
    now = POLICY.log_prob(POLICY.distribution(policy, FEATURES), batch.steps.action)
    return -jnp.sum(jnp.where(MASK > 0, now * batch.advantage, 0.0)) / MASK.sum()

  gradient = jax.grad(lambda policy: loss_of(parts | {"policy": policy}, batch)[0])(parts["policy"])
  expected = jax.grad(plain)(parts["policy"])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradient, expected)


def test_the_weight_of_the_entropy_falls_with_what_is_left_of_training():
  parts = net()
  batch = judged(parts)
  without, metrics = loss_of(parts, batch)
  half, _ = loss_of(parts, batch, entropy_weight=0.4)
  none, _ = loss_of(parts, batch._replace(remaining=jnp.zeros(TRIALS)), entropy_weight=0.4)
  np.testing.assert_allclose(half, without - 0.5 * 0.4 * metrics["entropy"], rtol=1e-5)
  np.testing.assert_allclose(none, without, atol=1e-7)


def test_judged_trials_are_data_and_masked_steps_count_for_nothing():
  parts = net()
  zero = jax.grad(lambda parts: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(judged(parts))))(parts)
  for leaf in jax.tree.leaves(zero):
    np.testing.assert_array_equal(leaf, 0)
  moved = FEATURES.at[1, 4:].add(100.0)
  before, after = judged(parts), judged(parts, moved)
  valid = np.asarray(MASK) > 0
  for name in ("log_prob", "advantage", "target"):
    np.testing.assert_array_equal(getattr(before, name)[valid], getattr(after, name)[valid])
  settings = {"entropy_weight": 0.1, "value_weight": 0.5}
  np.testing.assert_allclose(loss_of(parts, before, **settings)[0], loss_of(parts, after, **settings)[0], rtol=1e-6)


def test_a_value_counts_in_deviations_of_the_returns():
  parts = net()
  _, metrics = loss_of(parts, judged(parts))
  scaled = trials()._replace(reward=1000.0 * trials().reward)
  larger = parts | {RETURNS: follow_returns(DISCOUNT)(parts | {RETURNS: initial_returns(KEY)}, scaled)}
  batch = judge(POLICY, VALUE, larger, scaled, FEATURES, jnp.ones(()), discount=DISCOUNT, lambda_=LAMBDA)
  _, of_larger = loss_of(larger, batch)
  np.testing.assert_allclose(of_larger["value_loss"], metrics["value_loss"], rtol=1e-3)


def test_steps_that_happened_come_first_in_their_order():
  numbers = jnp.arange(6.0)
  mask = jnp.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
  found = happened_first(Steps(numbers[:, None], numbers[:, None], numbers, numbers, numbers[:, None], mask))
  np.testing.assert_array_equal(found.reward, [0, 2, 5, 1, 3, 4])
  np.testing.assert_array_equal(found.mask, [1, 1, 1, 0, 0, 0])
