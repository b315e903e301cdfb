"""Whether the inner gradient tells how good an action was apart from which action it was.

Mitchell et al. 2021: the gradient of advantage-weighted regression at one transition is

    w (mu(s) - a) / sigma^2 . d mu(s) / d theta,   w = exp(A / T)

which holds the product of the weight w and of the distance of the action a from the mean. An adapted policy that is
made of it cannot depend on both: two transitions with one product are the same to it. The gradient of the advantage
head's regression, (head(s, a) - A) . d head(s, a) / d theta, depends on both in another way, and an update rule can
read them.

`collision` builds two transitions that have the same gradient without the head. `decoding` reads action and advantage
off the gradients of random transitions, by their nearest neighbours.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree

from macaw_jax.networks.policy import Policy, gaussian_policy
from macaw_jax.objectives.policies import advantage_weighted_regression, macaw_policy_loss
from macaw_jax.types import Array, Key, Params, Transition

OBSERVATION_SIZE, ACTION_SIZE = 4, 1
HIDDEN_SIZES = (16, 16)
COEFFICIENT = 1.0  # of the advantage regression, so that neither part of the gradient is lost beside the other
NEIGHBOURS = 5


class Decoded(NamedTuple):
  """R^2 of what is read off a gradient, on transitions that it was not fitted to."""

  action: float
  advantage: float


@functools.cache
def make_policy(*, head: bool) -> Policy:
  """A small policy with plain layers, with the advantage head or without; the same object each time: compiled once."""
  return gaussian_policy(
    OBSERVATION_SIZE, ACTION_SIZE, HIDDEN_SIZES, layer="dense", advantage_head=head, relu_action=False
  )


@functools.partial(jax.jit, static_argnums=0)
def inner_gradients(policy: Policy, params: Params, observation: Array, actions: Array, advantages: Array) -> Array:
  """The gradient of the inner policy loss at each of N transitions from one state.

  Args:
    policy: with the advantage head or without.
    params: of the policy.
    observation: `[O]`.
    actions: `[N, A]`.
    advantages: `[N]`.

  Returns:
    `[N, P]`, P the number of parameters.
  """

  def given(found: dict[str, Params], batch: Transition) -> Array:
    return batch.mc_return  # which holds the advantage itself: there is no value network here

  if policy.advantage is None:
    loss = advantage_weighted_regression(policy, given, normalise=False)
  else:
    loss = macaw_policy_loss(policy, given, lambda found: jnp.asarray(COEFFICIENT), normalise=False)

  def gradient(action: Array, advantage: Array) -> Array:
    zero = jnp.zeros((1,))
    row = Transition(
      observation[None], action[None], zero, observation[None], zero, zero, advantage[None], observation[None], zero
    )
    found = jax.grad(lambda params: loss({"policy": params}, row, jax.random.key(0))[0])(params)
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(found)])

  return jax.vmap(gradient)(actions, advantages)


def collision(policy: Policy, params: Params, observation: Array) -> tuple[Array, Array]:
  """Two actions `[2, A]` and advantages `[2]` with one product of weight and distance from the mean.

  The second action is twice as far from the mean as the first, and its weight exp(A) is half as large.
  """
  mean = policy.mean(params, observation)
  actions = jnp.stack([mean + 0.1, mean + 0.2])
  return actions, jnp.array([0.0, -jnp.log(2.0)])


def decoding(*, head: bool, key: Key, transitions: int = 2_000) -> Decoded:
  """How well action and advantage are read off the inner gradients of a random policy in a random state."""
  key_params, key_state, key_actions, key_advantages = jax.random.split(key, 4)
  policy = make_policy(head=head)
  params, observation = jax.jit(policy.init)(key_params), jax.random.normal(key_state, (OBSERVATION_SIZE,))
  actions = jax.random.uniform(key_actions, (transitions, ACTION_SIZE), minval=-1.0, maxval=1.0)
  advantages = jax.random.uniform(key_advantages, (transitions,), minval=-1.0, maxval=1.0)
  gradients = np.asarray(inner_gradients(policy, params, observation, actions, advantages))
  features = principal_components(gradients)
  return Decoded(r_squared(features, np.asarray(actions[:, 0])), r_squared(features, np.asarray(advantages)))


def principal_components(gradients: np.ndarray) -> np.ndarray:
  """The directions in which gradients `[N, P]` vary, each with a variance of one: `[N, D]`."""
  centred = gradients - gradients.mean(axis=0)
  left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
  return left[:, sizes > 1e-4 * sizes[0]] * np.sqrt(len(gradients))


def r_squared(features: np.ndarray, values: np.ndarray) -> float:
  """R^2 of the mean over the nearest neighbours, of the second half of `[N, D]` and `[N]` among the first."""
  half = len(values) // 2
  _, places = cKDTree(features[:half]).query(features[half:], k=NEIGHBOURS)
  error = np.mean((values[:half][places].mean(axis=1) - values[half:]) ** 2)
  return float(1.0 - error / np.var(values[half:]))
