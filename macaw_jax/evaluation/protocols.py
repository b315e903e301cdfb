"""Evaluation protocols: from which data a test task is learned, and how the agent is scored.

`offline` is the protocol of MACAW (Mitchell et al. 2021, section 5): a random batch of the test task's own data,
adaptation on it, and a deterministic episode before and after. Here it is repeated, every episode with a batch of its
own: what an agent is worth depends on the batch as much as on the start, and one batch says little.
`offline_other_policy` is the same with a batch that was acted in the test task for other tasks: an agent that reads
the behaviour policy in place of the task is found out. `offline_random_policy` takes the batch from uniformly random
actions (`macaw_jax.evaluation.random_policy`), and in `online` the agent collects its own
(`macaw_jax.evaluation.online`). Every row of a result names its protocol, so that numbers of different protocols are
not compared unseen.

Before adaptation acts `Algorithm.prior`, drawn for each episode.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.data.dataset import Dataset
from macaw_jax.data.manifest import DatasetError, Manifest
from macaw_jax.data.sampling import gather, random_slice, random_subset
from macaw_jax.data.scores import normalised_score
from macaw_jax.data.statistics import Statistics, normalise_observation
from macaw_jax.envs.family import State, Task, TaskFamily
from macaw_jax.envs.rollout import Act, Engine, Trajectory, episode_return, make_rollout
from macaw_jax.types import Algorithm, Array, Key, Params, TimeStep

# By whose episodes an agent adapts to: those acted for the task itself, for others, at random, or by the agent.
PROTOCOLS = {
  "own": "offline",
  "other_policies": "offline_other_policy",
  "random": "offline_random_policy",
  "online": "online",
}
RECORDED = ("own", "other_policies")  # episodes that are read from data

Row = dict[str, Any]


class Evaluation(NamedTuple):
  """Undiscounted returns of E episodes on each of T tasks, and what the adapted agent's episodes look like."""

  before: np.ndarray  # [T, E]  the agent without adaptation
  after: np.ndarray  # [T, E]
  states: State  # leaves [T, H + 1, ...]  of the first episode after adaptation
  by_episodes: np.ndarray | None = None  # [T, E, K + 1]  after k episodes of its own; `online` alone


class OfflineProtocol(Protocol):
  """Evaluates parameters on the tasks of one dataset."""

  def __call__(self, params: Params, dataset: Dataset, tasks: Task, key: Key) -> Evaluation:
    """Episodes before and after adaptation.

    Args:
      params: of the algorithm.
      dataset: the tasks' data, scaled by the statistics of the run.
      tasks: the family's tasks with the same leading axis `[T]`.
      key: decides supports and starts. Episode e of a task starts in the same state before and after.
    """


def act_on_raw_timesteps(act: Act, statistics: Statistics) -> Act:
  """`act` for time steps as an environment gives them: scales observation and reward as the run's data were."""

  def scaled(
    params: Params, task: dict[str, Params], timestep: TimeStep, key: Key | None
  ) -> tuple[Array, dict[str, Params]]:
    timestep = timestep._replace(
      observation=normalise_observation(statistics, timestep.observation),
      reward=timestep.reward / statistics.return_scale,
    )
    return act(params, task, timestep, key)

  return scaled


# How the rows of a support are drawn; TD(lambda) needs consecutive ones.
SUPPORT_ORDERS = {"uniform": random_subset, "contiguous": random_slice}


def make_adapt(
  algorithm: Algorithm, support_size: int, num_supports: int, order: str = "uniform"
) -> Callable[[Params, Dataset, Key], dict[str, Params]]:
  """Adaptation to every task of a dataset on random supports: `(params, dataset, key) -> adapted [T * S, ...]`.

  The `num_supports` S adaptations to a task stand side by side. `order` is a name in `SUPPORT_ORDERS`.

  Raises, when called:
    ValueError: a task has fewer than `support_size` transitions.
  """

  @jax.jit
  def adapt(params: Params, dataset: Dataset, key: Key) -> dict[str, Params]:
    def one(task_index: Array, key: Key) -> dict[str, Params]:
      key_rows, key_adapt = jax.random.split(key)
      rows = SUPPORT_ORDERS[order](key_rows, dataset.size[task_index], support_size)
      return algorithm.adapt(params, gather(dataset, task_index, rows), key_adapt)

    task_index = jnp.repeat(jnp.arange(dataset.size.shape[0]), num_supports)
    return jax.vmap(one)(task_index, jax.random.split(key, len(task_index)))

  def checked(params: Params, dataset: Dataset, key: Key) -> dict[str, Params]:
    smallest = int(np.min(dataset.size))
    if smallest < support_size:
      raise ValueError(f"a support of {support_size} transitions a task; the smallest task has {smallest}")
    return adapt(params, dataset, key)

  return checked


def make_draw_priors(algorithm: Algorithm) -> Callable[[Params, Key], dict[str, Params]]:
  """What stands in for adaptation before there are data: `(params, keys [N]) -> tasks [N, ...]`, one an episode."""
  return jax.jit(jax.vmap(algorithm.prior, in_axes=(None, 0)))


