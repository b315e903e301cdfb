"""Replay buffers as a source: an agent that infers a task from a context collects the data that it learns from.

Before the first update every training task gets episodes under the prior. Then, iteration after iteration, some tasks
are collected for, and the agent takes many updates in one compiled call. A task that is collected for loses its old
contexts, and gets, a task variable being fixed for an episode,

  episodes under the prior          into contexts and experience, as an agent begins in a new task
  episodes under the posterior      into contexts and experience, each with a context drawn from what is there by then
  extra episodes, under the same    into the experience alone

Episodes have stochastic actions. Scales are fitted once, to the episodes before the first update.

Source: Rakelly et al. 2019 (PEARL), algorithm 1 and its released code, which counts transitions where this counts whole
episodes, and draws tasks independently where this takes those first that have had the fewest turns.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.collection.acting import act_on_raw_timesteps, make_draw_priors
from macaw_jax.data.context_replay import ContextReplays, empty_context_replays, sample_context_batch, sample_rows
from macaw_jax.data.dataset import discounted_returns
from macaw_jax.data.replay import Replay, add_episodes, clear
from macaw_jax.data.statistics import Statistics, fit_scales, no_scaling, normalise_observation
from macaw_jax.envs.family import State, Task, TaskFamily
from macaw_jax.envs.rollout import Engine, episode_return, make_rollout
from macaw_jax.sources.source import Source
from macaw_jax.types import Algorithm, Array, Key, Params, TaskBatch, Trajectory

Reward = Callable[[Task, State, Array, State], Array]
"""`TaskFamily.reward`: `(task, state, action, next_state) -> []`."""

ENVIRONMENT_STEPS = "environment_steps"  # the metric that counts them, over all tasks since the run began


@dataclasses.dataclass(frozen=True)
class CollectionSettings:
  """How many episodes are collected, and when.

  Attributes:
    initial_episodes: of each training task before the first update, under the prior.
    tasks_per_iteration: tasks that are collected for between two calls of updates, side by side.
    prior_episodes: of each of these tasks under the prior, at least one.
    posterior_episodes: under the posterior, into contexts and experience.
    extra_episodes: under the posterior, into the experience alone.
    context_size: transitions that the posterior of an episode sees.
    iterations: how often tasks are collected for; the buffers have room for so many.
    ignored_observations: observation entries that the agent sees as zero. Scales are fitted before it has learned
      anything; one that grows with what it learns, such as a position, would be far out of them.
  """

  initial_episodes: int
  tasks_per_iteration: int
  prior_episodes: int
  posterior_episodes: int
  extra_episodes: int
  context_size: int
  iterations: int
  ignored_observations: tuple[int, ...] = ()


class ReplayData(NamedTuple):
  """The collected data, and the counts that the next iteration begins from."""

  replays: ContextReplays
  statistics: Statistics
  turns: Array  # [T]  int32, how often each task was collected for since the beginning
  environment_steps: Array  # []  int32, taken so far over all tasks


class ReplayKeys(NamedTuple):
  """The draws of this source."""

  begin: Key  # episodes before the first update
  collect: Key
  order: Key  # of tasks that have had equally many turns


def split_replay_key(key: Key) -> ReplayKeys:
  """The draws of a run's key; its first three parts are those of the training session."""
  return ReplayKeys(*jax.random.split(key, 6)[3:])


def next_tasks(key: Key, turns: np.ndarray, count: int) -> np.ndarray:
  """Positions of the `count` tasks with the fewest turns `[T]`, ties at random: `[count]` int32, all different."""
  ties = np.asarray(jax.random.uniform(key, (len(turns),)))
  return np.lexsort((ties, turns))[:count].astype(np.int32)


