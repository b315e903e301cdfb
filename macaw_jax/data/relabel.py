"""Episodes of other tasks as episodes of a task: the rewards and ends that the family gives them there.

Where tasks differ in rewards alone, a transition of one task is one of every other, with another reward. The episodes
are then supports that tell the task by rewards alone: another task's policy has acted in them.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from macaw_jax.data.agreement import check_rewards, ended_by_family, has_known_end, recompute_rewards, sample_rows
from macaw_jax.data.dataset import Episodes, next_observations, take_episodes
from macaw_jax.data.episodes import join_episodes, thin_episodes
from macaw_jax.data.manifest import DatasetError, Manifest
from macaw_jax.data.tasks import tasks_of
from macaw_jax.envs.family import Task, TaskFamily

SEED = 0  # of the other tasks' order
# Supports that policies of other tasks collect, by name, with the share of their training that they have behind them.
OTHER_POLICIES = {"other_policies_start": 1 / 6, "other_policies_middle": 1 / 2, "other_policies": 1.0}
AGENT = "episodes of other tasks of the dataset, with rewards and ends recomputed by the family"


def other_policies(
  manifest: Manifest, episodes_by_task: Sequence[Episodes], family: TaskFamily, count: int
) -> tuple[Manifest, list[Episodes]]:
  """A dataset with `count` whole episodes in each task that were collected for other tasks, these in turn.

  Args:
    manifest: of the dataset that they are taken from.
    episodes_by_task: of each of its tasks.
    family: that recomputes rewards and ends.
    count: of episodes in each task.

  Raises:
    DatasetError: the family cannot recompute rewards, or its rewards are not those of the dataset; or a task has too
      few episodes, or there is one task alone.
  """
  tasks = tasks_to_relabel(manifest, family, range(len(manifest.tasks)))
  relabelled = from_others(episodes_by_task, family, tasks, count)
  behaviour = {"agent": AGENT, "episodes_of_each_task": count, "collected_by": dict(manifest.behaviour)}
  return dataclasses.replace(manifest, behaviour=behaviour), relabelled


def beside_others(
  manifest: Manifest, episodes_by_task: Sequence[Episodes], family: TaskFamily, indices: Sequence[int], count: int
) -> list[Episodes]:
  """The episodes of some tasks, and behind them `count` more in each that were collected for the others among them.

  BOReL's reward relabelling (Dorfman et al. 2021, arXiv:2008.02598, section 4): so that data of a task are not those
  of its own policy alone.

  Args:
    manifest: of the dataset.
    episodes_by_task: of the tasks `indices`.
    family: that recomputes rewards and ends.
    indices: of tasks in the manifest.
    count: of episodes that are added in each task.

  Raises:
    DatasetError: as of `other_policies`.
  """
  others = from_others(episodes_by_task, family, tasks_to_relabel(manifest, family, indices), count)
  return [join_episodes(both) for both in zip(episodes_by_task, others, strict=True)]


def from_others(episodes_by_task: Sequence[Episodes], family: TaskFamily, tasks: Task, count: int) -> list[Episodes]:
  """For each of the tasks, leaves `[T, ...]`, `count` episodes of the others in turn, as it would reward and end them.

  Raises:
    DatasetError: the family's rewards are not those of the episodes; or a task has too few episodes.
  """
  check = check_rewards(sample_rows(episodes_by_task), family, tasks)
  if check.verdict != "agrees":
    raise DatasetError(
      f"the rewards that family {family.name!r} recomputes are not those of the dataset: {check.found}"
    )
  relabelled = []
  for task, sources in enumerate(_sources(len(episodes_by_task), count)):
    of_task = jax.tree.map(lambda leaf, task=task: np.asarray(leaf)[task], tasks)
    parts = [_some(episodes_by_task[source], source, uses) for source, uses in sources.items()]
    relabelled.append(relabel(join_episodes(parts), family, of_task))
  return relabelled


def other_policies_directory(directory: str, support: str = "other_policies") -> str:
  """The dataset, beside another, of episodes that were collected in its tasks by the policies of other tasks.

  `support` is a name in `OTHER_POLICIES`.
  """
  return f"{directory.rstrip('/')}_{support}"


def relabel(episodes: Episodes, family: TaskFamily, task: Task) -> Episodes:
  """The episodes as the family's `task` would have rewarded and ended them; one that it ends sooner is cut there.

  The order of collection is lost, as episodes may come from several tasks: `collected_at` counts their own steps.
  """
  following = next_observations(episodes)
  in_task = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(following), *np.shape(leaf))), task)
  reward = recompute_rewards(family, in_task, episodes.observation, episodes.action, following)
  ended = ended_by_family(family, in_task, following)
  count, stops = len(following), np.cumsum(episodes.episode_length, dtype=np.int64)
  starts = stops - episodes.episode_length
  first_ended = np.minimum.reduceat(np.where(ended, np.arange(count), count), starts)  # `count` or more where none is
  last = np.minimum(first_ended, stops - 1)
  rows = np.flatnonzero(np.arange(count) <= np.repeat(last, episodes.episode_length))
  length = (last - starts + 1).astype(np.int32)
  return Episodes(
    observation=episodes.observation[rows],
    action=episodes.action[rows],
    reward=reward[rows].astype(np.float32),
    episode_length=length,
    final_observation=following[last],
    terminal=ended[last],
    collected_at=np.cumsum(length, dtype=np.int64) - length,
  )


def tasks_to_relabel(manifest: Manifest, family: TaskFamily, indices: Sequence[int]) -> Task:
  """The tasks `[T, ...]`. Raises `DatasetError` where rewards of another task cannot be recomputed."""
  name = f"family {family.name!r}"
  if family.differ_in != "rewards":
    raise DatasetError(f"{name}: its tasks differ in their physics; an episode of one task is none of another")
  if family.state_of is None:
    raise DatasetError(f"{name}: it has no state_of, by which rewards of recorded rows are recomputed")
  if len(indices) < 2:
    raise DatasetError("expected two tasks or more, got one: there are no other tasks")
  return tasks_of(manifest, family, indices)


def _sources(num_tasks: int, count: int) -> list[dict[int, int]]:
  """For each task, how many episodes it gets from which others: as evenly as `count` allows, never from itself."""
  offsets = 1 + np.random.default_rng(SEED).permutation(num_tasks - 1)
  uses = np.bincount(np.resize(offsets, count), minlength=num_tasks)
  return [
    {(task + int(offset)) % num_tasks: int(uses[offset]) for offset in np.flatnonzero(uses)}
    for task in range(num_tasks)
  ]


def _some(episodes: Episodes, task: int, count: int) -> Episodes:
  """Episodes whose end is known, evenly spaced over the data of a task. Raises `DatasetError` if there are too few."""
  known = np.flatnonzero(has_known_end(episodes))
  if len(known) < count:
    raise DatasetError(f"task {task}: expected {count} episodes or more to give to another task, got {len(known)}")
  return thin_episodes(take_episodes(episodes, known), count)
