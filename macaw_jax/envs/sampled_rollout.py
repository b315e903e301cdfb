"""Episodes of one policy in one task, as the policy-gradient methods learn from them: actions as they were drawn."""

from collections.abc import Callable
from typing import Any

import jax

from macaw_jax.envs.engines import Engine, with_compiled_physics
from macaw_jax.envs.family import Task, TaskFamily
from macaw_jax.envs.rollout import Act, episode_keys, make_episode
from macaw_jax.types import Key, Trajectory

SampledRollout = Callable[[Any, Any, Task, Key, int], Trajectory]
"""`(params, adapted, task, key, number of episodes E) -> Trajectory [E, H, ...]`, a pure function to map over tasks and
to compile; episode i depends on the key and on i alone."""


def make_sampled_rollout(
  family: TaskFamily, act: Act, *, horizon: int | None = None, engine: Engine = "native"
) -> SampledRollout:
  """The rollout of a family under a stochastic acting function, as one scan over time.

  Args:
    family: where episodes are run.
    act: of an algorithm.
    horizon: steps of an episode that nothing ends sooner; the family's if not given.
    engine: that steps MuJoCo bodies: "native", called from the compiled program once a step for all episodes, or "mjx",
      inside it. An analytic family is compiled with either.

  Raises:
    ValueError: there is no such engine.
  """
  episode = make_episode(with_compiled_physics(family, engine), act, horizon)

  def rollout(params: Any, adapted: Any, task: Task, key: Key, num_episodes: int) -> Trajectory:
    reset_keys, act_keys = episode_keys(key, num_episodes)
    return jax.vmap(episode, (None, None, None, 0, 0))(params, adapted, task, reset_keys, act_keys)

  return rollout
