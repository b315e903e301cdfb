"""An agent evaluated on splits of tasks by a protocol, as a run or a script calls it now and then."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from macaw_jax.data.dataset import Dataset
from macaw_jax.data.manifest import Manifest
from macaw_jax.data.statistics import Statistics, normalise_dataset
from macaw_jax.data.tasks import tasks_of
from macaw_jax.envs.family import State, Task, TaskFamily
from macaw_jax.envs.rollout import Engine
from macaw_jax.evaluation.fine_tuning import fine_tuning_stages, make_fine_tuning_protocol
from macaw_jax.evaluation.on_policy import make_on_policy_protocol, on_policy_stages
from macaw_jax.evaluation.online import NUM_EPISODES, OnlineProtocol, make_online_protocol, online_stages
from macaw_jax.evaluation.protocols import (
  PROTOCOLS,
  THEN_OWN_EPISODES,
  OfflineProtocol,
  make_offline_protocol,
  offline_stages,
)
from macaw_jax.evaluation.rows import Evaluation, Row, Stages, make_rows
from macaw_jax.types import Algorithm, Key, Params


class Split(NamedTuple):
  """Some tasks of a family, with what is recorded of them."""

  name: str  # "train" or "test"
  indices: tuple[int, ...]  # in the dataset, or in the family
  tasks: Task  # the family's tasks, leaves [T, ...]
  references: tuple[tuple[float, float], ...] | None = None  # returns of scores 0 and 100 in each task
  data: Dataset | None = None  # to adapt to, as recorded: nothing scaled
  scale: tuple[str, str] | None = None  # what the references are, in words


class Evaluated(NamedTuple):
  """The rows of an evaluation of one agent, and an episode to show."""

  rows: list[Row]
  episode: tuple[State, Task] | None = None  # an adapted one on the first task, where there is one


Evaluate = Callable[[Params, Statistics, Key], Evaluated]
"""`(params, statistics, key) -> Evaluated`."""


def offline(
  algorithm: Algorithm,
  family: TaskFamily,
  splits: Sequence[Split],
  *,
  support: str,
  support_size: int,
  episodes: int,
  order: str = "uniform",
  engine: Engine = "native",
) -> Evaluate:
  """Adaptation to recorded rows of each task, then episodes: see `protocols.make_offline_protocol`.

  Args:
    algorithm: adapts and acts.
    family: where episodes are run.
    splits: with their data; the first one's first task gives the episode.
    support: whose episodes the data are, a name in `PROTOCOLS`.
    support_size: transitions that an adaptation sees.
    episodes: of each task, before adaptation and after.
    order: how the rows of a support are drawn, a name in `SUPPORT_ORDERS`.
    engine: that steps MuJoCo bodies.
  """
  protocol = make_offline_protocol(
    algorithm, family, support_size=support_size, num_episodes=episodes, order=order, engine=engine
  )
  return _on_data(splits, protocol, PROTOCOLS[support], offline_stages(support_size))


def fine_tuning(
  algorithm: Algorithm,
  family: TaskFamily,
  splits: Sequence[Split],
  *,
  support: str,
  support_size: int,
  discount: float,
  repetitions: int,
  own_episodes: int,
  engine: Engine = "native",
) -> Evaluate:
  """Adaptation to recorded rows, then learning from own episodes: see `fine_tuning.make_fine_tuning_protocol`.

  Args:
    algorithm: adapts, acts and goes on learning.
    family: where episodes are run.
    splits: with their data.
    support: whose episodes the data are, a name in `PROTOCOLS`.
    support_size: transitions that the adaptation sees.
    discount: gamma of the returns of own episodes.
    repetitions: independent ones of the whole protocol in each task.
    own_episodes: that the agent collects and learns from.
    engine: that steps MuJoCo bodies.
  """
  protocol = make_fine_tuning_protocol(
    algorithm,
    family,
    discount=discount,
    support_size=support_size,
    num_repetitions=repetitions,
    num_episodes=own_episodes,
    engine=engine,
  )
  stages = fine_tuning_stages(support_size, own_episodes)
  return _on_data(splits, protocol, f"{PROTOCOLS[support]}{THEN_OWN_EPISODES}", stages)


def _on_data(splits: Sequence[Split], protocol: OfflineProtocol, name: str, stages: Stages) -> Evaluate:
  """A protocol whose supports are recorded, on each split."""
  scaled: dict[str, Any] = {"statistics": None, "data": []}

  def data_of(statistics: Statistics) -> list[Dataset]:
    """The data of the splits, scaled; those of the last call again where a run's statistics are fixed."""
    if scaled["statistics"] is not statistics:
      data = [normalise_dataset(statistics, split.data) for split in splits if split.data is not None]
      scaled.update(statistics=statistics, data=data)
    return scaled["data"]

  def evaluate(params: Params, statistics: Statistics, key: Key) -> Evaluated:
    evaluations = [
      protocol(params, statistics, data, split.tasks, key)
      for split, data in zip(splits, data_of(statistics), strict=True)
    ]
    return _evaluated(splits, evaluations, name, stages)

  return evaluate


