"""Networks of actor-critics: where they start, and the range of a policy's standard deviation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.networks.latent import STANDARD_NETWORKS, released_networks
from macaw_jax.networks.soft_actor_critic import hard_bounds

KEY = jax.random.key(0)
INPUTS = jax.random.normal(jax.random.key(1), (50, 6))


def test_policies_start_near_a_standard_deviation_of_one():
  policy = STANDARD_NETWORKS.policy(6, 2, (64, 64))
  _, log_std = policy.apply(policy.init(KEY), INPUTS)
  assert abs(np.mean(log_std)) < 0.5


def test_beyond_its_range_a_log_standard_deviation_is_cut_and_has_no_gradient():
  bound = hard_bounds(-20.0, 2.0)
  raw = jnp.array([-30.0, -20.5, -3.0, 1.9, 2.1])
  np.testing.assert_array_equal(bound(raw), jnp.array([-20.0, -20.0, -3.0, 1.9, 2.0]))
  np.testing.assert_array_equal(jax.vmap(jax.grad(bound))(raw), [0.0, 0.0, 1.0, 1.0, 0.0])


@pytest.mark.parametrize("kind", ["policy", "critic", "value"])
def test_released_networks_start_as_released(kind):
  networks = released_networks(hard_bounds(-20.0, 2.0))
  network = {
    "policy": lambda: networks.policy(6, 2, (64, 25)),
    "critic": lambda: networks.critic(6, 2, (64, 25)),
    "value": lambda: networks.value(6, (64, 25)),
  }[kind]()
  params = network.init(KEY)
  for name, outputs in (("layer_0", 64), ("layer_1", 25)):
    np.testing.assert_allclose(params[name]["bias"], 0.1)
    largest = np.max(np.abs(params[name]["kernel"]))
    assert 0.9 * outputs**-0.5 < largest <= outputs**-0.5  # by the number of outputs, not of inputs
  last = max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(params["layer_2"]))
  bound = 1e-3 if kind == "policy" else 3e-3
  assert 0.8 * bound < last <= bound
