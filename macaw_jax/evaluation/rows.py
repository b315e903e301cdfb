"""The result of an evaluation, as arrays and as typed rows: one `Evaluation` and one `Row` for every protocol."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from macaw_jax.envs.family import State

OWN_EPISODES = "own episodes"  # the unit of stages of an agent that goes on learning after it has adapted


class Evaluation(NamedTuple):
  """Undiscounted returns of E episodes on each of T tasks, at K + 1 stages of adaptation; stage 0 is the prior."""

  returns: np.ndarray  # [T, E, K + 1]  float64
  states: State | None = None  # leaves [T, H + 1, ...], a first episode of each task at the last stage; None: not kept


class Stages(NamedTuple):
  """A protocol's stages as its rows state them, see `Row`."""

  support: int
  support_unit: str
  stages: tuple[int, ...] = (0, 1)
  stage_unit: str = "adaptations"


@dataclasses.dataclass(frozen=True)
class Row:
  """The returns of an agent in one task.

  Attributes:
    protocol: by which data the agent adapted, a name in `protocols.PROTOCOLS`.
    split: "test" or "train".
    task_index: of the task, in its dataset or its family.
    task: its parameters by name.
    support: data that the last stage adapted to, in `support_unit`.
    support_unit: "transitions" or "episodes".
    stages: what each stage had, in `stage_unit`, beginning with 0: `(0, 1)` is before and after adaptation.
    stage_unit: "adaptations", "episodes" of the agent's own that it adapts to, gradient "steps", or "own episodes" from
      which it goes on learning; then stage 0 has adapted already.
    episodes: E, from which means and deviations are taken at each stage.
    returns: mean undiscounted return at each stage.
    stds: standard deviation of the returns over episodes.
    scores: normalised returns at each stage; None where the returns of scores 0 and 100 are not known, or are equal, so
      that the task has no scale.
    references: the returns of scores 0 and 100; None where they are not known.
    scale: what those are, in words, `(0, 100)`; None where they are not known.

  Raises:
    ValueError: there is no stage, or not one number a stage; names the field.
  """

  protocol: str
  split: str
  task_index: int
  task: Mapping[str, Any]
  support: int
  support_unit: str
  stages: tuple[int, ...]
  stage_unit: str
  episodes: int
  returns: tuple[float, ...]
  stds: tuple[float, ...]
  scores: tuple[float, ...] | None = None
  references: tuple[float, ...] | None = None
  scale: tuple[str, ...] | None = None

  def __post_init__(self) -> None:
    if not self.stages:
      raise ValueError("stages: expected one or more")
    for name in ("returns", "stds", "scores"):
      if (values := getattr(self, name)) is not None and len(values) != len(self.stages):
        raise ValueError(f"{name}: expected {len(self.stages)} numbers, one a stage, found {len(values)}")
    for name in ("references", "scale"):
      if (pair := getattr(self, name)) is not None and len(pair) != 2:
        raise ValueError(f"{name}: expected two entries, of scores 0 and 100, found {len(pair)}")


def make_rows(
  evaluation: Evaluation,
  stages: Stages,
  *,
  protocol: str,
  split: str,
  indices: Sequence[int],
  tasks: Sequence[Mapping[str, Any]],
  references: Sequence[tuple[float, float]] | None = None,
  scale: tuple[str, str] | None = None,
) -> list[Row]:
  """One row a task.

  Args:
    evaluation: of the tasks, in their order.
    stages: of the protocol.
    protocol: see `Row`.
    split: see `Row`.
    indices: `task_index` of each task.
    tasks: parameters of each task.
    references: returns of scores 0 and 100 in each task; None without.
    scale: what those are, in words.

  Raises:
    ValueError: the evaluation has not as many tasks or stages as are named.
  """
  num_tasks, _, num_stages = evaluation.returns.shape
  if num_tasks != len(indices) or num_stages != len(stages.stages):
    raise ValueError(f"returns of shape {evaluation.returns.shape}: expected [{len(indices)}, E, {len(stages.stages)}]")
  rows = []
  for position, (index, parameters) in enumerate(zip(indices, tasks, strict=True)):
    returns = evaluation.returns[position]  # [E, K + 1]
    means = returns.mean(axis=0)
    pair = None if references is None else references[position]
    rows.append(
      Row(
        protocol=protocol,
        split=split,
        task_index=int(index),
        task=dict(parameters),
        episodes=len(returns),
        returns=tuple(means.tolist()),
        stds=tuple(returns.std(axis=0).tolist()),
        scores=None if pair is None or pair[0] == pair[1] else tuple(normalised_score(means, *pair).tolist()),
        references=pair,
        scale=None if pair is None else scale,
        **stages._asdict(),
      )
    )
  return rows


def normalised_score(returns: ArrayLike, random_return: ArrayLike, expert_return: ArrayLike) -> np.ndarray:
  """100 (return - random) / (expert - random), `[...]`: 0 at the random return, 100 at the expert's.

  NaN where the two are equal: such a task has no scale (a sparse reward that neither found).
  """
  span = np.subtract(expert_return, random_return)
  return 100.0 * np.subtract(returns, random_return) / np.where(span == 0.0, np.nan, span)