def make_offline_protocol(
  algorithm: Algorithm,
  family: TaskFamily,
  statistics: Statistics,
  *,
  support_size: int,
  num_episodes: int,
  order: str = "uniform",
  engine: Engine = "native",
) -> OfflineProtocol:
  """The protocols `offline...`, by the data they are given; all is compiled once for each number of tasks.

  Args:
    algorithm: adapts and acts on scaled data.
    family: where episodes are run.
    statistics: of the run's training data.
    support_size: transitions of each task that an adaptation sees.
    num_episodes: deterministic episodes of each task, before adaptation and after, each after one of its own.
    order: how the rows of a support are drawn, a name in `SUPPORT_ORDERS`.
    engine: that steps MuJoCo bodies, as in `make_rollout`.
  """
  adapt = make_adapt(algorithm, support_size, num_episodes, order)
  draw_priors = make_draw_priors(algorithm)
  rollout = make_rollout(family, act_on_raw_timesteps(algorithm.act, statistics), engine)

  def evaluate(params: Params, dataset: Dataset, tasks: Task, key: Key) -> Evaluation:
    num_tasks = dataset.size.shape[0]
    chex.assert_tree_shape_prefix(tasks, (num_tasks,))
    key_adapt, key_episodes = jax.random.split(key)
    key_prior = jax.random.fold_in(key, 2)  # so that the keys above stay what they were

    tasks = jax.tree.map(lambda leaf: jnp.repeat(leaf, num_episodes, axis=0), tasks)  # [T * E, ...]

    def episodes(adapted: dict[str, Params]) -> Trajectory:
      # The same key before and after: both meet the same starts, so that their difference is adaptation.
      return rollout(params, adapted, tasks, key_episodes)

    def returns(trajectory: Trajectory) -> np.ndarray:
      return np.asarray(episode_return(trajectory), np.float64).reshape(num_tasks, num_episodes)

    after = episodes(adapt(params, dataset, key_adapt))
    return Evaluation(
      before=returns(episodes(draw_priors(params, jax.random.split(key_prior, num_tasks * num_episodes)))),
      after=returns(after),
      states=jax.tree.map(lambda leaf: np.asarray(leaf[::num_episodes]), after.state),
    )

  return evaluate


def tasks_of(manifest: Manifest, family: TaskFamily, indices: Sequence[int]) -> Task:
  """The tasks `[T, ...]` of a family whose parameters a manifest states.

  Raises:
    DatasetError: a task's parameters are not those of the family.
  """
  tasks: dict[str, list[Any]] = {name: [] for name in family.tasks}
  for index in indices:
    parameters = manifest.tasks[index].parameters
    for name, values in family.tasks.items():
      expected = np.shape(values)[1:]
      if parameters.keys() != family.tasks.keys() or np.shape(parameters[name]) != expected:
        raise DatasetError(
          f"the manifest's task {index} has the parameters {dict(parameters)}; family {family.name!r} expects "
          f"{ {name: np.shape(values)[1:] for name, values in family.tasks.items()} } (name and shape)"
        )
      tasks[name].append(parameters[name])
  return {name: np.asarray(tasks[name], np.asarray(values).dtype) for name, values in family.tasks.items()}


def result_rows(
  evaluation: Evaluation, manifest: Manifest, indices: Sequence[int], split: str, support_size: int, protocol: str
) -> list[Row]:
  """One row of plain numbers a task; `std` is that over episodes.

  With `by_episodes` come two lists of K + 1 means over repetitions: `returns_by_episodes` and `scores_by_episodes`.

  Args:
    evaluation: of the tasks `indices`, in that order.
    manifest: names the tasks' parameters and reference returns.
    indices: of tasks in the manifest.
    split: "test" or "train".
    support_size: transitions that adaptation saw.
    protocol: its name, of `PROTOCOLS`.
  """
  rows: list[Row] = []
  for task, index in enumerate(indices):
    entry = manifest.tasks[index]
    returns = returns_of_task(evaluation, task)
    random, expert = entry.reference_returns["random"], entry.reference_returns["expert"]
    rows.append(
      {
        "protocol": protocol,
        "split": split,
        "task_index": int(index),
        "task": dict(entry.parameters),
        "support_size": support_size,
        **returns,
        "score_before": float(normalised_score(returns["return_before"], random, expert)),
        "score_after": float(normalised_score(returns["return_after"], random, expert)),
      }
    )
    if evaluation.by_episodes is not None:
      rows[-1]["scores_by_episodes"] = normalised_score(returns["returns_by_episodes"], random, expert).tolist()
  return rows


def returns_of_task(evaluation: Evaluation, position: int) -> Row:
  """The part of a row that is of returns alone: means and `std` over the episodes of one task."""
  before, after = evaluation.before[position], evaluation.after[position]
  row: Row = {
    "episodes": len(before),
    "return_before": float(np.mean(before)),
    "return_before_std": float(np.std(before)),
    "return_after": float(np.mean(after)),
    "return_after_std": float(np.std(after)),
  }
  if evaluation.by_episodes is not None:
    row["returns_by_episodes"] = evaluation.by_episodes[position].mean(axis=0).tolist()  # [K + 1]
  return row


def mean_row(rows: Sequence[Row]) -> dict[str, float]:
  """Means over tasks of the returns and, where rows have them, scores of `result_rows`."""
  names = ("return_before", "return_after", "score_before", "score_after")
  return {name: float(np.mean([row[name] for row in rows])) for name in names if name in rows[0]}
