"""Soft actor-critic with a learned temperature of each training task.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (arXiv:1812.05905), with a temperature for each
task, as the multi-task SAC of Yu et al. 2020 has it (Meta-World, arXiv:1910.10897). With a ~ pi(.|s, z) and
a' ~ pi(.|s', z), one sample a row, kappa the reward scale, Qbar the target network of Q and alpha_i = exp(l_i) that of
task i of the row, under a stop-gradient but in its own loss:

  critic_loss       sum_j mean (Q_j(s, a_data, z) - y)^2,
                    y = kappa r + gamma (1 - terminal) (min_j Qbar_j(s', a', z) - alpha_i log pi(a'|s', z))
  policy_loss       mean (alpha_i log pi(a|s, z) - min_j Q_j(s, a, z))
  temperature_loss  mean -l_i (log pi(a|s, z) + target entropy), the target entropy -A nats, log pi held fixed

One temperature for all tasks would end exploration in hard tasks as soon as easy ones need it no more.
"""

from collections.abc import Sequence

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
from macaw_jax.hyperparameters import check_positive, part
from macaw_jax.losses.soft_actor_critic import actor_loss, soft_value
from macaw_jax.losses.soft_actor_critic import temperature_loss as entropy_dual_loss
from macaw_jax.networks.latent import STANDARD_NETWORKS, LatentNetworks
from macaw_jax.types import LATENT, TASK_INDEX, Array, Key, Metrics, Params, Problem, Transition

TRAINS = {"critic_loss": ("critic",), "policy_loss": ("policy",), "temperature_loss": ("log_temperature",)}


@part
def tempered_sac(
  *,
  hidden_sizes: Sequence[int] = (128, 128),
  tau: float = 0.005,
  reward_scale: float = 100.0,
  initial_temperature: float = 0.2,
  networks: LatentNetworks = STANDARD_NETWORKS,
) -> MakeActorCritic:
  """SAC with a temperature of each training task.

  Parts `critic` (two critics) with the target network `target_critic`, `policy`, and `log_temperature`, `[N]`. Losses
  read the place of each task of a batch, `TASK_INDEX`; the policy reads none, and acts in any task.

  Args:
    hidden_sizes: Widths of the hidden layers of every network.
    tau: Share of a part that enters its target network at each update.
    reward_scale: kappa, on the rewards of the Bellman target alone. Data are scaled such that returns have size one.
    initial_temperature: alpha before the first update, of every task, in units of kappa times the reward.
    networks: How the networks are built.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_common(hidden_sizes=hidden_sizes, tau=tau, reward_scale=reward_scale)
  check_positive(initial_temperature=initial_temperature)

  def make(problem: Problem, latent_size: int) -> ActorCritic:
    policy = latent_policy(problem, latent_size, hidden_sizes, networks)
    critic = networks.critic(problem.observation_size + latent_size, problem.action_size, hidden_sizes)

    def log_temperature_of(params: dict[str, Params], batch: Transition) -> Array:
      """l_i of the task of each row, `[T, 1]` for rows `[T, B]`."""
      index = params[TASK_INDEX]
      missing = range(index.ndim, batch.reward.ndim)
      return jnp.expand_dims(params["log_temperature"][index], tuple(missing))

    def sampled(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, ActionSample]:
      """Inputs of the networks, and an action of the policy, of each row; the same in all losses of an update."""
      inputs = beside(batch.observation, params[LATENT])
      return inputs, policy.sample(params["policy"], inputs, split_loss_key(key).action)

    def next_value(params: dict[str, Params], batch: Transition, keys: LossKeys) -> Array:
      inputs = beside_next(batch, params)
      sample = policy.sample(params["policy"], inputs, keys.next_action)
      temperature = jnp.exp(log_temperature_of(params, batch))
      return soft_value(critic.apply(params["target_critic"], inputs, sample.action), sample.log_prob, temperature)

    def policy_loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
      inputs, sample = sampled(params, batch, key)
      temperature = jnp.exp(log_temperature_of(params, batch))
      loss = actor_loss(critic.apply(params["critic"], inputs, sample.action), sample.log_prob, temperature)
      return loss, {"policy_loss": loss, "entropy": -jnp.mean(sample.log_prob)}

    def temperature_loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
      _, sample = sampled(params, batch, key)
      logs = log_temperature_of(params, batch)
      loss = entropy_dual_loss(logs, sample.log_prob, target_entropy=-float(problem.action_size))
      return loss, {"temperature_loss": loss, "temperature": jnp.mean(jnp.exp(logs))}

    def init_log_temperature(key: Key) -> Array:
      del key
      return jnp.full((problem.num_tasks,), jnp.log(initial_temperature), float)

    return ActorCritic(
      init={"critic": critic.init, "policy": policy.init, "log_temperature": init_log_temperature},
      losses={
        "critic_loss": bellman_loss(problem, critic, next_value, reward_scale=reward_scale),
        "policy_loss": policy_loss,
        "temperature_loss": temperature_loss,
      },
      trains=TRAINS,
      targets={"target_critic": "critic"},
      act=act_with(policy),
      tau=tau,
      value_losses={"critic_loss": reward_scale**2},
      own_gradients=("temperature_loss",),
    )

  return make
