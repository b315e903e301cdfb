"""Episodes of an on-policy agent in one task: it acts, adapts to what it has seen, and acts again."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from macaw_jax.envs.family import Task
from macaw_jax.envs.rollout import episode_return
from macaw_jax.envs.sampled_rollout import SampledRollout
from macaw_jax.types import Algorithm, Array, Key, Params, Trajectory


class Experience(NamedTuple):
  """Episodes of one task, each set of them before the agent adapted to it."""

  support: Trajectory | None  # [K, E, H, ...]  as adaptation sees them; None with K = 0
  adapted: dict[str, Params]  # after all K steps
  returns: Array  # [K, E]  undiscounted, under the policy before each adaptation step


def experience_task(
  algorithm: Algorithm,
  rollout: SampledRollout,
  params: Params,
  task: Task,
  key: Key,
  *,
  num_episodes: int,
  adaptation_steps: int,
) -> Experience:
  """Acts in one task and adapts, `adaptation_steps` times; each time with the policy adapted so far.

  Without any step it is the agent before it has seen the task. An agent that adapts without rewards is handed its
  episodes without rewards.
  """
  key_prior, key_adapt, *keys = jax.random.split(key, 2 + adaptation_steps)
  adapted = algorithm.prior(params, key_prior)
  support, seen, returns = None, [], [jnp.zeros((0, num_episodes))]
  for key_episodes in keys:
    episodes = rollout(params, adapted, task, key_episodes, num_episodes)
    returns.append(episode_return(episodes)[None])
    seen.append(episodes if algorithm.reads_reward else episodes._replace(reward=None))
    support = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seen)
    adapted = algorithm.adapt(params, support, key_adapt)
  return Experience(support, adapted, jnp.concatenate(returns))
