"""Collects a dataset for a task family: the whole experience of one agent that learns all of its tasks.

Round after round some tasks get an episode from the current policy, then the agent (`behaviour_agent`) takes many
updates in one compiled scan. The data of task i are the episodes of its own policy, whole and in order of collection,
so that early ones are poor and late ones good. The first episodes of each task have uniform actions.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.collection.acting import uniform_act
from macaw_jax.collection.behaviour_agent import AgentState, BehaviourAgent, behaviour_agent
from macaw_jax.data.dataset import Episodes
from macaw_jax.data.episodes import join_episodes, one_episode
from macaw_jax.data.relabel import OTHER_POLICIES
from macaw_jax.data.replay import Replay, add_episodes, empty_replay, sample_relabelled
from macaw_jax.envs.family import State, TaskFamily
from macaw_jax.envs.rollout import RolloutFn, episode_return, make_rollout
from macaw_jax.types import Array, Key, Metrics, Trajectory


@dataclasses.dataclass(frozen=True)
class CollectSettings:
  """How a family's data are collected."""

  seed: int  # of everything random
  episodes_per_task: int  # the warm-up included
  warmup_episodes: int  # per task, with uniform actions before the agent learns; they fix the scale of its inputs
  tasks_per_round: int  # tasks that get an episode between two bouts of learning; divides the number of tasks
  updates_per_round: int  # of the agent, after each round
  batch_size: int  # transitions of each task in an update
  own_fraction: float  # share of them collected for the task itself; the others are relabelled from any task
  hidden_sizes: tuple[int, ...]  # widths of the hidden layers of policy and critics
  learning_rate: float  # of Adam, for policy, critics and temperatures
  discount: float  # of the agent, and of the returns stored with the data
  tau: float  # of the critic's target network, `target <- (1 - tau) target + tau critic` at each update
  reward_scale: float  # factor on rewards inside the agent
  ignored_observations: tuple[int, ...]  # entries that the agent does not see; they are stored all the same
  reference_episodes: int  # per task, behind the random and the expert return
  # Per task and each of `OTHER_POLICIES`, by policies of other tasks: contexts shifted in behaviour. 0 for none.
  other_policy_episodes: int


class Progress(NamedTuple):
  """Where a collection stands after a round."""

  rounds: int
  total_rounds: int
  environment_steps: int
  updates: int
  last_returns: np.ndarray  # [T] return of the latest episode of each task
  metrics: dict[str, float]  # of the latest update


class Collection(NamedTuple):
  """The result of a collection.

  `random_returns` and `expert_returns` are means over fresh episodes: uniform actions, and the final agent's mode.
  """

  episodes: list[Episodes]  # of each task
  random_returns: np.ndarray  # [T]
  expert_returns: np.ndarray  # [T]
  expert_states: State  # leaves [T, H + 1, ...], an episode of each task under the final agent's mode
  other_policies: dict[str, list[Episodes]]  # of each task, by a name in `OTHER_POLICIES`; empty if none were wanted
  environment_steps: int
  updates: int


def make_relabel(family: TaskFamily) -> Callable[[Trajectory], np.ndarray]:
  """A function that gives every transition of N episodes its rewards as the replay buffer stores them.

  Where tasks differ in their rewards alone, those are the rewards under every task of the family, exact: they are
  computed from the stored states in float64, as the rollout's own rewards are. Where tasks differ in their physics a
  transition is of use to its own task only, and keeps its own reward.

  Returns:
    `relabel(trajectory) -> [N, H, R]` float32, zero after the end of an episode; R is the number of tasks, or one.
  """
  if family.differ_in == "physics":
    return lambda trajectory: np.asarray(trajectory.reward)[:, :, None]
  over_tasks = jax.vmap(family.reward, (0, None, None, None))
  over_steps = jax.vmap(over_tasks, (None, 0, 0, 0))
  # The tasks are an argument: JAX 0.10 remembers a NumPy array that is compiled in as a constant, here in float64, and
  # gives it so to the programs in float32 that have the same array as an argument.
  rewards = jax.jit(jax.vmap(over_steps, (None, 0, 0, 0)))

  def relabel(trajectory: Trajectory) -> np.ndarray:
    before = jax.tree.map(lambda x: x[:, :-1], trajectory.state)
    after = jax.tree.map(lambda x: x[:, 1:], trajectory.state)
    with jax.enable_x64(True):
      relabelled = rewards(family.tasks, before, trajectory.action, after)
    return np.asarray(relabelled, np.float32) * np.asarray(trajectory.mask)[:, :, None]

  return relabel


