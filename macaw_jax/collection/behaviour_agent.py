"""The agent whose learning fills a dataset: soft actor-critic conditioned on the task.

One policy and one pair of critics see the task beside the observation; the entropy temperature is one number per
task, because a shared one lets an easy task end the exploration of a hard one. Every batch holds equally many
transitions of every task.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from macaw_jax.losses import soft_actor_critic as losses
from macaw_jax.networks.soft_actor_critic import squashed_gaussian_policy, twin_critic
from macaw_jax.types import Array, Key, Metrics, Params, TimeStep, Transition

OBSERVATION_LIMIT = 10.0  # standard deviations beyond which a standardised observation is cut


class AgentParams(NamedTuple):
  """Parameters of the agent; `log_temperature` holds one number per task."""

  observation_mean: Array  # [O]
  observation_std: Array  # [O]
  policy: Params
  critic: Params
  target_critic: Params
  log_temperature: Array  # [T]


class AgentState(NamedTuple):
  """The state that an update starts from."""

  params: AgentParams
  opt_state: Any  # of policy, critic and log_temperature


class BehaviourAgent(NamedTuple):
  """The agent as pure functions.

  init:       `(key, observations [N, O]) -> AgentState`; the observations fix their mean and standard deviation, once
  update:     `(state, batch [T, B, ...], key) -> (AgentState, metrics)`
  act:        `(params, adapted, timestep, key) -> (action, adapted)`, one step of one episode; the mode without a key
  task_input: [T, C] what `adapted["task"]` is for each task
  """

  init: Callable[[Key, Array], AgentState]
  update: Callable[[AgentState, Transition, Key], tuple[AgentState, Metrics]]
  act: Callable[[AgentParams, dict[str, Array], TimeStep, Key | None], tuple[Array, dict[str, Array]]]
  task_input: Array


def standardise_tasks(tasks: Any) -> Array:
  """The numbers of tasks `[T, ...]`, standardised over the tasks: `[T, C]` float32. A number that all share is zero."""
  leaves = [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(tasks)]
  numbers = np.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)
  std = numbers.std(axis=0)
  return jnp.asarray((numbers - numbers.mean(axis=0)) / np.where(std > 1e-6, std, 1.0))


def behaviour_agent(
  tasks: Any,
  *,
  observation_size: int,
  action_size: int,
  ignored_observations: Sequence[int],
  hidden_sizes: Sequence[int],
  learning_rate: float,
  discount: float,
  tau: float,
  reward_scale: float,
) -> BehaviourAgent:
  """Builds the agent (Haarnoja et al. 2018, arXiv:1812.05905, with tasks as in multi-task SAC).

  Args:
    tasks: pytree of arrays with a leading axis [T], the tasks' parameters.
    observation_size: O.
    action_size: A; the target entropy is -A for every task.
    ignored_observations: indices that the networks do not see, such as a position that grows without bound.
    hidden_sizes: widths of the hidden layers of policy and critics.
    learning_rate: of Adam, for policy, critics and temperatures alike.
    discount: gamma.
    tau: tau in `target <- (1 - tau) target + tau critic` after every update.
    reward_scale: factor on rewards inside the agent; the stored rewards are not touched.
  """
  task_input = standardise_tasks(tasks)
  num_tasks, task_size = task_input.shape
  seen = np.setdiff1d(np.arange(observation_size), np.asarray(ignored_observations, int))
  input_size = len(seen) + task_size
  policy = squashed_gaussian_policy(input_size, action_size, hidden_sizes)
  critic = twin_critic(input_size, action_size, hidden_sizes)
  optimizer = optax.adam(learning_rate)

  def network_input(params: AgentParams, observation: Array, task: Array) -> Array:
    """Standardised observation beside the task: `[..., O], [..., C] -> [..., I]`."""
    standardised = (observation - params.observation_mean) / params.observation_std
    standardised = jnp.clip(standardised, -OBSERVATION_LIMIT, OBSERVATION_LIMIT)
    return jnp.concatenate([standardised[..., seen], task], axis=-1)

  def init(key: Key, observations: Array) -> AgentState:
    chex.assert_shape(observations, (None, observation_size))
    key_policy, key_critic = jax.random.split(key)
    critic_params = critic.init(key_critic)
    params = AgentParams(
      observation_mean=jnp.mean(observations, axis=0),
      observation_std=jnp.maximum(jnp.std(observations, axis=0), 1e-3),
      policy=policy.init(key_policy),
      critic=critic_params,
      target_critic=jax.tree.map(jnp.copy, critic_params),  # own buffers: the state is donated to the compiled update
      log_temperature=jnp.zeros(num_tasks),
    )
    opt_state = tuple(optimizer.init(part) for part in (params.policy, params.critic, params.log_temperature))
    return AgentState(params, opt_state)

  def update(state: AgentState, batch: Transition, key: Key) -> tuple[AgentState, Metrics]:
    key_target, key_actor = jax.random.split(key)
    params = state.params
    policy_opt, critic_opt, temperature_opt = state.opt_state
    task = jnp.broadcast_to(task_input[:, None, :], (*batch.reward.shape, task_size))  # [T, B, C]
    inputs = network_input(params, batch.observation, task)  # [T, B, I]
    next_inputs = network_input(params, batch.next_observation, task)
    temperature = jnp.exp(params.log_temperature)[:, None]  # [T, 1]

    def sample_action(policy_params: Params, inputs: Array, key: Key) -> tuple[Array, Array]:
      mean, log_std = policy.apply(policy_params, inputs)
      return losses.squash(mean, log_std, jax.random.normal(key, mean.shape))

    next_action, next_log_prob = sample_action(params.policy, next_inputs, key_target)
    target = losses.soft_target(
      reward_scale * batch.reward,
      batch.terminal,
      critic.apply(params.target_critic, next_inputs, next_action),
      next_log_prob,
      temperature,
      discount=discount,
    )  # [T, B]

    def critic_objective(critic_params: Params) -> Array:
      return losses.critic_loss(critic.apply(critic_params, inputs, batch.action), target)

    critic_loss, gradient = jax.value_and_grad(critic_objective)(params.critic)
    updates, critic_opt = optimizer.update(gradient, critic_opt)
    critic_params = optax.apply_updates(params.critic, updates)

    def actor_objective(policy_params: Params) -> tuple[Array, Array]:
      action, log_prob = sample_action(policy_params, inputs, key_actor)
      return losses.actor_loss(critic.apply(critic_params, inputs, action), log_prob, temperature), log_prob

    (actor_loss, log_prob), gradient = jax.value_and_grad(actor_objective, has_aux=True)(params.policy)
    updates, policy_opt = optimizer.update(gradient, policy_opt)
    policy_params = optax.apply_updates(params.policy, updates)

    def temperature_objective(log_temperature: Array) -> Array:
      return losses.temperature_loss(log_temperature[:, None], log_prob, target_entropy=-float(action_size))

    gradient = jax.grad(temperature_objective)(params.log_temperature)
    updates, temperature_opt = optimizer.update(gradient, temperature_opt)
    log_temperature = optax.apply_updates(params.log_temperature, updates)

    params = params._replace(
      policy=policy_params,
      critic=critic_params,
      target_critic=optax.incremental_update(critic_params, params.target_critic, tau),
      log_temperature=log_temperature,
    )
    metrics = {
      "critic_loss": critic_loss,
      "actor_loss": actor_loss,
      "entropy": -jnp.mean(log_prob),
      "temperature": jnp.mean(temperature),
    }
    return AgentState(params, (policy_opt, critic_opt, temperature_opt)), metrics

  def act(
    params: AgentParams, adapted: dict[str, Array], timestep: TimeStep, key: Key | None
  ) -> tuple[Array, dict[str, Array]]:
    inputs = network_input(params, timestep.observation, adapted["task"])
    mean, log_std = policy.apply(params.policy, inputs)
    if key is None:
      return jnp.tanh(mean), adapted
    action, _ = losses.squash(mean, log_std, jax.random.normal(key, mean.shape))
    return action, adapted

  return BehaviourAgent(init, update, act, task_input)
