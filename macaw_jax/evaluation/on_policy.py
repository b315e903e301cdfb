"""The protocol of agents that act in order to learn: own episodes, adaptation, fresh episodes.

Finn et al. 2017 (MAML), section 5.3; Yang et al. 2019 (NoRML), algorithm 2: in a new task the agent acts as it is,
adapts to what it has seen, and acts again. Policies are stochastic throughout.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import Task
from macaw_jax.envs.sampled_rollout import SampledRollout
from macaw_jax.evaluation.protocols import Evaluation
from macaw_jax.losses.returns import reward_of
from macaw_jax.types import Algorithm, Array, Key, Params, Rollouts


class Experience(NamedTuple):
  """What an agent did in one task before it had adapted to the last of it."""

  support: Rollouts  # [K, E, H, ...]  as adaptation sees them
  adapted: dict[str, Params]
  returns: Array  # [K, E]  undiscounted, under the policy before each inner step


class OnPolicyProtocol(Protocol):
  """Evaluates parameters on tasks of a family."""

  def __call__(self, params: Params, tasks: Task, key: Key) -> Evaluation:
    """Returns of the agent as it is, and of fresh episodes after adaptation: `before` and `after`, `[T, E]`."""


def experience_task(
  algorithm: Algorithm,
  rollout: SampledRollout,
  params: Params,
  task: Task,
  key: Key,
  *,
  num_episodes: int,
  inner_steps: int,
) -> Experience:
  """Acts in one task, and adapts, `inner_steps` times; each time with the policy adapted so far.

  Episodes of an agent that adapts without rewards are handed to it without rewards.
  """
  key_prior, key_adapt, *keys = jax.random.split(key, 2 + inner_steps)
  adapted = algorithm.prior(params, key_prior)
  seen, returns = [], []
  for key_episodes in keys:
    episodes = rollout(params, adapted, task, key_episodes, num_episodes)
    returns.append(episode_returns(episodes))
    seen.append(episodes if algorithm.reads_reward else episodes._replace(reward=None))
    support = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seen)
    adapted = algorithm.adapt(params, support, key_adapt)
  return Experience(support, adapted, jnp.stack(returns))


def episode_returns(episodes: Rollouts) -> Array:
  """Undiscounted returns, `[..., H] -> [...]`: rewards are zero after the end."""
  return jnp.sum(reward_of(episodes), axis=-1)


def make_on_policy_protocol(
  algorithm: Algorithm,
  rollout: SampledRollout,
  *,
  support_episodes: int,
  num_episodes: int,
  inner_steps: int = 1,
) -> OnPolicyProtocol:
  """The protocol, compiled once for each number of tasks.

  Args:
    algorithm: adapts and acts.
    rollout: of its acting function.
    support_episodes: that each inner step sees.
    num_episodes: E, fresh ones after adaptation; and, of those before it, how many count.
    inner_steps: K.

  Raises:
    ValueError: fewer support episodes than count.
  """
  if num_episodes > support_episodes:
    raise ValueError(f"num_episodes={num_episodes}: expected at most support_episodes={support_episodes}")

  def one(params: Params, task: Task, key: Key) -> tuple[Array, Array]:
    key_experience, key_episodes = jax.random.split(key)
    experience = experience_task(
      algorithm, rollout, params, task, key_experience, num_episodes=support_episodes, inner_steps=inner_steps
    )
    after = rollout(params, experience.adapted, task, key_episodes, num_episodes)
    return experience.returns[0, :num_episodes], episode_returns(after)

  compiled = jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))

  def evaluate(params: Params, tasks: Task, key: Key) -> Evaluation:
    num_tasks = len(jax.tree.leaves(tasks)[0])
    before, after = compiled(params, tasks, jax.random.split(key, num_tasks))
    return Evaluation(before=np.asarray(before, np.float64), after=np.asarray(after, np.float64), states=())

  return evaluate