def collect(family: TaskFamily, settings: CollectSettings, *, report: Callable[[Progress], None]) -> Collection:
  """Trains the agent and returns all of its experience.

  Args:
    family: whose tasks are learned.
    settings: checked before anything is compiled.
    report: called after each round.

  Raises:
    ValueError: a setting is out of its range.
  """
  for problem in examine_settings(settings, family):
    raise ValueError(problem)
  num_tasks = family.num_tasks
  key_warmup, key_agent, key_order, key_act, key_learn, key_random, key_expert = jax.random.split(
    jax.random.key(settings.seed), 7
  )
  key_other = jax.random.fold_in(jax.random.key(settings.seed), 7)  # so that the keys above stay what they were
  agent = behaviour_agent(
    family.tasks,
    observation_size=family.observation_size,
    action_size=family.action_size,
    ignored_observations=settings.ignored_observations,
    hidden_sizes=settings.hidden_sizes,
    learning_rate=settings.learning_rate,
    discount=settings.discount,
    tau=settings.tau,
    reward_scale=settings.reward_scale,
  )
  rollout_uniform = make_rollout(family, partial(uniform_act, action_size=family.action_size))
  rollout_agent = make_rollout(family, agent.act)
  relabel = make_relabel(family)
  learn = _make_learn(agent, settings)
  remember = jax.jit(add_episodes, donate_argnums=0)

  episodes: list[list[Episodes]] = [[] for _ in range(num_tasks)]
  last_returns = np.full(num_tasks, np.nan)
  steps = 0

  def store(replay: Replay, tasks: np.ndarray, trajectory: Trajectory) -> Replay:
    """Keeps one episode of each of `tasks` [n]: on the host for the dataset, relabelled for the agent."""
    nonlocal steps
    trajectory = jax.tree.map(np.asarray, trajectory)
    last_returns[tasks] = episode_return(trajectory)
    for row, task in enumerate(tasks):
      episodes[task].append(one_episode(trajectory, row, collected_at=steps))
    steps += int(trajectory.mask.sum())
    return remember(replay, jnp.asarray(tasks), trajectory._replace(state=None), relabel(trajectory))

  capacity = settings.episodes_per_task * family.horizon
  num_rewards = num_tasks if family.differ_in == "rewards" else 1
  replay = empty_replay(num_tasks, capacity, family.observation_size, family.action_size, num_rewards)
  everyone = np.arange(num_tasks)
  for key in jax.random.split(key_warmup, settings.warmup_episodes):
    replay = store(replay, everyone, rollout_uniform({}, {}, family.tasks, key, deterministic=False))
  warmup_observations = jnp.asarray(np.concatenate([episode.observation for task in episodes for episode in task]))
  state = agent.init(key_agent, warmup_observations)

  order = _round_order(key_order, num_tasks, settings)
  moments = {name: max(1, round(share * len(order))) for name, share in OTHER_POLICIES.items()}
  learned: dict[str, Any] = {}  # the agent's parameters at each of the moments
  for index, tasks in enumerate(order):
    state, metrics = learn(state, replay, jax.random.fold_in(key_learn, index))
    params, adapted = state.params, {"task": agent.task_input[tasks]}
    round_tasks = jax.tree.map(itemgetter(tasks), family.tasks)
    trajectory = rollout_agent(params, adapted, round_tasks, jax.random.fold_in(key_act, index), deterministic=False)
    replay = store(replay, tasks, trajectory)
    learned |= {name: jax.tree.map(np.asarray, params) for name, moment in moments.items() if moment == index + 1}
    values = {name: float(value) for name, value in metrics.items()}
    updates = (index + 1) * settings.updates_per_round
    report(Progress(index + 1, len(order), steps, updates, last_returns.copy(), values))

  params, adapted, count = state.params, {"task": agent.task_input}, settings.reference_episodes
  # One after the other: thousands of episodes with their states are gigabytes where many are derived from them.
  random_returns = mean_returns(
    reference_episodes(rollout_uniform, {}, {}, family, key_random, count=count, deterministic=False), count
  )
  expert = reference_episodes(rollout_agent, params, adapted, family, key_expert, count=count, deterministic=True)
  return Collection(
    episodes=[join_episodes(parts) for parts in episodes],
    random_returns=random_returns,
    expert_returns=mean_returns(expert, count),
    expert_states=jax.tree.map(lambda leaf: np.asarray(leaf[::count]), expert.state),
    other_policies={
      name: _other_policies(
        rollout_agent,
        learned[name],
        agent.task_input,
        family,
        key_other if name == "other_policies" else jax.random.fold_in(key_other, moments[name]),
        count=settings.other_policy_episodes,
        collected_at=steps,
      )
      for name in OTHER_POLICIES
      if settings.other_policy_episodes
    },
    environment_steps=steps,
    updates=len(order) * settings.updates_per_round,
  )


def reference_episodes(
  rollout: RolloutFn, params: Any, adapted: Any, family: TaskFamily, key: Key, *, count: int, deterministic: bool
) -> Trajectory:
  """`count` episodes of each task of the family, side by side, [T * count, ...]."""
  adapted, tasks = jax.tree.map(lambda x: np.repeat(x, count, axis=0), (adapted, family.tasks))
  return rollout(params, adapted, tasks, key, deterministic=deterministic)


