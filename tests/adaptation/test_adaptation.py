import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from macaw_jax.adaptation import chain, fine_tune, gradient_step, identity
from macaw_jax.adaptation.gradient_step import split_rows
from macaw_jax.hyperparameters import inverse_softplus
from macaw_jax.types import Transition

KEY = jax.random.key(0)


def batch_of(rewards):
  rewards = jnp.asarray(rewards, jnp.float32)
  zeros, vectors = jnp.zeros_like(rewards), jnp.zeros((*rewards.shape, 1))
  return Transition(vectors, vectors, rewards, vectors, zeros, zeros, zeros, vectors, zeros)


def pull(part, towards=None):
  """1/2 (x - target)^2 averaged over the batch's rewards, or over another part's value."""

  def loss(params, batch, key):
    del key
    target = batch.reward if towards is None else params[towards]
    return 0.5 * jnp.mean(jnp.square(params[part] - target)), {}

  return loss


def test_gradient_step_by_hand():
  rule = gradient_step(pull("x"), on="x", step_size=0.5)
  net = {"x": jnp.asarray(1.0), "other": jnp.asarray(7.0)}
  changes, metrics = rule.apply(net, rule.init(net), batch_of([3.0, 5.0]), KEY)
  assert changes.keys() == {"x"}
  np.testing.assert_allclose(changes["x"], 1.0 - 0.5 * (1.0 - 4.0), rtol=1e-6)
  np.testing.assert_allclose(metrics["inner_x_loss_0"], 0.5 * (4.0 + 16.0) / 2.0, rtol=1e-6)


def test_each_step_reads_its_own_rows_in_order():
  rule = gradient_step(pull("x"), on="x", step_size=0.5, steps=2, learn_step_size=False)
  net = {"x": jnp.asarray(0.0)}
  changes, _ = rule.apply(net, rule.init(net), batch_of([4.0, 4.0, 10.0, 10.0]), KEY)
  np.testing.assert_allclose(changes["x"], 2.0 + 0.5 * (10.0 - 2.0))


def test_target_network_by_hand():
  rule = gradient_step(pull("x"), on="x", step_size=0.5, steps=2, learn_step_size=False, ema_decay=0.9)
  net = {"x": jnp.asarray(0.0)}
  changes, _ = rule.apply(net, rule.init(net), batch_of([4.0, 10.0]), KEY)
  np.testing.assert_allclose(changes["target_x"], 0.9 * (0.1 * 2.0) + 0.1 * 6.0, rtol=1e-6)


def test_chain_equals_applying_by_hand_and_later_rules_see_earlier_changes():
  first = gradient_step(pull("x"), on="x", step_size=0.5)
  second = gradient_step(pull("y", towards="x"), on="y", step_size=0.25)
  both = chain(first, second)
  net, support = {"x": jnp.asarray(0.0), "y": jnp.asarray(8.0)}, batch_of([4.0, 4.0])
  changes, metrics = both.apply(net, both.init(net), support, KEY)
  np.testing.assert_allclose(changes["x"], 2.0, rtol=1e-6)
  np.testing.assert_allclose(changes["y"], 8.0 - 0.25 * (8.0 - 2.0), rtol=1e-6)
  assert metrics.keys() == {"inner_x_loss_0", "inner_y_loss_0"}


def test_identity_changes_nothing_and_learns_nothing():
  rule = identity()
  net = {"x": jnp.asarray(1.0)}
  assert rule.apply(net, rule.init(net), batch_of([1.0]), KEY) == ({}, {})
  assert jax.tree.leaves(rule.init(net)) == []


def test_learned_scalar_reaches_the_loss_and_gets_a_meta_gradient():
  def scaled(params, batch, key):
    loss, metrics = pull("x")(params, batch, key)
    return params["weight"] * loss, metrics

  rule = gradient_step(scaled, on="x", step_size=0.5, learn_step_size=False, learned={"weight": 2.0})
  net, support = {"x": jnp.asarray(0.0)}, batch_of([4.0, 4.0])
  adapted = lambda learned: rule.apply(net, learned, support, KEY)[0]["x"]  # noqa: E731
  learned = rule.init(net)
  np.testing.assert_allclose(adapted(learned), 0.5 * 2.0 * 4.0)
  np.testing.assert_allclose(jax.grad(adapted)(learned)["learned"]["weight"], 0.5 * 4.0)


@pytest.mark.parametrize("learned", [True, False])
def test_step_sizes_get_a_meta_gradient_where_they_are_learned(learned):
  rule = gradient_step(pull("x"), on="x", step_size=0.5, learn_step_size=learned)
  net, support = {"x": jnp.asarray(0.0)}, batch_of([4.0, 4.0])
  gradient = jax.grad(lambda own: rule.apply(net, own, support, KEY)[0]["x"])(rule.init(net))
  # x' = 4 softplus(raw), and d softplus / d raw = 1 - exp(-softplus).
  np.testing.assert_allclose(gradient["raw_step_size"], learned * 4.0 * (1.0 - np.exp(-0.5)), rtol=1e-5)


def test_step_sizes_stay_positive_and_start_where_asked():
  for size in (1e-4, 0.01, 3.0, 50.0):
    np.testing.assert_allclose(jax.nn.softplus(inverse_softplus(size)), size, rtol=1e-4)
  with pytest.raises(ValueError, match="must be positive"):
    inverse_softplus(0.0)


def test_rows_that_do_not_divide_are_refused():
  with pytest.raises(ValueError, match="adaptation_steps=2"):
    split_rows(batch_of([1.0] * 5), 2)


@pytest.mark.parametrize(("arguments", "message"), [({"steps": 0}, "steps=0"), ({"step_size": 0.0}, "step_size=0.0")])
def test_gradient_step_refuses_bad_arguments(arguments, message):
  with pytest.raises(ValueError, match=message):
    gradient_step(pull("x"), on="x", **({"step_size": 0.1} | arguments))


def test_fine_tune_equals_optimiser_steps_by_hand():
  optimizers = {"x": optax.adam(0.1), "y": optax.sgd(0.5)}
  rule = fine_tune({"x": pull("x"), "y": pull("y", towards="x")}, optimizers, steps=3)
  net, support = {"x": jnp.asarray(0.0), "y": jnp.asarray(8.0), "z": jnp.asarray(1.0)}, batch_of([4.0, 4.0])
  changes, metrics = rule.apply(net, rule.init(net), support, KEY)

  x, y, state = net["x"], net["y"], optimizers["x"].init(net["x"])
  for _ in range(3):
    update, state = optimizers["x"].update(x - 4.0, state)
    x = x + update
    y_loss = 0.5 * (y - x) ** 2
    y = y - 0.5 * (y - x)
  np.testing.assert_allclose(changes["x"], x, rtol=1e-6)
  np.testing.assert_allclose(changes["y"], y, rtol=1e-6)
  np.testing.assert_allclose(metrics["fine_tune_y_loss"], y_loss, rtol=1e-6)
  assert changes.keys() == {"x", "y"}


def test_fine_tune_refuses_mismatched_parts():
  with pytest.raises(ValueError, match="same parts"):
    fine_tune({"x": pull("x")}, {"y": optax.sgd(0.1)}, steps=1)
  with pytest.raises(ValueError, match="steps=0"):
    fine_tune({"x": pull("x")}, {"x": optax.sgd(0.1)}, steps=0)
