"""Layers that multiply in bfloat16: close to float32, not the same, and float32 around the products."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.algorithms import macaw
from macaw_jax.networks.layers import LAYERS, WeightTransform, make_layer
from macaw_jax.networks.policy import gaussian_policy
from macaw_jax.networks.products import bfloat16_product
from macaw_jax.networks.value import value_network
from macaw_jax.types import Problem

KEY = jax.random.key(0)
INPUTS = jax.random.normal(jax.random.key(1), (5, 16, 30))
WEIGHTS = jax.random.normal(jax.random.key(2), (30, 20))


def relative_difference(actual, expected):
  return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def rounded(x):
  return np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64)


def test_product_is_that_of_rounded_operands_summed_exactly():
  product = bfloat16_product(INPUTS, WEIGHTS)
  assert product.dtype == jnp.float32
  np.testing.assert_allclose(product, rounded(INPUTS) @ rounded(WEIGHTS), rtol=1e-4, atol=1e-5)
  assert 1e-4 < relative_difference(product, INPUTS @ WEIGHTS) < 1e-2


def test_gradients_are_products_of_rounded_operands_in_float32():
  cotangent = jax.random.normal(KEY, (5, 16, 20))
  for_inputs, for_weights = jax.vjp(bfloat16_product, INPUTS, WEIGHTS)[1](cotangent)
  assert for_inputs.dtype == for_weights.dtype == jnp.float32
  np.testing.assert_allclose(for_inputs, rounded(cotangent) @ rounded(WEIGHTS).T, rtol=1e-4, atol=1e-5)
  expected = np.einsum("abi,abo->io", rounded(INPUTS), rounded(cotangent))
  np.testing.assert_allclose(for_weights, expected, rtol=1e-4, atol=1e-4)


def test_one_row_has_gradients_too():
  for_weights = jax.grad(lambda weights: jnp.sum(bfloat16_product(INPUTS[0, 0], weights)))(WEIGHTS)
  np.testing.assert_allclose(for_weights, np.tile(rounded(INPUTS[0, 0])[:, None], (1, 20)), rtol=1e-6)


def second_order(product):
  """The gradient of a loss after a gradient step, as meta-training takes it."""

  def adapted_loss(weights):
    step = jax.grad(lambda weights: jnp.mean(jnp.sin(product(INPUTS, weights))))
    return jnp.sum(jnp.cos(product(INPUTS, weights - 0.5 * step(weights))))

  return jax.grad(adapted_loss)


def test_gradients_through_gradients_are_near_those_in_float32():
  actual, expected = (second_order(product)(WEIGHTS) for product in (bfloat16_product, jnp.matmul))
  assert actual.dtype == jnp.float32
  assert 1e-4 < relative_difference(actual, expected) < 3e-2


def test_every_product_of_a_second_order_gradient_takes_bfloat16():
  text = jax.jit(second_order(bfloat16_product)).lower(WEIGHTS).as_text()
  operands = re.findall(r"dot_general.*: \(tensor<[\dx]*x(\w+)>, tensor<[\dx]*x(\w+)>\) -> tensor<[\dx]*x(\w+)>", text)
  assert len(operands) >= 6
  assert set(operands) == {("bf16", "bf16", "f32")}


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layers_in_bfloat16_are_near_those_in_float32(name):
  exact, rounding = make_layer(name)(20), make_layer(name, "bfloat16")(20)
  params, again = exact.init(KEY, INPUTS), rounding.init(KEY, INPUTS)
  jax.tree.map(np.testing.assert_array_equal, params, again)
  output = rounding.apply(params, INPUTS)
  assert output.dtype == jnp.float32
  assert 1e-4 < relative_difference(output, exact.apply(params, INPUTS)) < 1e-2
  gradient = jax.grad(lambda params: jnp.sum(jnp.square(rounding.apply(params, INPUTS))))(params)
  assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}


def test_float32_is_the_plain_product_bit_for_bit():
  layer = make_layer("dense", "float32")(20)
  params = layer.init(KEY, INPUTS)
  plain = nn.Dense(20)
  jax.tree.map(np.testing.assert_array_equal, params, plain.init(KEY, INPUTS))
  np.testing.assert_array_equal(layer.apply(params, INPUTS), plain.apply(params, INPUTS))

  generated = {"params": {"weights": jnp.concatenate([WEIGHTS, WEIGHTS[:1]])}}
  output = make_layer("weight_transform")(20).apply(generated, INPUTS)
  np.testing.assert_array_equal(output, WeightTransform(20).apply(generated, INPUTS))
  np.testing.assert_array_equal(output, INPUTS @ WEIGHTS + WEIGHTS[0])

  layer = make_layer("bias_transform")(20)
  params = layer.init(KEY, INPUTS)
  own = params["params"]
  expected = INPUTS @ own["kernel"] + own["bias"] + own["latent"] @ own["bias_generator"]
  np.testing.assert_array_equal(layer.apply(params, INPUTS), expected)


def test_networks_pass_the_precision_on():
  value = {name: value_network(30, (20, 20), layer="dense", matmul_precision=name) for name in ("float32", "bfloat16")}
  params = value["float32"].init(KEY)
  outputs = {name: network.apply(params, INPUTS) for name, network in value.items()}
  assert 1e-4 < relative_difference(outputs["bfloat16"], outputs["float32"]) < 3e-2

  heads = {"layer": "weight_transform", "advantage_head": True}
  policy = {name: gaussian_policy(30, 2, (20,), matmul_precision=name, **heads) for name in ("float32", "bfloat16")}
  params, actions = policy["float32"].init(KEY), jnp.ones((5, 16, 2))
  for function in ("mean", "advantage"):
    inputs = (INPUTS,) if function == "mean" else (INPUTS, actions)
    outputs = {name: getattr(network, function)(params, *inputs) for name, network in policy.items()}
    assert 1e-4 < relative_difference(outputs["bfloat16"], outputs["float32"]) < 3e-2


def test_another_precision_is_refused():
  with pytest.raises(ValueError, match="matmul_precision='float16' is unknown; choose one of bfloat16, float32"):
    macaw(Problem(3, 2, 4, 0.9), matmul_precision="float16")
