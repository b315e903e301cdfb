"""Meta-learning by policy gradients: behaviour policies of episodes, and several epochs on the same episodes."""

import jax
import jax.numpy as jnp

from macaw_jax.losses.returns import masked_mean
from macaw_jax.networks.gaussian import GaussianPolicy, kl_divergence
from macaw_jax.types import (
  ActionDistribution,
  Adaptation,
  Algorithm,
  Array,
  Key,
  MetaParams,
  Metrics,
  TaskBatch,
  TrainState,
  Trajectory,
)


def distribution_after(
  policy: GaussianPolicy,
  adaptation: Adaptation,
  params: MetaParams,
  support: Trajectory,
  steps: int,
  observation: Array,
  key: Key,
) -> ActionDistribution:
  """The policy's distributions at observations after the first `steps` inner steps on a support `[K, E, H, ...]`."""
  used = jax.tree.map(lambda leaf: leaf[:steps], support)
  changes, _ = adaptation.apply(params.net, params.rule, used, key)
  return policy.distribution((params.net | changes)["policy"], observation)


def record_behaviour(
  policy: GaussianPolicy, adaptation: Adaptation, params: MetaParams, tasks: TaskBatch, key: Key
) -> TaskBatch:
  """The batch with the distributions of its behaviour policies, which have these parameters.

  Set k of a support was collected after k inner steps, and the query after all of them.
  """

  def recorded(support: Trajectory, query: Trajectory, key: Key) -> tuple[Trajectory, Trajectory]:
    def after(steps: int, observation: Array) -> ActionDistribution:
      return distribution_after(policy, adaptation, params, support, steps, observation, key)

    num_steps = support.mask.shape[0]
    sets = [after(step, support.observation[step]) for step in range(num_steps)]
    behaviour = jax.tree.map(lambda *leaves: jnp.stack(leaves), *sets)
    return support._replace(behaviour=behaviour), query._replace(behaviour=after(num_steps, query.observation))

  keys = jax.random.split(key, tasks.task_index.shape[0])
  support, query = jax.vmap(recorded)(tasks.support, tasks.query, keys)
  return tasks._replace(support=support, query=query)


def divergence_from_behaviour(
  policy: GaussianPolicy, adaptation: Adaptation, params: MetaParams, support: Trajectory, key: Key
) -> Array:
  """mean_k mean over valid steps of KL(behaviour_k || policy after k steps), on the support of one task.

  The penalty of ProMP (Rothfuss et al. 2019, equation 15). Zero, with its gradient, for the behaviour policy.
  """

  def of_set(step: int) -> Array:
    episodes = jax.tree.map(lambda leaf: leaf[step], support)
    now = distribution_after(policy, adaptation, params, support, step, episodes.observation, key)
    return masked_mean(kl_divergence(episodes.behaviour, now), episodes.mask)

  return jnp.mean(jnp.stack([of_set(step) for step in range(support.mask.shape[0])]))


def with_epochs(algorithm: Algorithm, policy: GaussianPolicy, adaptation: Adaptation, epochs: int) -> Algorithm:
  """The algorithm whose update is `epochs` steps on the same episodes.

  The behaviour policies' distributions are recorded before the first, so that ratios and divergences of later ones are
  taken from them. One step alone needs no record: the policy is still the behaviour policy. Metrics are those of the
  first.
  """
  if epochs == 1:
    return algorithm

  def update(state: TrainState, tasks: TaskBatch, key: Key) -> tuple[TrainState, Metrics]:
    key_record, key_update = jax.random.split(key)
    tasks = record_behaviour(policy, adaptation, state.params, tasks, key_record)

    def epoch(state: TrainState, key: Key) -> tuple[TrainState, Metrics]:
      return algorithm.update(state, tasks, key)

    updated, metrics = jax.lax.scan(epoch, state, jax.random.split(key_update, epochs))
    return updated._replace(step=state.step + 1), jax.tree.map(lambda values: values[0], metrics)

  return algorithm._replace(update=update)