def replays_for(family: TaskFamily, settings: CollectionSettings) -> ContextReplays:
  """Empty buffers with room for all that is collected of a family's training tasks."""
  num_tasks = len(family.train_tasks)
  of_context = settings.prior_episodes + settings.posterior_episodes
  most_turns = -(-settings.iterations * settings.tasks_per_iteration // num_tasks)
  return empty_context_replays(
    num_tasks,
    family.observation_size,
    family.action_size,
    context_capacity=max(settings.initial_episodes, of_context) * family.horizon,
    capacity=(settings.initial_episodes + most_turns * (of_context + settings.extra_episodes)) * family.horizon,
  )


def replayed(
  algorithm: Algorithm,
  family: TaskFamily,
  settings: CollectionSettings,
  *,
  discount: float,
  tasks_per_update: int,
  batch_size: int,
  repeated_tasks: bool = True,
  critic_reward: Reward | None = None,
  engine: Engine = "native",
) -> Source:
  """A source of contexts and batches from episodes that the agent collects in a family's training tasks.

  Args:
    algorithm: acts, by its prior and by what it adapts to a context.
    family: whose reward the context sees.
    settings: numbers of episodes.
    discount: of the returns that the return scale is fitted to.
    tasks_per_update: tasks of a batch; all tasks, where there are fewer and tasks are not repeated.
    repeated_tasks: whether they are drawn with replacement; otherwise they are distinct.
    batch_size: transitions of a task that the critic learns from.
    critic_reward: of the critic in the same states; the family's own reward if not given.
    engine: that steps MuJoCo bodies, as in `make_rollout`.
  """
  train_tasks = np.asarray(family.train_tasks)
  everyone = np.arange(len(train_tasks))
  chosen = tasks_per_update if repeated_tasks else min(tasks_per_update, len(everyone))
  all_tasks = jax.tree.map(itemgetter(train_tasks), family.tasks)
  rollout = make_rollout(family, act_on_raw_timesteps(algorithm.act), engine)
  draw_priors = make_draw_priors(algorithm)
  rewards_for_critic = make_rewards(critic_reward) if critic_reward else None

  @jax.jit
  def from_posterior(params: Params, context: Replay, tasks: Array, key: Key) -> dict[str, Params]:
    key_rows, key_adapt = jax.random.split(key)
    rows = sample_rows(context, tasks, key_rows, settings.context_size)
    return jax.vmap(algorithm.adapt, (None, 0, 0))(params, rows, jax.random.split(key_adapt, len(tasks)))

  def episodes(
    params: Params, statistics: Statistics, context: Replay | None, positions: np.ndarray, key: Key
  ) -> tuple[Trajectory, np.ndarray]:
    """An episode for each of the positions `[n]`, and the rewards that the critic learns from, `[n, H]`.

    They are under the posterior of the context, or without one under the prior.
    """
    key_adapt, key_act = jax.random.split(key)
    if context is None:
      adapted = draw_priors(params, jax.random.split(key_adapt, len(positions)))
    else:
      adapted = from_posterior(params, context, positions, key_adapt)
    tasks = jax.tree.map(itemgetter(positions), all_tasks)
    trajectory = rollout((params, statistics), adapted, tasks, key_act, deterministic=False)
    trajectory = jax.tree.map(np.asarray, trajectory)
    rewards = rewards_for_critic(tasks, trajectory) if rewards_for_critic else np.asarray(trajectory.reward)
    return trajectory, rewards

  def empty() -> ReplayData:
    scales = jax.tree.map(jnp.asarray, no_scaling(family.observation_size))
    return ReplayData(
      replays_for(family, settings), scales, jnp.zeros(len(everyone), jnp.int32), jnp.zeros((), jnp.int32)
    )

  def init(params: Params, key: Key) -> ReplayData:
    positions = np.tile(everyone, settings.initial_episodes)
    unscaled = no_scaling(family.observation_size)
    trajectory, rewards = episodes(params, unscaled, None, positions, split_replay_key(key).begin)
    statistics = ignore(fit_to_episodes(trajectory, rewards, discount), settings.ignored_observations)
    data = empty()
    replays = ContextReplays(
      context=remember(data.replays.context, statistics, everyone, trajectory, np.asarray(trajectory.reward)),
      experience=remember(data.replays.experience, statistics, everyone, trajectory, rewards),
    )
    steps = jnp.asarray(trajectory.mask.sum(), jnp.int32)
    return ReplayData(replays, jax.tree.map(jnp.asarray, statistics), data.turns, steps)

  def refresh(params: Params, data: ReplayData, key: Key) -> tuple[ReplayData, dict[str, float]]:
    turns, statistics = np.asarray(data.turns), data.statistics
    iteration = int(turns.sum()) // settings.tasks_per_iteration
    keys = split_replay_key(key)
    tasks = next_tasks(jax.random.fold_in(keys.order, iteration), turns, settings.tasks_per_iteration)
    key_prior, key_posterior, key_extra = jax.random.split(jax.random.fold_in(keys.collect, iteration), 3)
    context, experience = clear(data.replays.context, jnp.asarray(tasks)), data.replays.experience
    steps = 0
    returns: dict[str, list[np.ndarray]] = {"prior": [], "posterior": []}

    def keep(kind: str, trajectory: Trajectory, rewards: np.ndarray, *, as_context: bool) -> None:
      nonlocal context, experience, steps
      if as_context:
        context = remember(context, statistics, tasks, trajectory, np.asarray(trajectory.reward))
      experience = remember(experience, statistics, tasks, trajectory, rewards)
      steps += int(trajectory.mask.sum())
      returns[kind].append(np.asarray(episode_return(trajectory)))

    positions = np.tile(tasks, settings.prior_episodes)
    keep("prior", *episodes(params, statistics, None, positions, key_prior), as_context=True)
    for index in range(settings.posterior_episodes):
      key_episode = jax.random.fold_in(key_posterior, index)
      keep("posterior", *episodes(params, statistics, context, tasks, key_episode), as_context=True)
    if settings.extra_episodes:
      positions = np.tile(tasks, settings.extra_episodes)
      keep("posterior", *episodes(params, statistics, context, positions, key_extra), as_context=False)
    turns = turns.copy()
    turns[tasks] += 1
    total = data.environment_steps + steps
    metrics = {f"collect/return_{kind}": float(np.mean(np.concatenate(of))) for kind, of in returns.items() if of}
    refreshed = ReplayData(ContextReplays(context, experience), statistics, jnp.asarray(turns), total)
    return refreshed, metrics | {ENVIRONMENT_STEPS: float(total)}

  def sample(data: ReplayData, key: Key) -> TaskBatch:
    return sample_context_batch(
      data.replays,
      key,
      num_tasks=chosen,
      context_size=settings.context_size,
      batch_size=batch_size,
      repeated=repeated_tasks,
    )

  return Source(
    init=init,
    sample=sample,
    statistics=lambda data: data.statistics,
    tasks_per_update=chosen,
    task_names=family.train_tasks,
    tasks=all_tasks,
    refresh=refresh,
    empty=empty,
  )


def make_rewards(reward: Reward) -> Callable[[Task, Trajectory], np.ndarray]:
  """`rewards(tasks [N], trajectory) -> [N, H]` float32: another reward of each transition in N episodes.

  It is zero after the end of an episode, and computed from the stored states in float64, as a rollout's own rewards.
  """
  over_steps = jax.jit(jax.vmap(jax.vmap(reward, (None, 0, 0, 0))))

  def rewards(tasks: Task, trajectory: Trajectory) -> np.ndarray:
    before = jax.tree.map(lambda leaf: leaf[:, :-1], trajectory.state)
    after = jax.tree.map(lambda leaf: leaf[:, 1:], trajectory.state)
    with jax.enable_x64(True):
      values = over_steps(tasks, before, trajectory.action, after)
    return np.asarray(values, np.float32) * np.asarray(trajectory.mask)

  return rewards


def fit_to_episodes(trajectory: Trajectory, rewards: np.ndarray, discount: float) -> Statistics:
  """Scales of episodes `[N, H]`: of their observations, and of the returns of `rewards` `[N, H]`."""
  observations, returns = [], []
  for rows, of_rows, mask in zip(np.asarray(trajectory.observation), rewards, trajectory.mask, strict=True):
    length = int(np.sum(mask))
    observations.append(rows[:length])
    returns.append(discounted_returns(of_rows[:length], np.array([length]), discount))
  return fit_scales(observations, returns)


def ignore(statistics: Statistics, entries: Sequence[int]) -> Statistics:
  """The scales by which some entries of an observation are always zero: they are divided by infinity."""
  std = statistics.observation_std.copy()
  std[list(entries)] = np.inf
  return statistics._replace(observation_std=std)


def remember(
  replay: Replay, statistics: Statistics, tasks: np.ndarray, trajectory: Trajectory, rewards: np.ndarray
) -> Replay:
  """Appends whole episodes, scaled; `replay` cannot be read afterwards.

  Args:
    replay: with one reward a transition.
    statistics: scales of observations and rewards.
    tasks: positions of n different tasks, [n].
    trajectory: E n episodes; each n consecutive ones belong to `tasks`.
    rewards: of their transitions, [E n, H].
  """
  trajectory = trajectory._replace(state=None)
  chex.assert_is_divisible(len(rewards), len(tasks))
  by_episode = jax.tree.map(lambda leaf: leaf.reshape(-1, len(tasks), *leaf.shape[1:]), (trajectory, rewards))
  return _append(replay, statistics, jnp.asarray(tasks), *by_episode)


@partial(jax.jit, donate_argnums=0)
def _append(replay: Replay, statistics: Statistics, tasks: Array, episodes: Trajectory, rewards: Array) -> Replay:
  """Episode after episode of each of n tasks, leaves `[E, n, ...]`."""

  def append(replay: Replay, episode: tuple[Trajectory, Array]) -> tuple[Replay, None]:
    trajectory, reward = episode
    scaled = trajectory._replace(
      observation=normalise_observation(statistics, trajectory.observation),
      next_observation=normalise_observation(statistics, trajectory.next_observation),
    )
    return add_episodes(replay, tasks, scaled, (reward / statistics.return_scale)[:, :, None]), None

  return jax.lax.scan(append, replay, (episodes, rewards))[0]
