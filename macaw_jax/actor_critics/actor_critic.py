"""The noun of the package, and the shared pieces of actor-critics that see a latent task variable.

Networks belong to all tasks at once; a task is known to them by its latent z alone, which stands beside the
observation. Losses read a batch of tasks `[T, B, ...]` and the part `LATENT`, `[T, L]`; or one task's batch `[B, ...]`
and its latent `[L]`. Where the latent differs from row to row, as a memory does, it is `[T, B, L]`, and the part
`NEXT_LATENT` is that of the next states; targets alone read it. Where something is kept for each training task, they
read its place too, `TASK_INDEX`, `[T]` or `[]`.

An actor-critic is handed to an algorithm as a value: `iql(expectile=0.9)` is a `MakeActorCritic`, which an algorithm
calls with its problem and the size of its latent.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from macaw_jax.hyperparameters import check_positive, check_shares, check_sizes
from macaw_jax.losses.soft_actor_critic import squash
from macaw_jax.losses.values import one_step_target, twin_squared_error
from macaw_jax.networks.latent import LatentNetworks
from macaw_jax.types import (
  LATENT,
  NEXT_LATENT,
  Array,
  Key,
  LossFn,
  Metrics,
  Network,
  Params,
  Problem,
  TimeStep,
  Transition,
)

Act = Callable[[dict[str, Params], TimeStep, Key | None], Array]
"""`(params, timestep, key) -> action [A]` in [-1, 1] by the part `LATENT`; the mode without a key, else a sample."""


class ActorCritic(NamedTuple):
  """An actor-critic as parts and losses; the latent is learned, and optimisers are stepped, outside of it.

  init:    for each part that is trained, `(key) -> params`
  losses:  by name; they are added, and no two report the same metric. A loss stops the gradients of its targets and
           weights itself; the other networks and the latent carry gradients in it, and the learner stops those of every
           part that a loss does not train. All losses of an update get the same key, and with it the same action sample
  trains:  for each loss, the parts that it trains
  targets: for the name of each target network, the part that it follows; it starts equal to that part
  act:     the policy
  tau:     share of a part that enters its target network at each update
  project: of a part, the function that brings it back into its range after every step
  learning_rates: of parts that follow their plain gradient at a rate of their own, as `optax.sgd` steps them; the
           others are stepped by the learner's optimiser
  own_gradients: losses whose parts are numbers and no networks that tasks share, as a multiplier or the temperature of
           each task: gradient surgery leaves their gradient as it is
  value_losses: as of `Algorithm`
  """

  init: Mapping[str, Callable[[Key], Params]]
  losses: Mapping[str, LossFn]
  trains: Mapping[str, tuple[str, ...]]
  targets: Mapping[str, str]
  act: Act
  tau: float | Array
  project: Mapping[str, Callable[[Params], Params]] = MappingProxyType({})
  learning_rates: Mapping[str, float | Array] = MappingProxyType({})
  own_gradients: tuple[str, ...] = ()
  value_losses: Mapping[str, float | Array] = MappingProxyType({})


MakeActorCritic = Callable[[Problem, int], ActorCritic]
"""`(problem, latent_size) -> actor-critic`."""


def check_common(*, hidden_sizes: Sequence[int], tau: float, reward_scale: float) -> None:
  """Raises ValueError for a setting that all actor-critics have, if it is outside its range."""
  check_sizes(hidden_sizes=hidden_sizes)
  check_shares(tau=tau)
  check_positive(reward_scale=reward_scale)


class LossKeys(NamedTuple):
  """The random draws of an update, each shared by the losses that use it."""

  action: Key  # of the policy at the observation
  next_action: Key  # of the policy at the next observation
  interpolation: Key  # between recorded actions and the policy's


class ActionSample(NamedTuple):
  """Reparameterised actions of a tanh-Gaussian policy; everything carries gradients to its parameters."""

  action: Array  # [..., A]
  log_prob: Array  # [...]
  mean: Array  # [..., A]  before the squashing
  log_std: Array  # [..., A]  likewise


def split_loss_key(key: Key) -> LossKeys:
  """The draws that belong to the key of an update: every loss that splits it finds the same."""
  return LossKeys(*jax.random.split(key, len(LossKeys._fields)))


def beside(observation: Array, latent: Array) -> Array:
  """The input of the networks: every observation with its task's latent behind it.

  `[T, B, O], [T, L] -> [T, B, O + L]`, or `[O], [L] -> [O + L]`: a latent has the leading axes of the observation, up
  to where it repeats.
  """
  missing = range(latent.ndim - 1, observation.ndim - 1)
  shape = (*observation.shape[:-1], latent.shape[-1])
  return jnp.concatenate([observation, jnp.broadcast_to(jnp.expand_dims(latent, tuple(missing)), shape)], axis=-1)


def beside_next(batch: Transition, params: dict[str, Params]) -> Array:
  """The input of the networks in the next states: their observations with the latent that is known there."""
  return beside(batch.next_observation, params[NEXT_LATENT if NEXT_LATENT in params else LATENT])


class LatentPolicy(NamedTuple):
  """A tanh-Gaussian policy pi(a | s, z) on the inputs of `beside`.

  init:   `(key) -> params`
  apply:  `(params, inputs [..., I]) -> (mean, log_std) [..., A]` before the squashing
  sample: `(params, inputs [..., I], key) -> ActionSample`, one action for every row
  """

  init: Callable[[Key], Params]
  apply: Callable[[Params, Array], tuple[Array, Array]]
  sample: Callable[[Params, Array, Key], ActionSample]


def latent_policy(
  problem: Problem, latent_size: int, hidden_sizes: Sequence[int], networks: LatentNetworks
) -> LatentPolicy:
  """The policy of every actor-critic."""
  network = networks.policy(problem.observation_size + latent_size, problem.action_size, hidden_sizes)

  def sample(params: Params, inputs: Array, key: Key) -> ActionSample:
    mean, log_std = network.apply(params, inputs)
    noise = jax.random.normal(key, mean.shape)
    action, log_prob = squash(mean, log_std, noise, margin=networks.density_margin)
    return ActionSample(action, log_prob, mean, log_std)

  return LatentPolicy(network.init, network.apply, sample)


def act_with(policy: LatentPolicy) -> Act:
  """How an actor-critic whose part `policy` is a `latent_policy` acts: tanh(mean) without a key, or a sample."""

  def act(params: dict[str, Params], timestep: TimeStep, key: Key | None) -> Array:
    inputs = beside(timestep.observation, params[LATENT])
    if key is None:
      mean, _ = policy.apply(params["policy"], inputs)
      return jnp.tanh(mean)
    return policy.sample(params["policy"], inputs, key).action

  return act


def bellman_loss(
  problem: Problem,
  critic: Network,
  next_value: Callable[[dict[str, Params], Transition, LossKeys], Array],
  *,
  reward_scale: float,
) -> LossFn:
  """sum_j mean (Q_j(s, a, z) - y)^2, y = kappa r + gamma (1 - terminal) V', y under a stop-gradient.

  Args:
    problem: Has the discount gamma.
    critic: Q, the part `critic`.
    next_value: `(params, batch, keys) -> V' [T, B]` of the next observations.
    reward_scale: kappa.
  """

  def critic_loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    value = next_value(params, batch, split_loss_key(key))
    target = one_step_target(reward_scale * batch.reward, batch.terminal, value, discount=problem.discount)
    values = critic.apply(params["critic"], beside(batch.observation, params[LATENT]), batch.action)
    loss = twin_squared_error(values, target)
    return loss, {"critic_loss": loss, "mean_q": jnp.mean(values)}

  return critic_loss
