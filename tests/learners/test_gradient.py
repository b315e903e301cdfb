import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from macaw_jax.adaptation import fine_tune, gradient_step, identity
from macaw_jax.learners.gradient import RULE, learning_rate, meta_learner, meta_loss, optimize_parts
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
