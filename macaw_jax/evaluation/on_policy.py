"""The protocol `on_policy`: own episodes, adaptation to them, and fresh episodes.

Finn et al. 2017 (MAML), section 5.3; Yang et al. 2019 (NoRML), algorithm 2: in a new task the agent acts as it is,
adapts to what it has seen, and acts again. Stage k is the agent after k adaptation steps, k = 0, ..., K, each step on
episodes of the agent before it. Policies are stochastic throughout.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.collection.on_policy import experience_task
from macaw_jax.data.statistics import Statistics
from macaw_jax.envs.family import Task, TaskFamily
from macaw_jax.envs.rollout import Engine, episode_return
from macaw_jax.envs.sampled_rollout import make_sampled_rollout
from macaw_jax.evaluation.rows import Evaluation, Stages
from macaw_jax.types import Algorithm, Array, Key, Params

OnPolicyProtocol = Callable[[Params, Statistics, Task, Key], Evaluation]
"""`(params, statistics, tasks, key) -> returns [T, E, K + 1]` after k = 0, ..., K adaptation steps.

The statistics are not read, since on-policy agents see observations and rewards as they are. The key decides starts,
actions and adaptation.
"""


def on_policy_stages(support_episodes: int, adaptation_steps: int = 1) -> Stages:
  """After 0, 1, ..., K adaptation steps, each on so many episodes; on one, they are counted as episodes."""
  return Stages(
    support=support_episodes * adaptation_steps,
    support_unit="episodes",
    stages=tuple(range(adaptation_steps + 1)),
    stage_unit="episodes" if support_episodes == 1 else "steps",
  )


def make_on_policy_protocol(
  algorithm: Algorithm,
  family: TaskFamily,
  *,
  support_episodes: int,
  num_episodes: int,
  adaptation_steps: int = 1,
  horizon: int | None = None,
  engine: Engine = "native",
) -> OnPolicyProtocol:
  """The protocol `on_policy`, compiled once for each number of tasks.

  Arguments as of `evaluate.on_policy`; `num_episodes` is E, fresh ones after the last of K `adaptation_steps`, and the
  first so many of each support. Raises ValueError for fewer support episodes than that.
  """
  if num_episodes > support_episodes:
    raise ValueError(f"num_episodes={num_episodes}: expected at most support_episodes={support_episodes}")
  rollout = make_sampled_rollout(family, algorithm.act, horizon=horizon, engine=engine)

  def one(params: Params, task: Task, key: Key) -> tuple[Array, Any]:
    key_experience, key_episodes = jax.random.split(key)
    experience = experience_task(
      algorithm,
      rollout,
      params,
      task,
      key_experience,
      num_episodes=support_episodes,
      adaptation_steps=adaptation_steps,
    )
    after = rollout(params, experience.adapted, task, key_episodes, num_episodes)
    returns = jnp.concatenate([experience.returns[:, :num_episodes], episode_return(after)[None]])  # [K + 1, E]
    return returns.T, jax.tree.map(lambda leaf: leaf[0], after.state)

  compiled = jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))

  def evaluate(params: Params, statistics: Statistics, tasks: Task, key: Key) -> Evaluation:
    num_tasks = len(jax.tree.leaves(tasks)[0])
    returns, states = compiled(params, tasks, jax.random.split(key, num_tasks))
    return Evaluation(np.asarray(returns, np.float64), jax.tree.map(np.asarray, states))

  return evaluate
