import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from macaw_jax.adaptation import chain, fine_tune, gradient_step, identity
from macaw_jax.learners.gradient import (
  RULE,
  init_parts,
  learning_rate,
  meta_learner,
  meta_loss,
  optimize_parts,
  reptile_gradient,
)
from macaw_jax.learners.gradient import learner as gradient_learner
from macaw_jax.networks.policy import act_with, gaussian_policy
from macaw_jax.networks.value import value_network
from macaw_jax.objectives import advantage, advantage_weighted_regression, monte_carlo, value_regression
from macaw_jax.types import MetaParams, TaskBatch, TimeStep, Transition

KEY = jax.random.key(0)
STEP_SIZE = 0.25


def transitions(rewards):
  rewards = jnp.asarray(rewards, jnp.float32)
  zeros, vectors = jnp.zeros_like(rewards), jnp.zeros((*rewards.shape, 1))
  return Transition(vectors, vectors, rewards, vectors, zeros, zeros, zeros, vectors, zeros)


def distance(params, batch, key):
  """Half the squared distance of the part `x` from the batch's mean reward."""
  del key
  loss = 0.5 * jnp.square(params["x"] - jnp.mean(batch.reward))
  return loss, {"loss": loss}


def learner(**changes):
  parts = {
    "init_net": lambda key: {"x": jnp.ones(())},
    "adaptation": gradient_step(distance, on="x", step_size=STEP_SIZE, learn_step_size=False),
    "outer_loss": distance,
    "optimizer": optimize_parts({"x": optax.sgd(0.1), RULE: optax.sgd(0.1)}),
    "act": lambda params, timestep, key: params["x"] + timestep.observation,
  }
  return meta_learner(**(parts | changes))


# Supports with means 3 and -1, queries with means 5 and 0. From x = 1 one step of 1/4 leads to 1.5 and 0.5.
TASKS = TaskBatch(transitions([[2.0, 4.0], [-1.0, -1.0]]), transitions([[5.0, 5.0], [0.0, 0.0]]), jnp.arange(2))


def test_meta_loss_by_hand():
  loss = meta_loss(gradient_step(distance, on="x", step_size=STEP_SIZE, learn_step_size=False), distance)
  params = learner().init(KEY).params
  value, metrics = loss(params, TASKS, KEY)
  np.testing.assert_allclose(value, 0.5 * (0.5 * 3.5**2 + 0.5 * 0.5**2))
  np.testing.assert_allclose(metrics["inner_x_loss_0"], 0.5 * (0.5 * 2.0**2 + 0.5 * 2.0**2))
  # d x' / d x = 1 - 1/4, so the meta-gradient is 3/4 of the mean of x' minus its target.
  gradient = jax.grad(lambda params: loss(params, TASKS, KEY)[0])(params)
  np.testing.assert_allclose(gradient.net["x"], 0.75 * 0.5 * (-3.5 + 0.5))


def test_update_is_one_optimiser_step_on_the_meta_gradient():
  algorithm = learner()
  state, _ = algorithm.update(algorithm.init(KEY), TASKS, KEY)
  np.testing.assert_allclose(state.params.net["x"], 1.0 - 0.1 * 0.75 * 0.5 * (-3.5 + 0.5))
  assert state.step == 1


def test_new_tasks_are_learned_as_in_training_or_by_a_rule_of_their_own():
  support = jax.tree.map(lambda x: x[0], TASKS.support)
  algorithm = learner()
  np.testing.assert_allclose(algorithm.adapt(algorithm.init(KEY).params, support, KEY)["x"], 1.5)

  tuned = learner(
    adaptation=identity(), test_adaptation=fine_tune({"x": distance}, {"x": optax.sgd(STEP_SIZE)}, steps=2)
  )
  np.testing.assert_allclose(tuned.adapt(tuned.init(KEY).params, support, KEY)["x"], 1.5 + 0.25 * 1.5)


