"""Policy gradients of one task a second time, plainly: sums over its valid steps, written out."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


def redrawn(tree, seed, size):
  """The same tree of random numbers: networks start near zero, and little would be seen of their curvature."""
  leaves, treedef = jax.tree.flatten(tree)
  keys = jax.random.split(jax.random.key(seed), len(leaves))
  return jax.tree.unflatten(
    treedef, [size * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
  )


def one(tree, *index):
  return jax.tree.map(lambda leaf: leaf[index], tree)


def valid(values, episodes):
  """The entries of `[E, H, ...]` that count, `[N, ...]`."""
  return values[np.asarray(episodes.mask) > 0]


def cubic(observation):
  horizon = observation.shape[1]
  return _with_time([observation, observation**2, observation**3], np.arange(horizon) / horizon)


def quadratic(observation):
  clipped = np.clip(observation, -10, 10)
  return _with_time([clipped, clipped**2], np.arange(observation.shape[1]) / 100)


def _with_time(columns, time):
  powers = np.stack([time, time**2, time**3, np.ones_like(time)], axis=-1)
  return np.concatenate([*columns, np.broadcast_to(powers, (len(columns[0]), *powers.shape))], axis=-1)


def advantage(episodes, features, discount, *, normalise):
  """Return to go less a ridge regression of it, by its normal equations: of the valid steps, `[N]`."""
  reward = np.asarray(episodes.reward)
  returns = np.zeros_like(reward)
  following = np.zeros(len(reward))
  for t in reversed(range(reward.shape[1])):
    returns[:, t] = following = reward[:, t] + discount * following
  rows = valid(features(np.asarray(episodes.observation)), episodes)
  target = valid(returns, episodes)
  weights = np.linalg.solve(rows.T @ rows + 1e-5 * np.eye(rows.shape[1]), rows.T @ target)
  raw = target - rows @ weights
  return (raw - raw.mean()) / raw.std() if normalise else raw


class Score(NamedTuple):
  """Log pi of the valid steps and its derivatives by the flat parameters: `[N]`, `[N, P]`, `[N, P, P]`."""

  log_prob: Any
  gradient: Any
  hessian: Any


def log_prob(policy, params, episodes):
  """`[N]`, of the valid steps."""
  return valid(_density(policy.distribution(params, episodes.observation), episodes.action), episodes)


def _density(gaussian, action):
  mean, log_std = gaussian
  return jnp.sum(-0.5 * ((action - mean) / jnp.exp(log_std)) ** 2 - log_std - 0.5 * jnp.log(2 * jnp.pi), axis=-1)


def make_score(policy, params, *, second_order=True):
  """`(params, episodes) -> Score`, for parameters shaped as these."""
  _, unravel = ravel_pytree(params)

  def of(theta, observation, action):
    return _density(policy.distribution(unravel(theta), observation), action)

  @jax.jit
  def derivatives(*arguments):
    slope = jax.jacrev(of)
    return Score(of(*arguments), slope(*arguments), jax.jacfwd(slope)(*arguments) if second_order else None)

  def score(params, episodes):
    found = derivatives(flat(params), episodes.observation, episodes.action)
    return jax.tree.map(lambda leaf: valid(leaf, episodes), found)

  return score


def flat(tree):
  return ravel_pytree(tree)[0]


def assert_close(actual, expected, **tolerance):
  def compare(path, a, b):
    np.testing.assert_allclose(a, b, err_msg=jax.tree_util.keystr(path), **tolerance)

  jax.tree_util.tree_map_with_path(compare, actual, expected)


def largest(tree):
  return max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree))
