"""Soft actor-critic (SAC) with a state value, conditioned on a latent task variable, as PEARL has it.

Rakelly et al. 2019, "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables"
(arXiv:1903.08254), on Haarnoja et al. 2018 (arXiv:1801.01290). With a ~ pi(.|s, z), one sample a row, kappa the reward
scale and Vbar the target network of V:

  critic_loss  sum_j mean (Q_j(s, a_data, z) - y)^2,  y = kappa r + gamma (1 - terminal) Vbar(s', z)
  value_loss   mean (V(s, z) - [min_j Q_j(s, a, z) - log pi(a|s, z)])^2
  policy_loss  mean (log pi(a|s, z) - min_j Q_j(s, a, z)) + 1e-3 (mean mu^2 + mean (log sigma)^2)

The entropy counts 1, so that 1 / kappa is its temperature in units of reward.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp

from macaw_jax.actor_critics.actor_critic import (
  ActionSample,
  ActorCritic,
  LossKeys,
  MakeActorCritic,
  act_with,
  bellman_loss,
  beside,
  beside_next,
  check_common,
  latent_policy,
  split_loss_key,
)
from macaw_jax.hyperparameters import part
from macaw_jax.losses.soft_actor_critic import actor_loss, policy_regularisation, state_value_loss
from macaw_jax.networks.latent import STANDARD_NETWORKS, LatentNetworks
from macaw_jax.types import LATENT, Array, Key, Metrics, Params, Problem, Transition

TRAINS = {"critic_loss": ("critic",), "value_loss": ("value",), "policy_loss": ("policy",)}

Penalty = Callable[[dict[str, Params], Transition, Array, ActionSample, Array], tuple[Array, Metrics]]
"""`(params, batch, inputs [T, B, I], sample, values [2, T, B]) -> (penalties [T, B], metrics)` of the sample."""


@part
def sac(
  *,
  hidden_sizes: Sequence[int] = (128, 128),
  tau: float = 0.005,
  reward_scale: float = 100.0,
  networks: LatentNetworks = STANDARD_NETWORKS,
) -> MakeActorCritic:
  """SAC: parts `critic` (two critics), `value` with the target network `target_value`, and `policy`.

  Args:
    hidden_sizes: Widths of the hidden layers of every network.
    tau: Share of a part that enters its target network at each update.
    reward_scale: kappa, on the rewards of the Bellman target alone. Data are scaled such that returns have size one.
    networks: How the networks are built.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_common(hidden_sizes=hidden_sizes, tau=tau, reward_scale=reward_scale)

  def make(problem: Problem, latent_size: int) -> ActorCritic:
    return soft_actor_critic(problem, latent_size, hidden_sizes, tau=tau, reward_scale=reward_scale, networks=networks)

  return make


def soft_actor_critic(
  problem: Problem,
  latent_size: int,
  hidden_sizes: Sequence[int],
  *,
  tau: float,
  reward_scale: float,
  networks: LatentNetworks,
  penalty: Penalty | None = None,
  value_penalty: Penalty | None = None,
) -> ActorCritic:
  """`sac` on a problem: the mean of `penalty` is added to the policy's loss, `value_penalty` taken from Vbar in y."""
  input_size = problem.observation_size + latent_size
  policy = latent_policy(problem, latent_size, hidden_sizes, networks)
  critic = networks.critic(input_size, problem.action_size, hidden_sizes)
  value = networks.value(input_size, hidden_sizes)

  def drawn(params: dict[str, Params], batch: Transition, keys: LossKeys) -> tuple[Array, ActionSample, Array]:
    """The inputs of a batch, the policy's actions there and their values."""
    inputs = beside(batch.observation, params[LATENT])
    sample = policy.sample(params["policy"], inputs, keys.action)
    return inputs, sample, critic.apply(params["critic"], inputs, sample.action)

  def next_value(params: dict[str, Params], batch: Transition, keys: LossKeys) -> Array:
    found = value.apply(params["target_value"], beside_next(batch, params))
    return found if value_penalty is None else found - value_penalty(params, batch, *drawn(params, batch, keys))[0]

  def value_loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    inputs, sample, values = drawn(params, batch, split_loss_key(key))
    prediction = value.apply(params["value"], inputs)
    loss = state_value_loss(prediction, values, sample.log_prob, 1.0)
    return loss, {"value_loss": loss, "mean_value": jnp.mean(prediction)}

  def policy_loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    inputs, sample, values = drawn(params, batch, split_loss_key(key))
    loss = actor_loss(values, sample.log_prob, jnp.ones(())) + policy_regularisation(sample.mean, sample.log_std)
    penalties, metrics = (jnp.zeros(()), {}) if penalty is None else penalty(params, batch, inputs, sample, values)
    loss = loss + jnp.mean(penalties)
    return loss, {"policy_loss": loss, "entropy": -jnp.mean(sample.log_prob), **metrics}

  return ActorCritic(
    init={"critic": critic.init, "value": value.init, "policy": policy.init},
    losses={
      "critic_loss": bellman_loss(problem, critic, next_value, reward_scale=reward_scale),
      "value_loss": value_loss,
      "policy_loss": policy_loss,
    },
    trains=TRAINS,
    targets={"target_value": "value"},
    act=act_with(policy),
    tau=tau,
    value_losses=dict.fromkeys(("critic_loss", "value_loss"), reward_scale**2),
  )