def test_reptile_gradient_is_the_way_back_from_the_mean_adapted_part():
  rule = gradient_step(distance, on="x", step_size=STEP_SIZE, learn_step_size=False)
  net = {"x": jnp.ones(()), "other": jnp.ones(3)}
  params = MetaParams(net, rule.init(net))
  gradient, metrics = reptile_gradient(rule)(params, TASKS, KEY)
  np.testing.assert_allclose(gradient.net["x"], 1.0 - 0.5 * (1.5 + 0.5), atol=1e-6)
  np.testing.assert_array_equal(gradient.net["other"], 0.0)
  assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient.rule))
  np.testing.assert_allclose(metrics["inner_x_loss_0"], 2.0)


def test_reptile_refuses_parts_that_adapt_to_other_arrays():
  value = value_network(1, (3,), layer="weight_transform")
  rule = gradient_step(value_regression(value, monte_carlo()), on="value", step_size=0.1)
  net = {"value": value.init(KEY)}
  with pytest.raises(AssertionError):
    reptile_gradient(rule)(MetaParams(net, rule.init(net)), TASKS, KEY)


def test_reptile_with_offline_advantage_weighted_regression():
  """A composition that is no algorithm of the table: its parts and its learning rate."""
  policy, value = gaussian_policy(1, 1, (8,), layer="dense"), value_network(1, (8,), layer="dense")
  rule = chain(
    gradient_step(value_regression(value, monte_carlo()), on="value", step_size=0.1),
    gradient_step(advantage_weighted_regression(policy, advantage(value, monte_carlo())), on="policy", step_size=0.1),
  )
  algorithm = gradient_learner(
    init_net=init_parts({"policy": policy.init, "value": value.init}),
    adaptation=rule,
    meta_gradient=reptile_gradient(rule),
    optimizer=optax.sgd(1.0),
    act=act_with(policy),
  )
  state = algorithm.init(KEY)
  updated, _ = jax.jit(algorithm.update)(state, TASKS, KEY)
  supports = [jax.tree.map(lambda leaf, i=i: leaf[i], TASKS.support) for i in range(2)]
  adapted = [algorithm.adapt(state.params, support, KEY) for support in supports]
  expected = jax.tree.map(lambda *leaves: sum(leaves) / 2, *adapted)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), updated.params.net, expected)


def test_act_uses_what_adaptation_changed():
  algorithm = learner()
  params, zero = algorithm.init(KEY).params, jnp.zeros(())
  timestep = TimeStep(jnp.full((1,), 10.0), jnp.zeros((1,)), zero, zero)
  assert algorithm.act(params, {}, timestep, None)[0] == 11.0
  action, task = algorithm.act(params, {"x": jnp.asarray(2.0)}, timestep, None)
  assert action == 12.0
  assert task == {"x": 2.0}


def test_each_part_has_its_own_optimiser():
  optimizer = optimize_parts({"x": optax.sgd(1.0), "y": optax.sgd(10.0), RULE: optax.sgd(100.0)})
  params = MetaParams({"x": jnp.zeros(()), "y": jnp.zeros(())}, (jnp.zeros(()),))
  ones = jax.tree.map(jnp.ones_like, params)
  updates, _ = optimizer.update(ones, optimizer.init(params), params)
  assert updates == MetaParams({"x": -1.0, "y": -10.0}, (-100.0,))


@pytest.mark.parametrize("names", [{"x", "y"}, {"x", RULE}, {"x", "y", "z", RULE}])
def test_optimisers_must_match_the_parts(names):
  optimizer = optimize_parts({name: optax.sgd(1.0) for name in names})
  params = MetaParams({"x": jnp.zeros(()), "y": jnp.zeros(())}, ())
  with pytest.raises(ValueError, match="network parts and optimisers differ in"):
    optimizer.init(params)


def test_learning_rate_falls_to_zero_or_stays():
  assert learning_rate(0.5, None) == 0.5
  schedule = learning_rate(0.5, 100)
  np.testing.assert_allclose(
    [schedule(0), schedule(50), schedule(100), schedule(150)], [0.5, 0.25, 0.0, 0.0], atol=1e-7
  )
