"""Agents that adapt to recorded rows which explain a support: `adaptation.retrieval` from recorded data."""

from typing import NamedTuple

from macaw_jax.adaptation.retrieval import retrieving
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.retrieval import Draw, Reference, by_outcomes, empty_reference, make_reference
from macaw_jax.data.reward_model import READ
from macaw_jax.types import Algorithm, Key, Problem


class RetrievalSettings(NamedTuple):
  """How rows are retrieved; a run keeps these values."""

  differ_in: str  # by what tasks are told apart, "rewards" or "physics", as `TaskFamily.differ_in`
  rows: int = 1_024  # that the agent adapts to
  rows_per_task: int = 1_000  # of each training task, that the agent keeps for it
  draw: Draw = "mean"  # of the posterior of the task; or "sample"


def with_retrieval(algorithm: Algorithm, problem: Problem, settings: RetrievalSettings) -> Algorithm:
  """The algorithm, adapting to retrieved rows; its parameters begin with an empty reference.

  `add_reference(params, fit_reference(...))` gives them one. Raises ValueError for an algorithm that reads consecutive
  rows.
  """
  read = READ[settings.differ_in]
  reference = empty_reference(problem, read, rows_per_task=settings.rows_per_task)
  return retrieving(algorithm, reference, *by_outcomes(read, rows=settings.rows, draw=settings.draw))


def fit_reference(dataset: Dataset, settings: RetrievalSettings, key: Key) -> Reference:
  """The reference of training tasks, scaled as the agent sees them; takes seconds. Raises as `make_reference`."""
  return make_reference(dataset, READ[settings.differ_in], key, rows_per_task=settings.rows_per_task)
