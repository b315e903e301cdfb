"""The evidence lower bound of a recurrent belief."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from macaw_jax.objectives.beliefs import Beliefs, belief_divergence, negative_elbo
from macaw_jax.types import Steps

LENGTH, LATENT_SIZE = 5, 2
KEY = jax.random.key(0)


def beliefs():
  keys = jax.random.split(jax.random.key(0))
  return Beliefs(jax.random.normal(keys[0], (LENGTH, LATENT_SIZE)), 0.3 * jax.random.normal(keys[1], (LENGTH, 2)))


def steps(count=LENGTH):
  row = jnp.zeros((LENGTH, 1))
  mask = (jnp.arange(LENGTH) < count).astype(float)
  return Steps(row, row, jnp.arange(float(LENGTH)), jnp.zeros(LENGTH), row, mask)


def test_the_divergence_is_that_of_beliefs_that_follow_each_other_the_first_from_the_prior():
  found = belief_divergence(beliefs())
  mean, std = np.asarray(beliefs().mean), np.exp(np.asarray(beliefs().log_std))
  draws = np.random.default_rng(0).normal(size=(400_000, LATENT_SIZE))
  for t in range(2):
    samples = mean[t] + std[t] * draws
    before = scipy.stats.norm(mean[t - 1], std[t - 1]) if t else scipy.stats.norm(0, 1)
    logs = scipy.stats.norm(mean[t], std[t]).logpdf(samples) - before.logpdf(samples)
    np.testing.assert_allclose(found[t], logs.sum(axis=-1).mean(), rtol=0.02)


def test_beliefs_equal_to_the_prior_diverge_from_nothing():
  flat = Beliefs(jnp.zeros((LENGTH, LATENT_SIZE)), jnp.zeros((LENGTH, LATENT_SIZE)))
  np.testing.assert_array_equal(belief_divergence(flat), 0)


def test_the_bound_adds_up_the_errors_of_the_whole_trial():
  """A decoder that predicts z_0 for every reward, under beliefs without spread."""
  certain = Beliefs(jnp.full((LENGTH, LATENT_SIZE), 1.5), jnp.full((LENGTH, LATENT_SIZE), -30.0))

  def surprise(net, z, steps):
    return 0.5 * jnp.square(z[:, :1] - steps.reward)

  count = 3
  loss, metrics = negative_elbo(surprise, {}, certain, steps(count), KEY, num_prefixes=4, kl_weight=0.0)
  expected = [0.5 * (1.5 - t) ** 2 for t in range(count)]
  np.testing.assert_allclose(loss, sum(expected), rtol=1e-6)
  np.testing.assert_allclose(metrics["reconstruction_error"], np.mean(expected), rtol=1e-6)


def test_steps_that_did_not_happen_are_neither_predicted_nor_asked():
  def surprise(net, z, steps):
    return jnp.square(z[:, :1] - steps.reward)

  def loss(beliefs):
    return negative_elbo(surprise, {}, beliefs, steps(2), KEY, num_prefixes=16, kl_weight=1.0)[0]

  for leaf in jax.grad(loss)(beliefs()):
    assert np.all(np.abs(leaf[:2]).sum(axis=-1) > 0)
    np.testing.assert_array_equal(leaf[2:], 0)
