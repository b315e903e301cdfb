"""Advantage-weighted actor-critic (AWAC) conditioned on a latent task variable.

Nair et al. 2020, "AWAC: Accelerating Online Reinforcement Learning with Offline Datasets" (arXiv:2006.09359). With
(s, a) from the data, b ~ pi(.|s, z) and b' ~ pi(.|s', z), Qbar the target network of Q, kappa the reward scale, N rows:

  critic_loss  sum_j mean (Q_j(s, a, z) - y)^2,  y = kappa r + gamma (1 - terminal) min_j Qbar_j(s', b', z)
  policy_loss  mean -w log pi(a|s, z),  w = N softmax(A / temperature) over the batch,
               A = min_j Q_j(s, a, z) - min_j Q_j(s, b, z), one sample of b a row
"""

from collections.abc import Sequence

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
  split_loss_key,
)
from macaw_jax.hyperparameters import check_positive, part
from macaw_jax.losses.advantage_weighting import softmax_weights, weighted_negative_log_likelihood
from macaw_jax.losses.soft_actor_critic import recorded_log_prob
from macaw_jax.networks.latent import STANDARD_NETWORKS, LatentNetworks
from macaw_jax.types import LATENT, Array, Key, Metrics, Params, Problem, Transition

TRAINS = {"critic_loss": ("critic",), "policy_loss": ("policy",)}


@part
def awac(
  *,
  hidden_sizes: Sequence[int] = (128, 128),
  tau: float = 0.005,
  reward_scale: float = 100.0,
  temperature: float = 1.0,
  networks: LatentNetworks = STANDARD_NETWORKS,
) -> MakeActorCritic:
  """AWAC: parts `critic` (two critics) with the target network `target_critic`, and `policy`.

  Args:
    hidden_sizes: Widths of the hidden layers of every network.
    tau: Share of a part that enters its target network at each update.
    reward_scale: kappa, on the rewards of the Bellman target alone. Data are scaled such that returns have size one.
    temperature: How much a better action counts, in units of kappa times the return.
    networks: How the networks are built.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_common(hidden_sizes=hidden_sizes, tau=tau, reward_scale=reward_scale)
  check_positive(temperature=temperature)

  def make(problem: Problem, latent_size: int) -> ActorCritic:
    policy = latent_policy(problem, latent_size, hidden_sizes, networks)
    critic = networks.critic(problem.observation_size + latent_size, problem.action_size, hidden_sizes)

    def next_value(params: dict[str, Params], batch: Transition, keys: LossKeys) -> Array:
      inputs = beside_next(batch, params)
      action = policy.sample(params["policy"], inputs, keys.next_action).action
      return jnp.min(critic.apply(params["target_critic"], inputs, action), axis=0)

    def policy_loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
      inputs = beside(batch.observation, params[LATENT])
      sample = policy.sample(params["policy"], inputs, split_loss_key(key).action)
      values, values_of_policy = (
        jnp.min(critic.apply(params["critic"], inputs, action), axis=0) for action in (batch.action, sample.action)
      )
      weights = softmax_weights(values - values_of_policy, temperature=temperature)
      log_prob = recorded_log_prob(sample.mean, sample.log_std, batch.action)
      loss = weighted_negative_log_likelihood(log_prob, weights)
      entropy = -jnp.mean(sample.log_prob)
      return loss, {"policy_loss": loss, "largest_weight": jnp.max(weights), "entropy": entropy}

    return ActorCritic(
      init={"critic": critic.init, "policy": policy.init},
      losses={
        "critic_loss": bellman_loss(problem, critic, next_value, reward_scale=reward_scale),
        "policy_loss": policy_loss,
      },
      trains=TRAINS,
      targets={"target_critic": "critic"},
      act=act_with(policy),
      tau=tau,
      value_losses={"critic_loss": reward_scale**2},
    )

  return make
