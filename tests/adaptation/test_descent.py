"""Steps on weight-transform layers without copies of the generator equal steps on the parameters themselves."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.adaptation.descent import GradientDescent
from macaw_jax.networks.layers import BiasTransform, WeightTransform
from macaw_jax.networks.mlp import MLP

EMA_DECAY = 0.7


class Mixed(nn.Module):
  """A weight-transform, a bias-transform and a plain layer: every kind of parameter in one tree."""

  @nn.compact
  def __call__(self, inputs):
    hidden = nn.tanh(MLP((6, 5), lambda size, name: WeightTransform(size, latent_size=9, name=name))(inputs))
    return nn.Dense(2)(nn.tanh(BiasTransform(4)(hidden)))


MODULE = Mixed()


def loss(params, batch):
  inputs, targets = batch
  return jnp.mean(jnp.square(MODULE.apply({"params": params}, inputs) - targets))


def problem(steps):
  keys = jax.random.split(jax.random.key(0), 6)
  params = MODULE.init(keys[0], jnp.zeros((1, 3)))["params"]
  leaves, treedef = jax.tree.flatten(params)
  rates = treedef.unflatten(list(jax.random.uniform(keys[1], (len(leaves),), minval=0.02, maxval=0.2)))
  tasks = 3
  support = (jax.random.normal(keys[2], (tasks, steps, 8, 3)), jax.random.normal(keys[3], (tasks, steps, 8, 2)))
  query = (jax.random.normal(keys[4], (tasks, 7, 3)), jax.random.normal(keys[5], (tasks, 7, 2)))
  return params, rates, support, query


def plain(params, rates, support, steps, first_order):
  """Gradient descent on z, M and c themselves, with a target network of each."""
  stopped = jax.lax.stop_gradient if first_order else lambda x: x
  adapted, target = params, params
  for k in range(steps):
    gradient = jax.grad(loss)(adapted, jax.tree.map(lambda x, k=k: x[k], support))
    adapted = jax.tree.map(lambda p, r, g: p - r * stopped(g), adapted, rates, gradient)
    target = jax.tree.map(lambda s, a: EMA_DECAY * s + (1 - EMA_DECAY) * a, target, adapted)
  return adapted, target


def factored(params, rates, support, steps, first_order):
  rule = GradientDescent(first_order=first_order, ema_decay=EMA_DECAY)
  descent = rule.init(params)
  for k in range(steps):
    weights = rule.weights(params, descent)
    gradient = jax.grad(loss)(weights, jax.tree.map(lambda x, k=k: x[k], support))
    descent = rule.step(params, rates, descent, gradient)
  return rule.weights(params, descent), rule.target_weights(params, descent)


def outer_loss(adapt, steps, first_order):
  def of_task(params, rates, support, query):
    adapted, target = adapt(params, rates, support, steps, first_order)
    return loss(adapted, query) + 0.3 * loss(target, query)

  def mean(params, rates, support, query):
    return jnp.mean(jax.vmap(of_task, in_axes=(None, None, 0, 0))(params, rates, support, query))

  return mean


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_factored_form_equals_plain_form(steps, first_order):
  with jax.enable_x64(True):
    inputs = problem(steps)
    results = [
      jax.jit(jax.value_and_grad(outer_loss(adapt, steps, first_order), argnums=(0, 1)))(*inputs)
      for adapt in (plain, factored)
    ]
  (expected, expected_gradient), (actual, gradient) = results
  np.testing.assert_allclose(actual, expected, rtol=1e-11)
  for (path, reference), value in zip(
    jax.tree_util.tree_leaves_with_path(expected_gradient), jax.tree.leaves(gradient), strict=True
  ):
    assert np.linalg.norm(reference) > 0
    np.testing.assert_allclose(value, reference, rtol=1e-8, atol=1e-12, err_msg=jax.tree_util.keystr(path))


def test_first_order_differs_from_second_order():
  inputs = problem(2)
  gradients = [jax.jit(jax.grad(outer_loss(factored, 2, first_order)))(*inputs) for first_order in (False, True)]
  largest = max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), *gradients)))
  assert largest > 1e-4


def test_adapted_weights_hold_no_generator_per_task():
  params, rates, support, _ = problem(1)
  weights, _ = jax.vmap(lambda task: factored(params, rates, task, 1, False))(support)
  generator = params["MLP_0"]["layer_0"]["generator"]
  assert weights["MLP_0"]["layer_0"].keys() == {"weights"}
  assert weights["MLP_0"]["layer_0"]["weights"].shape == (3, *generator.shape[1:])


def test_meta_gradient_equals_finite_differences():
  with jax.enable_x64(True):
    inputs = problem(3)
    function = jax.jit(outer_loss(factored, 3, False))
    keys = iter(jax.random.split(jax.random.key(1), 100))
    direction = jax.tree.map(lambda p: jax.random.normal(next(keys), p.shape), inputs[0])
    slope = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, jax.grad(function)(*inputs), direction)))
    moved = [
      function(jax.tree.map(lambda p, d, s=sign: p + s * 1e-5 * d, inputs[0], direction), *inputs[1:])
      for sign in (1.0, -1.0)
    ]
  np.testing.assert_allclose((moved[0] - moved[1]) / 2e-5, slope, rtol=1e-7)
