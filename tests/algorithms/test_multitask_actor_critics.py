"""Multi-task actor-critics: nothing adapts, supports are not read, and gradient surgery leaves temperatures alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_context_batches import KEY, PROBLEM, tasks

from macaw_jax.actor_critics import iql, tempered_sac
from macaw_jax.algorithms import multitask_iql, multitask_sac
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.types import TimeStep, no_prior

SMALL = {"optimizer": optax.sgd, "learning_rate": 0.1}
NONE = GradientSurgery(lambda gradients, key: (jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:]), gradients), {}))


@pytest.mark.parametrize(("factory", "actor_critic"), [(multitask_sac, tempered_sac), (multitask_iql, iql)])
def test_nothing_adapts_and_no_support_is_read(factory, actor_critic):
  algorithm = factory(PROBLEM, actor_critic=actor_critic(hidden_sizes=(6,)), **SMALL)
  state, batch = algorithm.init(KEY), tasks()
  update = jax.jit(algorithm.update)
  after, other = (update(state, each, KEY)[0] for each in (batch, batch._replace(support=tasks(7).support)))
  jax.tree.map(np.testing.assert_array_equal, after, other)
  assert algorithm.adapt(state.params, jax.tree.map(lambda leaf: leaf[0], batch.support), KEY) == {}
  assert algorithm.prior is no_prior
  zero = jnp.zeros(())
  step = TimeStep(jnp.ones(3), jnp.zeros(2), zero, zero)
  action, adapted = algorithm.act(state.params, {}, step, None)
  assert action.shape == (2,)
  assert adapted == {}


def test_each_temperature_follows_the_rows_of_its_own_task():
  algorithm = multitask_sac(PROBLEM, actor_critic=tempered_sac(hidden_sizes=(6,)), **SMALL)
  state = algorithm.init(KEY)
  before = np.asarray(state.params.net["log_temperature"])
  after = np.asarray(jax.jit(algorithm.update)(state, tasks(), KEY)[0].params.net["log_temperature"])
  assert before.shape == (5,)
  assert list(after != before) == [True, False, True, True, False]  # the batch has tasks 3, 0 and 2


def test_gradient_surgery_reaches_the_shared_networks_and_never_a_temperature():
  algorithm = multitask_sac(PROBLEM, actor_critic=tempered_sac(hidden_sizes=(6,)), gradient_surgery=NONE, **SMALL)
  state = algorithm.init(KEY)
  after = jax.jit(algorithm.update)(state, tasks(), KEY)[0].params.net
  for part in ("critic", "policy"):
    jax.tree.map(np.testing.assert_array_equal, after[part], state.params.net[part])
  assert np.any(after["log_temperature"] != state.params.net["log_temperature"])
