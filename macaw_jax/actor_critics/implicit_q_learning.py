"""Implicit Q-learning conditioned on a latent task variable: no value is asked for at an action that no row has.

Kostrikov et al. 2021, "Offline Reinforcement Learning with Implicit Q-Learning" (arXiv:2110.06169). With (s, a) from
the data, u = min_j Qbar_j(s, a, z) - V(s, z), Qbar the slow copy of Q and kappa the reward scale:

  critic_loss  sum_j mean (Q_j(s, a, z) - y)^2,  y = kappa r + gamma (1 - terminal) V(s', z)
  value_loss   mean |expectile - 1{u < 0}| u^2
  policy_loss  mean -w log pi(a|s, z),  w = min(exp(u / temperature), max_weight)

The policy is a tanh-Gaussian, unlike the paper's, so that all actor-critics of the package act in the same way.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from macaw_jax.actor_critics.core import (
  ActorCritic,
  act_with,
  beside,
  check_positive,
  latent_policy,
  state_value_critic_loss,
)
from macaw_jax.hyperparameters import require
from macaw_jax.losses.advantage_weighting import exponential_weights, weighted_negative_log_likelihood
from macaw_jax.losses.implicit_q import expectile_loss
from macaw_jax.losses.soft_actor_critic import recorded_log_prob
from macaw_jax.networks.soft_actor_critic import twin_critic
from macaw_jax.networks.value import value_network
from macaw_jax.types import Array, Key, Metrics, Params, Problem, Transition

TRAINS = {"critic_loss": ("critic",), "value_loss": ("value",), "policy_loss": ("policy",)}


def implicit_q_learning(
  problem: Problem,
  latent_size: int,
  hidden_sizes: Sequence[int],
  *,
  reward_scale: float,
  expectile: float,
  temperature: float,
  max_weight: float,
) -> ActorCritic:
  """Parts `critic` (two critics) with its slow copy `target_critic`, `value` and `policy`.

  Args:
    problem: Sizes of the data, and the discount gamma.
    latent_size: L.
    hidden_sizes: Widths of the hidden layers of every network.
    reward_scale: kappa, on the rewards of the Bellman target alone.
    expectile: Of the state values, in (0, 1); above one half they favour good actions.
    temperature: How much a better action counts, in units of kappa times the return.
    max_weight: Upper bound of a row's weight.

  Raises:
    ValueError: for a reward scale or a temperature that is not positive, an expectile outside (0, 1), or a largest
      weight below one.
  """
  check_positive(reward_scale=reward_scale, temperature=temperature)
  require((expectile > 0.0) & (expectile < 1.0), f"expectile={expectile} must lie between 0 and 1")
  require(max_weight >= 1.0, f"max_weight={max_weight} must be at least 1")
  input_size = problem.observation_size + latent_size
  policy = latent_policy(problem, latent_size, hidden_sizes)
  critic = twin_critic(input_size, problem.action_size, hidden_sizes)
  value = value_network(input_size, hidden_sizes, layer="dense")

  def best_known(params: dict[str, Params], inputs: Array, batch: Transition) -> Array:
    """min_j Qbar_j(s, a, z), held fixed: [T, B]."""
    return jax.lax.stop_gradient(jnp.min(critic.apply(params["target_critic"], inputs, batch.action), axis=0))

  critic_loss = state_value_critic_loss(problem, critic, value, value_part="value", reward_scale=reward_scale)

  def value_loss(params: dict[str, Params], batch: Transition, latents: Array, key: Key) -> tuple[Array, Metrics]:
    del key
    inputs = beside(batch.observation, latents)
    prediction = value.apply(params["value"], inputs)
    loss = expectile_loss(best_known(params, inputs, batch) - prediction, expectile)
    return loss, {"value_loss": loss, "mean_value": jnp.mean(prediction)}

  def policy_loss(params: dict[str, Params], batch: Transition, latents: Array, key: Key) -> tuple[Array, Metrics]:
    del key
    inputs = beside(batch.observation, latents)
    advantage = best_known(params, inputs, batch) - value.apply(params["value"], inputs)
    weights = exponential_weights(advantage, temperature=temperature, max_weight=max_weight)
    mean, log_std = policy.apply(params["policy"], inputs)
    log_prob = recorded_log_prob(mean, log_std, batch.action)
    loss = weighted_negative_log_likelihood(log_prob, weights)
    return loss, {"policy_loss": loss, "largest_weight": jnp.max(weights), "mean_weight": jnp.mean(weights)}

  return ActorCritic(
    init={"critic": critic.init, "value": value.init, "policy": policy.init},
    losses={"critic_loss": critic_loss, "value_loss": value_loss, "policy_loss": policy_loss},
    trains=TRAINS,
    targets={"target_critic": "critic"},
    act=act_with(policy),
  )
