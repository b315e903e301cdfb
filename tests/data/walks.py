"""Episodes of the point robot, and of others that differ from it in one respect."""

import jax.numpy as jnp
import numpy as np

from macaw_jax import envs
from macaw_jax.data.dataset import Episodes
from macaw_jax.data.episodes import join_episodes

FAMILY = envs.make("point_robot")
NUM_TASKS = 3


def walk(goal, length=20, start=None, terminal=False, move=0.1, seed=0, scale=1.0):
  """One episode of random steps from a place, uniform in the square if none is given, rewarded by the distance."""
  random = np.random.default_rng(seed)
  start = random.uniform(-1.0, 1.0, 2) if start is None else np.asarray(start)
  action = random.uniform(-1.0, 1.0, (length, 2)).astype(np.float32)
  place = np.vstack([start, start + move * np.cumsum(action, axis=0)]).astype(np.float32)
  return Episodes(
    observation=place[:-1],
    action=action,
    reward=-scale * np.linalg.norm(place[1:] - goal, axis=1).astype(np.float32),
    episode_length=np.array([length], np.int32),
    final_observation=place[-1:],
    terminal=np.array([terminal]),
    collected_at=np.zeros(1, np.int64),
  )


def walks(num_episodes=30, goals=None, **fields):
  """Episodes of each task; `goals` other than those of the family make its rewards."""
  goals = FAMILY.tasks["goal"][:NUM_TASKS] if goals is None else goals
  return [
    join_episodes([walk(goal, seed=100 * task + number, **fields) for number in range(num_episodes)])
    for task, goal in enumerate(goals)
  ]


def with_border(reach=0.3):
  """The point robot whose episodes end at a coordinate beyond `reach`."""
  return FAMILY._replace(
    terminal=lambda task, state: jnp.max(jnp.abs(state)) > reach,
    reset=lambda task, key: jnp.zeros(2),
  )


def until_border(goal, seed, reach=0.3):
  """One episode from the origin, cut where it leaves."""
  whole = walk(goal, start=(0.0, 0.0), seed=seed)
  following = np.vstack([whole.observation[1:], whole.final_observation])
  outside = np.abs(following).max(axis=1) > reach
  length = int(np.argmax(outside)) + 1 if outside.any() else 20
  return whole._replace(
    observation=whole.observation[:length],
    action=whole.action[:length],
    reward=whole.reward[:length],
    episode_length=np.array([length], np.int32),
    final_observation=following[length - 1 : length],
    terminal=np.array([bool(outside.any())]),
  )


def bounded():
  return [
    join_episodes([until_border(goal, seed=100 * task + number) for number in range(30)])
    for task, goal in enumerate(FAMILY.tasks["goal"][:NUM_TASKS])
  ]