def online(
  algorithm: Algorithm,
  family: TaskFamily,
  splits: Sequence[Split],
  *,
  discount: float,
  repetitions: int,
  num_episodes: int = NUM_EPISODES,
  exploration_episodes: int = 1,
  engine: Engine = "native",
) -> Evaluate:
  """Episode after episode of the agent's own in each task: see `online.make_online_protocol`.

  Args:
    algorithm: adapts and acts.
    family: where episodes are run.
    splits: of tasks; what is recorded of them is not read.
    discount: gamma of the supports' Monte-Carlo returns.
    repetitions: independent ones of the whole protocol in each task.
    num_episodes: K, episodes of experience before the last score.
    exploration_episodes: episodes that the prior acts in; PEARL's k_exp.
    engine: that steps MuJoCo bodies.
  """
  protocol = make_online_protocol(
    algorithm,
    family,
    discount=discount,
    num_repetitions=repetitions,
    num_episodes=num_episodes,
    exploration_episodes=exploration_episodes,
    engine=engine,
  )

  return _on_each(splits, protocol, PROTOCOLS["online"], online_stages(algorithm, family.horizon, num_episodes))


def on_policy(
  algorithm: Algorithm,
  family: TaskFamily,
  splits: Sequence[Split],
  *,
  support_episodes: int,
  episodes: int,
  inner_steps: int = 1,
  horizon: int | None = None,
  engine: Engine = "native",
) -> Evaluate:
  """Stochastic episodes, adaptation to them, and fresh ones: see `on_policy.make_on_policy_protocol`.

  Args:
    algorithm: adapts and acts.
    family: where episodes are run.
    splits: of tasks.
    support_episodes: that each inner step sees.
    episodes: that count, before adaptation and after.
    inner_steps: of adaptation.
    horizon: steps of an episode that nothing ends sooner; the family's if not given.
    engine: that steps MuJoCo bodies.
  """
  protocol = make_on_policy_protocol(
    algorithm,
    family,
    support_episodes=support_episodes,
    num_episodes=episodes,
    adaptation_steps=inner_steps,
    horizon=horizon,
    engine=engine,
  )

  return _on_each(splits, protocol, PROTOCOLS["on_policy"], on_policy_stages(support_episodes, inner_steps))


def _on_each(splits: Sequence[Split], protocol: OnlineProtocol, name: str, stages: Stages) -> Evaluate:
  """A protocol whose support is the agent's own, on each split."""

  def evaluate(params: Params, statistics: Statistics, key: Key) -> Evaluated:
    evaluations = [protocol(params, statistics, split.tasks, key) for split in splits]
    return _evaluated(splits, evaluations, name, stages)

  return evaluate


def _evaluated(splits: Sequence[Split], evaluations: Sequence[Evaluation], protocol: str, stages: Stages) -> Evaluated:
  rows: list[Row] = []
  for split, evaluation in zip(splits, evaluations, strict=True):
    rows += make_rows(
      evaluation,
      stages,
      protocol=protocol,
      split=split.name,
      indices=split.indices,
      tasks=[
        {name: np.asarray(values)[index].tolist() for name, values in split.tasks.items()}
        for index in range(len(split.indices))
      ],
      references=split.references,
      scale=split.scale,
    )
  states = evaluations[0].states
  first = partial(jax.tree.map, lambda leaf: leaf[0])
  return Evaluated(rows, None if states is None else (first(states), first(splits[0].tasks)))


def recorded_split(
  manifest: Manifest, family: TaskFamily, name: str, indices: Sequence[int], data: Dataset | None
) -> Split:
  """Some tasks of a dataset, with the returns of reference that its manifest states.

  Raises:
    DatasetError: a task's parameters are not those of the family.
  """
  return with_references(Split(name, tuple(indices), tasks_of(manifest, family, indices), data=data), manifest)


def with_references(split: Split, manifest: Manifest) -> Split:
  """A split with the returns of scores 0 and 100 that a manifest states for its tasks, and what they are."""
  entries = [manifest.tasks[index].reference_returns for index in split.indices]
  references = tuple((entry["random"], entry["expert"]) for entry in entries)
  return split._replace(references=references, scale=(manifest.references["random"], manifest.references["expert"]))
