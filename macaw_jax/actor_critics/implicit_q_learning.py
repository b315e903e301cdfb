"""Implicit Q-learning (IQL) conditioned on a latent task variable: no value is read at an action that no row has.

Kostrikov et al. 2021, "Offline Reinforcement Learning with Implicit Q-Learning" (arXiv:2110.06169). With (s, a) from
the data, u = min_j Qbar_j(s, a, z) - V(s, z), Qbar the target network of Q and kappa the reward scale:

  critic_loss  sum_j mean (Q_j(s, a, z) - y)^2,  y = kappa r + gamma (1 - terminal) V(s', z)
  value_loss   mean |expectile - 1{u < 0}| u^2
  policy_loss  mean -w log pi(a|s, z),  w = min(exp(u / temperature), max_weight)

The policy is a tanh-Gaussian, unlike the paper's, so that all actor-critics of the package act in the same way.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from macaw_jax.actor_critics.actor_critic import (
  ActorCritic,
  LossKeys,
  MakeActorCritic,
  act_with,
  bellman_loss,
  beside,
  beside_next,
  check_common,
  latent_policy,
)
from macaw_jax.hyperparameters import check_positive, part, require
from macaw_jax.losses.advantage_weighting import exponential_weights, weighted_negative_log_likelihood
from macaw_jax.losses.soft_actor_critic import recorded_log_prob
from macaw_jax.losses.values import expectile_loss
from macaw_jax.networks.latent import STANDARD_NETWORKS, LatentNetworks
from macaw_jax.types import LATENT, Array, Key, Metrics, Params, Problem, Transition

TRAINS = {"critic_loss": ("critic",), "value_loss": ("value",), "policy_loss": ("policy",)}


@part
def iql(
  *,
  hidden_sizes: Sequence[int] = (128, 128),
  tau: float = 0.005,
  reward_scale: float = 100.0,
  expectile: float = 0.8,
  temperature: float = 1.0,
  max_weight: float = 100.0,
  networks: LatentNetworks = STANDARD_NETWORKS,
) -> MakeActorCritic:
  """IQL: parts `critic` (two critics) with the target network `target_critic`, `value` and `policy`.

  Args:
    hidden_sizes: Widths of the hidden layers of every network.
    tau: Share of a part that enters its target network at each update.
    reward_scale: kappa, on the rewards of the Bellman target alone. Data are scaled such that returns have size one.
    expectile: Expectile of the state values, in (0, 1); above one half they favour good actions.
    temperature: How much a better action counts, in units of kappa times the return.
    max_weight: Upper bound of a row's weight, at least one.
    networks: How the networks are built.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_common(hidden_sizes=hidden_sizes, tau=tau, reward_scale=reward_scale)
  check_positive(temperature=temperature)
  require((expectile > 0.0) & (expectile < 1.0), f"expectile={expectile} must lie between 0 and 1")
  require(max_weight >= 1.0, f"max_weight={max_weight} must be at least 1")

  def make(problem: Problem, latent_size: int) -> ActorCritic:
    input_size = problem.observation_size + latent_size
    policy = latent_policy(problem, latent_size, hidden_sizes, networks)
    critic = networks.critic(input_size, problem.action_size, hidden_sizes)
    value = networks.value(input_size, hidden_sizes)

    def next_value(params: dict[str, Params], batch: Transition, keys: LossKeys) -> Array:
      return value.apply(params["value"], beside_next(batch, params))

    def best_known(params: dict[str, Params], inputs: Array, batch: Transition) -> Array:
      """min_j Qbar_j(s, a, z), under a stop-gradient: [T, B]."""
      return jax.lax.stop_gradient(jnp.min(critic.apply(params["target_critic"], inputs, batch.action), axis=0))

    def value_loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
      inputs = beside(batch.observation, params[LATENT])
      prediction = value.apply(params["value"], inputs)
      loss = expectile_loss(best_known(params, inputs, batch) - prediction, expectile)
      return loss, {"value_loss": loss, "mean_value": jnp.mean(prediction)}

    def policy_loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
      inputs = beside(batch.observation, params[LATENT])
      advantage = best_known(params, inputs, batch) - value.apply(params["value"], inputs)
      weights = exponential_weights(advantage, temperature=temperature, max_weight=max_weight)
      mean, log_std = policy.apply(params["policy"], inputs)
      log_prob = recorded_log_prob(mean, log_std, batch.action)
      loss = weighted_negative_log_likelihood(log_prob, weights)
      return loss, {"policy_loss": loss, "largest_weight": jnp.max(weights), "mean_weight": jnp.mean(weights)}

    return ActorCritic(
      init={"critic": critic.init, "value": value.init, "policy": policy.init},
      losses={
        "critic_loss": bellman_loss(problem, critic, next_value, reward_scale=reward_scale),
        "value_loss": value_loss,
        "policy_loss": policy_loss,
      },
      trains=TRAINS,
      targets={"target_critic": "critic"},
      act=act_with(policy),
      tau=tau,
      value_losses=dict.fromkeys(("critic_loss", "value_loss"), reward_scale**2),
    )

  return make
