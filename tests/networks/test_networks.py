import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.networks.layers import BiasTransform, WeightTransform, generate, is_weight_transform, make_layer
from macaw_jax.networks.policy import gaussian_policy
from macaw_jax.networks.value import value_network

KEY = jax.random.key(0)
INPUTS = jax.random.normal(jax.random.key(9), (4, 3))


def test_weight_transform_is_a_dense_layer_with_generated_weights():
  layer = WeightTransform(5, latent_size=7)
  params = layer.init(KEY, INPUTS)["params"]
  flat = params["latent"] @ np.reshape(params["generator"], (7, 4 * 5)) + np.reshape(params["generator_bias"], -1)
  kernel, bias = flat[:15].reshape(3, 5), flat[15:]
  np.testing.assert_allclose(layer.apply({"params": params}, INPUTS), INPUTS @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_weight_transform_initial_values():
  params = WeightTransform(50).init(KEY, jnp.zeros((1, 40)))["params"]
  assert params["generator"].shape == (100, 41, 50)
  assert np.max(np.abs(params["generator"])) <= 0.1
  np.testing.assert_allclose(np.std(params["generator"]), 0.1 / np.sqrt(3), rtol=0.02)
  np.testing.assert_allclose(np.std(params["latent"]), 1 / 50, rtol=0.3)
  wide = WeightTransform(1).init(KEY, jnp.zeros((1, 40)))["params"]
  np.testing.assert_allclose(np.std(wide["latent"]), 1.0, rtol=0.3)


def test_bias_transform_by_hand():
  layer = BiasTransform(5)
  params = layer.init(KEY, INPUTS)["params"]
  expected = INPUTS @ params["kernel"] + params["bias"] + params["latent"] @ params["bias_generator"]
  np.testing.assert_allclose(layer.apply({"params": params}, INPUTS), expected, rtol=1e-6)
  assert np.max(np.abs(params["kernel"])) <= 3**-0.5


def effective_weights(params):
  """The parameters with every weight-transform layer's `{latent z, generator M, generator_bias c}` as M z + c."""

  def collapse(node):
    if not is_weight_transform(node):
      return node
    return {"weights": generate(node["generator"], node["latent"]) + node["generator_bias"]}

  return jax.tree.map(collapse, params, is_leaf=is_weight_transform)


@pytest.mark.parametrize("layer", ["weight_transform", "bias_transform", "dense"])
def test_networks_accept_effective_weights(layer):
  policy = gaussian_policy(3, 2, (6, 6), layer=layer, advantage_head=True)
  value = value_network(3, (6, 6), layer=layer)
  actions = jnp.ones((4, 2))
  policy_params, value_params = policy.init(KEY), value.init(KEY)
  for function, params, inputs in [
    (policy.mean, policy_params, (INPUTS,)),
    (policy.advantage, policy_params, (INPUTS, actions)),
    (value.apply, value_params, (INPUTS,)),
  ]:
    np.testing.assert_allclose(function(effective_weights(params), *inputs), function(params, *inputs), rtol=1e-5)


def test_policy_mean_is_bounded_and_samples_scatter_by_the_standard_deviation():
  policy = gaussian_policy(3, 2, (6,), layer="dense", standard_deviation=0.5)
  params = policy.init(KEY)
  observation = jnp.broadcast_to(INPUTS[0], (20_000, 3))
  samples = policy.sample(params, observation, jax.random.key(1))
  mean = policy.mean(params, INPUTS[0])
  assert np.all(np.abs(mean) < 1)
  np.testing.assert_allclose(np.mean(samples, axis=0), mean, atol=0.02)
  np.testing.assert_allclose(np.std(samples, axis=0), 0.5, rtol=0.02)


def test_rectified_head_ignores_negative_action_components():
  down, further_down = -jnp.ones((4, 2)), -2 * jnp.ones((4, 2))
  for rectify in (True, False):
    policy = gaussian_policy(3, 2, (6,), layer="dense", advantage_head=True, relu_action=rectify)
    params = policy.init(KEY)
    same = np.allclose(policy.advantage(params, INPUTS, down), policy.advantage(params, INPUTS, further_down))
    assert same == rectify


def test_unknown_layer_and_bad_deviation():
  with pytest.raises(ValueError, match="choose one of bias_transform, dense, weight_transform"):
    make_layer("linear")
  with pytest.raises(ValueError, match="standard_deviation=0"):
    gaussian_policy(3, 2, (6,), layer="dense", standard_deviation=0.0)
