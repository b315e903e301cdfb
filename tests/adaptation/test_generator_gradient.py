"""Gradients that went through taps equal those of automatic differentiation."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.adaptation import chain, gradient_step
from macaw_jax.adaptation.generator_gradient import attach_taps, open_taps
from macaw_jax.learners.gradient import meta_loss
from macaw_jax.networks.layers import generate
from macaw_jax.networks.value import value_network
from macaw_jax.types import MetaParams, TaskBatch, Transition

NETWORK = value_network(3, (5, 4), layer="weight_transform")
TASKS = 3


def loss(params, batch, key):
  del key
  error = jnp.mean(jnp.square(NETWORK.apply(params["first"], batch.observation) - batch.reward))
  return error + 0.1 * jnp.mean(jnp.square(NETWORK.apply(params["second"], batch.observation))), {}


def tasks(rows):
  keys = jax.random.split(jax.random.key(1), 4)

  def batch(key_observation, key_reward):
    observation = jax.random.normal(key_observation, (TASKS, rows, 3))
    reward = jax.random.normal(key_reward, (TASKS, rows))
    return Transition(observation, observation, reward, observation, *[reward] * 3, observation, reward)

  return TaskBatch(batch(*keys[:2]), batch(*keys[2:]), jnp.arange(TASKS))


def meta_gradient(adaptation, outer_loss):
  net = {"first": NETWORK.init(jax.random.key(2)), "second": NETWORK.init(jax.random.key(3))}
  params = MetaParams(net, adaptation.init(net))
  return jax.jit(jax.grad(lambda params: meta_loss(adaptation, outer_loss)(params, tasks(8), jax.random.key(4))[0]))(
    params
  )


def assert_same(gradient, expected):
  for (path, reference), value in zip(
    jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(gradient), strict=True
  ):
    np.testing.assert_allclose(value, reference, rtol=1e-9, atol=1e-13, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("ema_decay", [None, 0.8])
@pytest.mark.parametrize("first_order", [False, True])
def test_meta_gradient_is_that_without_taps(steps, ema_decay, first_order):
  with jax.enable_x64(True):
    rule = gradient_step(loss, on="first", step_size=0.1, steps=steps, ema_decay=ema_decay, first_order=first_order)
    judged = loss
    if ema_decay is not None:
      judged = lambda params, batch, key: loss(params | {"second": params["target_first"]}, batch, key)  # noqa: E731
    gradient = meta_gradient(rule, judged)
    expected = meta_gradient(rule._replace(generator_products={}), judged)
  assert_same(gradient, expected)
  assert np.linalg.norm(gradient.net["first"]["layer_1"]["generator"]) > 0


def test_chained_rules_tap_each_part():
  with jax.enable_x64(True):
    rules = [gradient_step(loss, on=part, step_size=0.1) for part in ("first", "second")]
    rule = chain(*rules)
    assert rule.generator_products == {"first": 2, "second": 2}
    assert_same(meta_gradient(rule, loss), meta_gradient(rule._replace(generator_products={}), loss))


def test_uses_beside_the_taps_are_added():
  """A penalty on a generator itself has a gradient that no tap can hold."""

  def penalised(params, batch, key):
    return loss(params, batch, key)[0] + jnp.sum(jnp.square(params["generator"])), {}

  with jax.enable_x64(True):
    rule = gradient_step(loss, on="first", step_size=0.1)

    def gradient(rule):
      net = {"first": NETWORK.init(jax.random.key(2)), "second": NETWORK.init(jax.random.key(3))}

      def objective(net):
        opened, taps = open_taps(net, rule.generator_products, TASKS)

        def of_task(taps, support, query):
          own = attach_taps(opened, taps)
          changes, _ = rule.apply(own, rule.init(net), support, jax.random.key(0))
          generator = own["first"]["layer_0"]["generator"]
          return penalised(own | changes | {"generator": generator}, query, jax.random.key(0))[0]

        batch = tasks(8)
        return jnp.mean(jax.vmap(of_task)(taps, batch.support, batch.query))

      return jax.jit(jax.grad(objective))(net)

    assert_same(gradient(rule), gradient(rule._replace(generator_products={})))


def generator_sized_products(generator_products):
  """Products in the meta-gradient's program, before any compiler, that are as large as the middle layer's generator."""
  rule = gradient_step(loss, on="first", step_size=0.1)._replace(generator_products=generator_products)
  net = {"first": NETWORK.init(jax.random.key(2)), "second": NETWORK.init(jax.random.key(3))}
  objective = meta_loss(rule, loss)
  text = (
    jax.jit(jax.grad(lambda params: objective(params, tasks(8), jax.random.key(4))[0]))
    .lower(MetaParams(net, rule.init(net)))
    .as_text()
  )
  shapes = re.findall(r"dot_general.*-> tensor<([\dx]+)xf32>", text)
  size = net["first"]["layer_1"]["generator"].shape
  return sum(sorted(map(int, shape.split("x"))) == sorted(size) for shape in shapes)


def test_taps_save_products():
  with_taps, without = (generator_sized_products(products) for products in ({"first": 2}, {}))
  assert 1 <= with_taps < without


def test_more_products_than_announced_are_refused():
  rule = gradient_step(loss, on="first", step_size=0.1, steps=2)
  with pytest.raises(ValueError, match="product 2 of an adaptation that announced 2"):
    meta_gradient(rule._replace(generator_products={"first": 2}), loss)


def test_taps_do_not_change_values():
  net = {"first": NETWORK.init(jax.random.key(2))}
  opened, taps = open_taps(net, {"first": 2}, TASKS)
  layer = attach_taps(opened, jax.tree.map(lambda x: x[0], taps))["first"]["layer_0"]
  np.testing.assert_array_equal(
    generate(layer["generator"], layer["latent"]),
    generate(net["first"]["layer_0"]["generator"], net["first"]["layer_0"]["latent"]),
  )