def mean_returns(trajectory: Trajectory, count: int) -> np.ndarray:
  """Mean undiscounted return over the `count` episodes of each task, [T]."""
  return np.asarray(episode_return(trajectory)).reshape(-1, count).mean(axis=1)


def _other_policies(
  rollout: RolloutFn,
  params: Any,
  task_input: Array,
  family: TaskFamily,
  key: Key,
  *,
  count: int,
  collected_at: int,
) -> list[Episodes]:
  """`count` stochastic episodes in each task, by the policies of `count` other tasks in turn."""
  num_tasks = len(task_input)
  key_offset, key_act = jax.random.split(key)
  # In task i act the policies of the tasks i + offset, never that of i itself.
  offsets = 1 + np.asarray(jax.random.permutation(key_offset, num_tasks - 1))
  rounds: list[list[Episodes]] = []
  for index in range(count):
    policies = (np.arange(num_tasks) + offsets[index % len(offsets)]) % num_tasks
    adapted = {"task": task_input[policies]}
    trajectory = rollout(params, adapted, family.tasks, jax.random.fold_in(key_act, index), deterministic=False)
    trajectory = jax.tree.map(np.asarray, trajectory)
    rounds.append([one_episode(trajectory, task, collected_at=collected_at) for task in range(num_tasks)])
    collected_at += int(trajectory.mask.sum())
  return [join_episodes(parts) for parts in zip(*rounds, strict=True)]


def examine_settings(settings: CollectSettings, family: TaskFamily) -> list[str]:
  """A line for each setting that does not fit the family; it begins with the field's name."""
  values = vars(settings)
  num_tasks, last_observation = family.num_tasks, family.observation_size - 1
  counts = ("warmup_episodes", "updates_per_round", "batch_size", "reference_episodes")
  allowed = {
    "seed": (0 <= settings.seed < 2**32, "an integer from 0 to 2^32 - 1"),
    "episodes_per_task": (settings.episodes_per_task > settings.warmup_episodes, "more than warmup_episodes"),
    "tasks_per_round": (
      settings.tasks_per_round >= 1 and num_tasks % settings.tasks_per_round == 0,
      f"a divisor of the {num_tasks} tasks",
    ),
    "own_fraction": (
      0.0 <= settings.own_fraction <= 1.0 and (family.differ_in == "rewards" or settings.own_fraction == 1.0),
      "a number from 0 to 1, and 1 where tasks differ in their physics: no other task's transitions are of use",
    ),
    "hidden_sizes": (bool(settings.hidden_sizes) and min(settings.hidden_sizes) >= 1, "one or more positive widths"),
    "ignored_observations": (
      all(0 <= index <= last_observation for index in settings.ignored_observations),
      f"indices from 0 to {last_observation}",
    ),
    "other_policy_episodes": (
      settings.other_policy_episodes == 0 or (settings.other_policy_episodes > 0 and num_tasks > 1),
      "at least 0, and 0 where there is one task",
    ),
    **{name: (values[name] >= 1, "at least 1") for name in counts},
    **{name: (0.0 < values[name] < math.inf, "a positive number") for name in ("learning_rate", "reward_scale")},
    **{name: (0.0 < values[name] <= 1.0, "a number above 0 and at most 1") for name in ("discount", "tau")},
  }
  return [f"{name} is {values[name]}; expected {expected}" for name, (holds, expected) in allowed.items() if not holds]


def _make_learn(
  agent: BehaviourAgent, settings: CollectSettings
) -> Callable[[AgentState, Replay, Key], tuple[AgentState, Metrics]]:
  """`updates_per_round` updates in one compiled scan; returns the metrics of the last."""

  @partial(jax.jit, donate_argnums=0)
  def learn(state: AgentState, replay: Replay, key: Key) -> tuple[AgentState, Metrics]:
    def update(state: AgentState, key: Key) -> tuple[AgentState, Metrics]:
      key_sample, key_update = jax.random.split(key)
      batch = sample_relabelled(replay, key_sample, batch_size=settings.batch_size, own_fraction=settings.own_fraction)
      return agent.update(state, batch, key_update)

    state, metrics = jax.lax.scan(update, state, jax.random.split(key, settings.updates_per_round))
    return state, jax.tree.map(lambda x: x[-1], metrics)

  return learn


def _round_order(key: Key, num_tasks: int, settings: CollectSettings) -> np.ndarray:
  """The tasks of each round after the warm-up, [R, tasks_per_round]: all tasks once, in random order, then again."""
  sweeps = settings.episodes_per_task - settings.warmup_episodes
  orders = jax.vmap(lambda key: jax.random.permutation(key, num_tasks))(jax.random.split(key, sweeps))
  return np.asarray(orders).reshape(-1, settings.tasks_per_round)
