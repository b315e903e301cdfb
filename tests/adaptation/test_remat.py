"""Inner steps that are computed again in the backward pass: the same numbers from fewer that are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pieces import pieces_of

from macaw_jax.algorithms import macaw, maml_awr
from macaw_jax.learners.gradient import meta_loss
from macaw_jax.types import MetaParams, Problem, TaskBatch, Transition

PROBLEM = Problem(observation_size=3, action_size=2, num_tasks=2, discount=0.9)
TARGET_NETWORK = {"ema_decay": 0.8, "outer_value_target": "bootstrapped", "advantage_target": "bootstrapped"}
KEY = jax.random.key(0)


def batch(key, rows):
  keys = iter(jax.random.split(key, 9))
  draw = lambda *sizes: jax.random.normal(next(keys), (PROBLEM.num_tasks, rows, *sizes))  # noqa: E731
  zeros = jnp.zeros((PROBLEM.num_tasks, rows))
  return Transition(draw(3), draw(2), draw(), draw(3), zeros, zeros, draw(), draw(3), 0.5 + zeros)


def loss_and_params(remat, rows, **arguments):
  """The meta-training objective as a function of all that it trains, and initial values."""
  parts = pieces_of(macaw, PROBLEM, hidden_sizes=(5, 4), remat=remat, **arguments)
  net = parts.init_net(KEY)
  tasks = TaskBatch(batch(jax.random.key(1), rows), batch(jax.random.key(2), rows), jnp.arange(PROBLEM.num_tasks))
  loss = meta_loss(parts.adaptation, parts.outer_loss)
  return lambda params: loss(params, tasks, KEY), MetaParams(net, parts.adaptation.init(net))


@pytest.mark.parametrize(("steps", "target_network"), [(1, {}), (3, TARGET_NETWORK)], ids=["plain", "target network"])
def test_losses_and_meta_gradients_are_those_of_steps_that_are_kept(steps, target_network):
  results = []
  with jax.enable_x64(True):
    for remat in ("nothing", "inner_steps"):
      loss, params = loss_and_params(remat, 6, adaptation_steps=steps, **target_network)
      results.append(jax.jit(jax.value_and_grad(loss, has_aux=True))(params))
  expected, actual = results
  assert actual[0][0].dtype == np.float64
  assert np.linalg.norm(expected[1].net["policy"]["trunk"]["layer_0"]["generator"]) > 0
  for (path, reference), value in zip(
    jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(actual), strict=True
  ):
    np.testing.assert_allclose(value, reference, rtol=1e-10, atol=1e-14, err_msg=jax.tree_util.keystr(path))


def kept_bytes(remat, rows, **arguments):
  """Size of everything that the backward pass takes over from the forward pass, before any compiler."""
  loss, params = loss_and_params(remat, rows, **arguments)
  backward = jax.eval_shape(lambda params: jax.vjp(lambda params: loss(params)[0], params)[1], params)
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


def growth(remat, **arguments):
  """Kept bytes per transition of support and query."""
  small, large = (kept_bytes(remat, rows, **arguments) for rows in (40, 80))
  return (large - small) / 40


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_much_less_is_kept_of_every_transition(steps):
  assert growth("inner_steps", adaptation_steps=steps) < 0.3 * growth("nothing", adaptation_steps=steps)


@pytest.mark.parametrize("factory", [macaw, maml_awr])
def test_anything_else_is_refused(factory):
  with pytest.raises(ValueError, match="remat='all'"):
    factory(PROBLEM, remat="all")
