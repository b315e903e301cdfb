"""The protocol `online`: an agent that is given nothing, collects its own support, and adapts to it.

Rakelly et al. 2019, "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables"
(arXiv:1903.08254), meta-testing: episode after episode in one task; before each the agent adapts to all transitions of
the episodes before. Each episode is both scored and remembered, and what adaptation gave is kept for a whole episode.
The first `exploration_episodes` episodes are acted by the prior, drawn anew for each.

Offline meta-training has seen the supports of behaviour policies only, and never its own: the distance of this
protocol to `offline` is the shift of contexts that it brings.
"""

from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.collection.collect import one_episode
from macaw_jax.data.dataset import Dataset, dataset_of
from macaw_jax.data.sampling import gather
from macaw_jax.data.statistics import Statistics, normalise
from macaw_jax.envs.family import Task, TaskFamily
from macaw_jax.envs.rollout import Engine, Trajectory, episode_return, make_rollout
from macaw_jax.evaluation.protocols import Evaluation, act_on_raw_timesteps, make_draw_priors
from macaw_jax.types import Algorithm, Key, Params, Transition

NUM_EPISODES = 5  # of experience before the last score


class OnlineProtocol(Protocol):
  """Evaluates parameters on tasks of a family, from the agent's own episodes."""

  def __call__(self, params: Params, tasks: Task, key: Key) -> Evaluation:
    """Episodes after k = 0, 1, ..., K episodes of experience; `before` is k = 0, `after` is k = K.

    Every episode has a start of its own: unlike those of the offline protocols, `before` and `after` do not share
    theirs, and their difference has the spread of the starts in it.

    Args:
      params: of the algorithm.
      tasks: of the family, leaves `[T, ...]`.
      key: decides starts, draws of the prior and of adaptation, and actions unless they are modes.
    """


def num_rows(horizon: int, num_episodes: int, inner_steps: int) -> int:
  """Transitions of a support of so many episodes: the most that `inner_steps` share equally."""
  return horizon * num_episodes // inner_steps * inner_steps


def make_online_protocol(
  algorithm: Algorithm,
  family: TaskFamily,
  statistics: Statistics,
  *,
  discount: float,
  num_repetitions: int,
  num_episodes: int = NUM_EPISODES,
  exploration_episodes: int = 1,
  inner_steps: int = 1,
  deterministic: bool = True,
  engine: Engine = "native",
) -> OnlineProtocol:
  """The protocol `online`; adaptation is compiled once for each number of episodes, and rollouts once for all.

  All repetitions and tasks run beside each other. A support is the episodes so far, in order, `horizon` rows each: an
  episode that ended early fills its place with its own rows again, cyclically, so that shapes do not depend on where
  episodes end, and the row at which that is cut counts as the last of an episode. To an agent that counts rows as
  evidence, as PEARL's belief does, a short episode then says as much as a whole one. The newest rows that `inner_steps`
  cannot share equally are left out.

  Args:
    algorithm: adapts and acts on scaled data.
    family: where episodes are run.
    statistics: of the run's training data; supports are scaled by them as loaded data are.
    discount: gamma of the supports' Monte-Carlo returns.
    num_repetitions: E, independent lives of the agent in each task.
    num_episodes: K, episodes of experience before the last score.
    exploration_episodes: episodes that the prior acts; PEARL's k_exp.
    inner_steps: parts of equal size that adaptation cuts a support into.
    deterministic: whether the policy acts by its mode.
    engine: that steps MuJoCo bodies, as in `make_rollout`.

  Raises:
    ValueError: no episode is acted by the prior, or none after adaptation, or one is too short for the inner steps.
  """
  if not 1 <= exploration_episodes <= num_episodes:
    raise ValueError(
      f"exploration_episodes: expected 1 to {num_episodes}, the episodes before the last, got {exploration_episodes}"
    )
  if family.horizon < inner_steps:
    raise ValueError(f"inner_steps: expected at most the {family.horizon} steps of an episode, got {inner_steps}")
  draw_priors = make_draw_priors(algorithm)
  adapt = jax.jit(jax.vmap(algorithm.adapt, in_axes=(None, 0, 0)))
  rollout = make_rollout(family, act_on_raw_timesteps(algorithm.act, statistics), engine)

  def adapted(params: Params, experience: list[Transition], keys: Key) -> dict[str, Params]:
    if len(experience) < exploration_episodes:
      return draw_priors(params, keys)
    rows = num_rows(family.horizon, len(experience), inner_steps)
    support = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1)[:, :rows], *experience)
    return adapt(params, support, keys)

  def evaluate(params: Params, tasks: Task, key: Key) -> Evaluation:
    num_tasks = len(jax.tree.leaves(tasks)[0])
    num_lives = num_tasks * num_repetitions
    lives = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), num_repetitions, axis=0), tasks)  # [T * E, ...]
    experience: list[Transition] = []  # of each episode, [T * E, H, ...]
    returns = []
    for episode in range(num_episodes + 1):
      key_adapt, key_episode = jax.random.split(jax.random.fold_in(key, episode))
      belief = adapted(params, experience, jax.random.split(key_adapt, num_lives))
      trajectory = rollout(params, belief, lives, key_episode, deterministic=deterministic)
      returns.append(np.asarray(episode_return(trajectory), np.float64).reshape(num_tasks, num_repetitions))
      if episode < num_episodes:
        experience.append(normalise(statistics, transitions_of(trajectory, discount)))
    by_episodes = np.stack(returns, axis=-1)
    return Evaluation(
      before=by_episodes[..., 0],
      after=by_episodes[..., -1],
      states=jax.tree.map(lambda leaf: np.asarray(leaf[::num_repetitions]), trajectory.state),
      by_episodes=by_episodes,
    )

  return evaluate


def transitions_of(trajectory: Trajectory, discount: float) -> Transition:
  """The transitions of N episodes, `[N, H, ...]`, nothing scaled; those of one that ended early again from its first.

  Returns and the other fields are made as when data are loaded, but for `last`: it is 1 on the final row too, where a
  copy may be cut. What follows there belongs to another episode, and TD(lambda) must stop at the value of the next
  state.
  """
  trajectory = jax.tree.map(np.asarray, trajectory)
  num_episodes, horizon = trajectory.reward.shape
  episodes = (one_episode(trajectory, row, collected_at=0) for row in range(num_episodes))
  return _cycled(dataset_of(episodes, discount), horizon)


@partial(jax.jit, static_argnames="length")
def _cycled(dataset: Dataset, length: int) -> Transition:
  """The rows of each task, from its first again after its last: `[T, length, ...]`; the final one ends an episode."""
  rows = jnp.arange(length) % dataset.size[:, None]
  transitions = jax.vmap(partial(gather, dataset))(jnp.arange(dataset.size.shape[0]), rows)
  return transitions._replace(last=transitions.last.at[:, -1].set(1.0))
