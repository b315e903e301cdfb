"""Gaussian policies with a fixed standard deviation, and the advantage head of MACAW."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from macaw_jax.hyperparameters import require
from macaw_jax.networks.layers import make_layer
from macaw_jax.networks.linen import as_network, forward
from macaw_jax.networks.mlp import MLP
from macaw_jax.types import Array, Key, Params, TimeStep

ADVANTAGE_HEAD_SIZES = (32, 1)


class Policy(NamedTuple):
  """A policy as pure functions of its parameters.

  init:      `(key) -> params`
  mean:      `(params, observation [..., O]) -> [..., A]` in [-1, 1]
  log_prob:  `(params, observation [..., O], action [..., A]) -> [...]`
  advantage: `(params, observation [..., O], action [..., A]) -> [...]`, the head's prediction of A(s, a);
             None where the policy has no head
  log_prob_and_advantage: both of a recorded action, in one pass through the trunk; None without a head
  sample:    `(params, observation [..., O], key) -> [..., A]`
  """

  init: Callable[[Key], Params]
  mean: Callable[[Params, Array], Array]
  log_prob: Callable[[Params, Array, Array], Array]
  advantage: Callable[[Params, Array, Array], Array] | None
  log_prob_and_advantage: Callable[[Params, Array, Array], tuple[Array, Array]] | None
  sample: Callable[[Params, Array, Key], Array]


class PolicyModule(nn.Module):
  """Trunk, mean and advantage head.

  With h the trunk's last layer before its ReLU: mean = tanh(layer(relu(h))), and the head predicts the advantage
  of an action a from relu([h, a]) through one hidden layer of 32. The rectified concatenation is the released
  code's: the head sees only the positive part of each action component. `relu_action=False` shows it all.
  """

  action_size: int
  hidden_sizes: Sequence[int]
  layer: Callable[..., nn.Module]
  advantage_head: bool
  relu_action: bool

  def setup(self) -> None:
    """Names the layers."""
    self.trunk = MLP(self.hidden_sizes, self.layer)
    self.output = self.layer(self.action_size)
    if self.advantage_head:
      self.head = MLP(ADVANTAGE_HEAD_SIZES, self.layer)

  def mean(self, observation: Array) -> Array:
    """`[..., O] -> [..., A]`."""
    return self._mean(self._features(observation))

  def advantage(self, observation: Array, action: Array) -> Array:
    """`[..., O], [..., A] -> [...]`."""
    return self._advantage(self._features(observation), action)

  def mean_and_advantage(self, observation: Array, action: Array) -> tuple[Array, Array]:
    """`[..., O], [..., A] -> [..., A], [...]`, from the same features."""
    features = self._features(observation)
    return self._mean(features), self._advantage(features, action)

  def __call__(self, observation: Array, action: Array) -> None:
    """Touches every parameter; for `init`."""
    self.mean(observation)
    if self.advantage_head:
      self.advantage(observation, action)

  def _features(self, observation: Array) -> Array:
    return nn.relu(self.trunk(observation))

  def _mean(self, features: Array) -> Array:
    return jnp.tanh(self.output(features))

  def _advantage(self, features: Array, action: Array) -> Array:
    action = jnp.where(self.relu_action, nn.relu(action), action)
    return self.head(jnp.concatenate([features, action], axis=-1))[..., 0]


def gaussian_log_prob(mean: Array, standard_deviation: float | Array, action: Array) -> Array:
  """Log Normal(action; mean, standard_deviation^2), summed over the action's components: `[..., A] -> [...]`."""
  return jax.scipy.stats.norm.logpdf(action, mean, standard_deviation).sum(axis=-1)


def gaussian_policy(
  observation_size: int,
  action_size: int,
  hidden_sizes: Sequence[int],
  *,
  layer: str,
  matmul_precision: str = "float32",
  standard_deviation: float = 0.2,
  advantage_head: bool = False,
  relu_action: bool = True,
) -> Policy:
  """pi(a | s) = Normal(tanh mean, standard_deviation^2 I) with a standard deviation that is never learned.

  The density is that of the raw action: no squashing and no clipping (Mitchell et al. 2021, appendix).
  Raises ValueError for an unknown layer or precision of products, or a standard deviation that is not positive.
  """
  require(standard_deviation > 0, f"standard_deviation={standard_deviation} must be positive")
  layers = make_layer(layer, matmul_precision)
  module = PolicyModule(action_size, tuple(hidden_sizes), layers, advantage_head, relu_action)

  init = as_network(module, observation_size, action_size).init

  def mean(params: Params, observation: Array) -> Array:
    return forward(module, params, observation, method=PolicyModule.mean)

  def log_prob(params: Params, observation: Array, action: Array) -> Array:
    return gaussian_log_prob(mean(params, observation), standard_deviation, action)

  def advantage(params: Params, observation: Array, action: Array) -> Array:
    return forward(module, params, observation, action, method=PolicyModule.advantage)

  def log_prob_and_advantage(params: Params, observation: Array, action: Array) -> tuple[Array, Array]:
    centre, prediction = forward(module, params, observation, action, method=PolicyModule.mean_and_advantage)
    return gaussian_log_prob(centre, standard_deviation, action), prediction

  def sample(params: Params, observation: Array, key: Key) -> Array:
    centre = mean(params, observation)
    return centre + standard_deviation * jax.random.normal(key, centre.shape)

  if not advantage_head:
    return Policy(init, mean, log_prob, None, None, sample)
  return Policy(init, mean, log_prob, advantage, log_prob_and_advantage, sample)


def act_with(policy: Policy, part: str = "policy") -> Callable[[dict[str, Params], TimeStep, Key | None], Array]:
  """`(params, timestep, key) -> action` of the named part: the mean without a key, a sample with one."""

  def act(params: dict[str, Params], timestep: TimeStep, key: Key | None) -> Array:
    if key is None:
      return policy.mean(params[part], timestep.observation)
    return policy.sample(params[part], timestep.observation, key)

  return act
