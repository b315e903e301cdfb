"""Soft actor-critic without a state value, conditioned on a latent task variable, as CORRO has it.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (arXiv:1812.05905), with a fixed weight alpha of
the entropy. With a ~ pi(.|s, z) and a' ~ pi(.|s', z), one sample a row, kappa the reward scale and Qbar the target
network of Q:

  critic_loss  sum_j mean (Q_j(s, a_data, z) - y)^2,
               y = kappa r + gamma (1 - terminal) (min_j Qbar_j(s', a', z) - alpha log pi(a'|s', z))
  policy_loss  mean (alpha log pi(a|s, z) - min_j Q_j(s, a, z))
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
from macaw_jax.hyperparameters import check_not_negative, part
from macaw_jax.losses.soft_actor_critic import actor_loss, soft_value
from macaw_jax.networks.latent import STANDARD_NETWORKS, LatentNetworks
from macaw_jax.types import LATENT, Array, Key, Metrics, Params, Problem, Transition

TRAINS = {"critic_loss": ("critic",), "policy_loss": ("policy",)}


@part
def twin_sac(
  *,
  hidden_sizes: Sequence[int] = (128, 128),
  tau: float = 0.005,
  reward_scale: float = 100.0,
  entropy_weight: float = 0.2,
  networks: LatentNetworks = STANDARD_NETWORKS,
) -> MakeActorCritic:
  """SAC without a state value: parts `critic` (two critics) with the target network `target_critic`, and `policy`.

  Args:
    hidden_sizes: Widths of the hidden layers of every network.
    tau: Share of a part that enters its target network at each update.
    reward_scale: kappa, on the rewards of the Bellman target alone. Data are scaled such that returns have size one.
    entropy_weight: alpha, in units of kappa times the reward.
    networks: How the networks are built.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_common(hidden_sizes=hidden_sizes, tau=tau, reward_scale=reward_scale)
  check_not_negative(entropy_weight=entropy_weight)

  def make(problem: Problem, latent_size: int) -> ActorCritic:
    policy = latent_policy(problem, latent_size, hidden_sizes, networks)
    critic = networks.critic(problem.observation_size + latent_size, problem.action_size, hidden_sizes)

    def next_value(params: dict[str, Params], batch: Transition, keys: LossKeys) -> Array:
      inputs = beside_next(batch, params)
      sample = policy.sample(params["policy"], inputs, keys.next_action)
      return soft_value(critic.apply(params["target_critic"], inputs, sample.action), sample.log_prob, entropy_weight)

    def policy_loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
      inputs = beside(batch.observation, params[LATENT])
      sample = policy.sample(params["policy"], inputs, split_loss_key(key).action)
      loss = actor_loss(critic.apply(params["critic"], inputs, sample.action), sample.log_prob, entropy_weight)
      return loss, {"policy_loss": loss, "entropy": -jnp.mean(sample.log_prob)}

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
