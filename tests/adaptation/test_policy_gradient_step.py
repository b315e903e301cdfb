"""The step of policy-gradient agents, whose second derivatives are made in a way of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_episodes import episodes

from macaw_jax.adaptation.policy_gradient_step import policy_gradient_step

KEY = jax.random.key(0)


def bowl(params, batch, key):
  """A loss of third order in two parts that share every product."""
  del key
  features = jnp.tanh(batch.observation @ params["policy"]["matrix"]) + params["policy"]["shift"]
  return jnp.mean(jnp.sum(features, axis=-1) ** 3 * jnp.sin(batch.action @ params["other"])), {}


def net():
  keys = jax.random.split(KEY, 3)
  policy = {"matrix": jax.random.normal(keys[0], (3, 2)), "shift": jax.random.normal(keys[1], (2,))}
  return {"policy": policy, "other": jax.random.normal(keys[2], (2,))}


def stepped_plainly(net, rule, support, first_order=False, offset_in_each_step=False):
  params = net["policy"]
  for index in range(support.mask.shape[0]):
    batch = jax.tree.map(lambda leaf, index=index: leaf[index], support)
    slope = jax.grad(lambda part, batch=batch: bowl(net | {"policy": part}, batch, None)[0])(params)
    slope = jax.lax.stop_gradient(slope) if first_order else slope
    params = jax.tree.map(lambda weight, size, down: weight - size * down, params, rule["step_size"], slope)
    if index == 0 or offset_in_each_step:
      params = jax.tree.map(jnp.add, params, rule["offset"])
  return params


def judged(params):
  return jnp.sum(jnp.cos(params["matrix"])) + jnp.sum(params["shift"] ** 2)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("first_order", [False, True])
def test_derivatives_are_those_of_differentiating_twice(steps, first_order):
  with jax.enable_x64(True):
    step = policy_gradient_step(bowl, step_size=0.1, learn_step_sizes=True, offset=True, first_order=first_order)
    parts, support = jax.tree.map(lambda leaf: leaf.astype(float), (net(), episodes(KEY, steps)))
    rule = jax.tree.map(lambda leaf: leaf.astype(float) + 0.01, step.init(parts))

    def through_step(parts, rule):
      return judged(step.apply(parts, rule, support, KEY)[0]["policy"])

    def plainly(parts, rule):
      return judged(stepped_plainly(parts, rule, support, first_order))

    found, expected = (jax.jit(jax.value_and_grad(f, (0, 1)))(parts, rule) for f in (through_step, plainly))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), found, expected)
    other = found[1][0]["other"]
    assert np.all(other == 0) if first_order else np.all(np.abs(other) > 1e-4)


@pytest.mark.parametrize("offset", [True, False])
def test_the_offset_can_be_added_in_each_step_and_a_traced_switch_is_no_different(offset):
  with jax.enable_x64(True):
    parts, support = jax.tree.map(lambda leaf: leaf.astype(float), (net(), episodes(KEY, 3)))
    begun = policy_gradient_step(bowl, step_size=0.1, offset=True).init(parts)
    rule = jax.tree.map(lambda leaf: leaf.astype(float) + 0.05, begun)

    def adapted(in_each, offset=offset):
      step = policy_gradient_step(bowl, step_size=0.1, offset=offset, offset_in_each_step=in_each)
      return step.apply(parts, rule, support, KEY)[0]["policy"]

    for in_each in (True, False):
      own = rule if offset else rule | {"offset": jax.tree.map(jnp.zeros_like, rule["offset"])}
      expected = stepped_plainly(parts, own, support, offset_in_each_step=in_each)
      for found in (adapted(in_each), jax.jit(adapted)(in_each)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), found, expected)


def test_a_step_without_episodes_changes_nothing():
  step = policy_gradient_step(bowl, step_size=0.1, offset=True)
  rule = jax.tree.map(jnp.ones_like, step.init(net()))
  none = jax.tree.map(lambda leaf: leaf[:0], episodes(KEY, 1))
  changes, metrics = step.apply(net(), rule, none, KEY)
  jax.tree.map(np.testing.assert_array_equal, changes, {"policy": net()["policy"]})
  assert not metrics


def test_a_rule_without_an_offset_has_none():
  step = policy_gradient_step(bowl, step_size=0.1)
  assert step.init(net()).keys() == {"step_size"}
