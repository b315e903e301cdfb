"""The protocol `online`: an agent that is given nothing, collects its own support, and adapts to it.

Rakelly et al. 2019, "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables"
(arXiv:1903.08254), meta-testing: episode after episode in one task; before each the agent adapts to all transitions of
the episodes before. Each episode is both scored and added to the support, and what adaptation gave is kept for a whole
episode. Stage k is the episode after k episodes of experience, k = 0, ..., K; in the first `exploration_episodes`
stages acts the prior, drawn anew for each.

Offline meta-training has seen supports of behaviour policies only, and never its own: the distance of this protocol to
`offline` is the shift of contexts that it brings.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.collection.acting import act_on_raw_timesteps, make_draw_priors
from macaw_jax.data.dataset import Dataset, dataset_of
from macaw_jax.data.episodes import one_episode
from macaw_jax.data.sampling import gather
from macaw_jax.data.statistics import Statistics, normalise
from macaw_jax.envs.family import Task, TaskFamily
from macaw_jax.envs.rollout import Engine, episode_return, make_rollout
from macaw_jax.evaluation.protocols import evaluation_of
from macaw_jax.evaluation.rows import Evaluation, Stages
from macaw_jax.types import Algorithm, Array, Key, Params, Trajectory, Transition

NUM_EPISODES = 5  # of experience before the last score


OnlineProtocol = Callable[[Params, Statistics, Task, Key], Evaluation]
"""`(params, statistics, tasks, key) -> returns [T, E, K + 1]` after k = 0, ..., K episodes of experience.

Supports are scaled by the statistics as loaded data are. The key decides starts, draws of the prior and of adaptation,
and actions unless they are modes. Every episode has a start of its own: unlike those of the offline protocols, stages
do not share theirs, and their differences have the spread of the starts in them.
"""


def num_rows(horizon: int, num_episodes: int, support_parts: int) -> int:
  """Transitions of a support of so many episodes: the most that `support_parts` share equally."""
  return horizon * num_episodes // support_parts * support_parts


def online_stages(algorithm: Algorithm, horizon: int, num_episodes: int = NUM_EPISODES) -> Stages:
  """After 0, 1, ..., K episodes of experience."""
  return Stages(
    support=num_rows(horizon, num_episodes, algorithm.support_parts),
    support_unit="transitions",
    stages=tuple(range(num_episodes + 1)),
    stage_unit="episodes",
  )


def make_online_protocol(
  algorithm: Algorithm,
  family: TaskFamily,
  *,
  discount: float,
  num_repetitions: int,
  num_episodes: int = NUM_EPISODES,
  exploration_episodes: int = 1,
  deterministic: bool = True,
  engine: Engine = "native",
) -> OnlineProtocol:
  """The protocol `online`; adaptation is compiled once for each number of episodes, and rollouts once for all.

  All repetitions and tasks run beside each other. A support is the episodes so far, in order, `horizon` rows each, so
  that shapes do not depend on where episodes end. The rows past an episode's end fill its place with its own rows
  again, and their `mask` is zero: they are no evidence. The newest rows that the algorithm's `support_parts` cannot
  share equally are left out.

  Arguments as of `evaluate.online`; `num_repetitions` is E, `num_episodes` K, and `deterministic` says whether the
  policy acts by its mode.

  Raises:
    ValueError: the prior acts in no episode, or the agent in none after adaptation; an episode is too short for the
      parts of a support.
  """
  if not 1 <= exploration_episodes <= num_episodes:
    raise ValueError(
      f"exploration_episodes: expected 1 to {num_episodes}, the episodes before the last, got {exploration_episodes}"
    )
  parts = algorithm.support_parts
  if family.horizon < parts:
    raise ValueError(f"support_parts: expected at most the {family.horizon} steps of an episode, got {parts}")
  draw_priors = make_draw_priors(algorithm)
  adapt = jax.jit(jax.vmap(algorithm.adapt, in_axes=(None, 0, 0)))
  rollout = make_rollout(family, act_on_raw_timesteps(algorithm.act), engine)

  def adapted_to(params: Params, experience: list[Transition], keys: Key) -> dict[str, Params]:
    if len(experience) < exploration_episodes:
      return draw_priors(params, keys)
    rows = num_rows(family.horizon, len(experience), parts)
    support = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1)[:, :rows], *experience)
    return adapt(params, support, keys)

  def evaluate(params: Params, statistics: Statistics, tasks: Task, key: Key) -> Evaluation:
    num_tasks = len(jax.tree.leaves(tasks)[0])
    repeated = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), num_repetitions, axis=0), tasks)  # [T * E, ...]
    experience: list[Transition] = []  # of each episode, [T * E, H, ...]
    returns: list[Array] = []
    for episode in range(num_episodes + 1):
      key_adapt, key_episode = jax.random.split(jax.random.fold_in(key, episode))
      adapted = adapted_to(params, experience, jax.random.split(key_adapt, num_tasks * num_repetitions))
      trajectory = rollout((params, statistics), adapted, repeated, key_episode, deterministic=deterministic)
      returns.append(episode_return(trajectory))
      if episode < num_episodes:
        experience.append(normalise(statistics, transitions_of(trajectory, discount)))
    return evaluation_of(returns, trajectory, num_tasks)

  return evaluate


def transitions_of(trajectory: Trajectory, discount: float) -> Transition:
  """The transitions of N episodes, `[N, H, ...]`, nothing scaled.

  Returns and the other fields are made as when data are loaded. Past the end of an episode come its own rows again,
  from its first, with `mask` zero. `last` is 1 on the final row too, where a copy may be cut: what follows there
  belongs to another episode, and TD(lambda) must stop at the value of the next state.
  """
  trajectory = jax.tree.map(np.asarray, trajectory)
  num_episodes, horizon = trajectory.mask.shape
  episodes = (one_episode(trajectory, index, collected_at=0) for index in range(num_episodes))
  return _cycled(dataset_of(episodes, discount), horizon)


@partial(jax.jit, static_argnames="length")
def _cycled(dataset: Dataset, length: int) -> Transition:
  """The rows of each task, from its first again after its last: `[T, length, ...]`; the final one ends an episode."""
  rows = jnp.arange(length) % dataset.size[:, None]
  transitions = jax.vmap(partial(gather, dataset))(jnp.arange(dataset.size.shape[0]), rows)
  return transitions._replace(
    last=transitions.last.at[:, -1].set(1.0),
    mask=(jnp.arange(length) < dataset.size[:, None]).astype(jnp.float32),
  )
