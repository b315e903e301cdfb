"""From a script: load data, train an algorithm with checkpoints, evaluate it. All of it is made of the parts below."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax

from macaw_jax import envs
from macaw_jax.adaptation.retrieval import add_reference
from macaw_jax.agent import Agent, load_run
from macaw_jax.data.dataset import load_dataset
from macaw_jax.data.manifest import DatasetError, Manifest, read_manifest
from macaw_jax.data.statistics import normalise_dataset
from macaw_jax.data.tasks import problem_of
from macaw_jax.envs.family import TaskFamily
from macaw_jax.evaluation.evaluate import Evaluate, Split, offline, recorded_split
from macaw_jax.evaluation.rows import Row
from macaw_jax.retrieval import RetrievalSettings, fit_reference, with_retrieval
from macaw_jax.sources.source import Source
from macaw_jax.training.run import Member, Run, Schedule
from macaw_jax.training.session import train_run
from macaw_jax.types import Algorithm, Problem


class Recorded(NamedTuple):
  """A dataset with the family that it belongs to."""

  family: TaskFamily
  manifest: Manifest
  train: Split
  test: Split

  @property
  def problem(self) -> Problem:
    """The sizes of the data, their discount and the length of their episodes."""
    return problem_of(self.manifest, self.family, len(self.train.indices))


def load_data(directory: str | Path) -> Recorded:
  """The training and test tasks of a dataset, with their data.

  Raises:
    DatasetError: the files are not as they should be, or the dataset is of no known family.
  """
  manifest = read_manifest(directory)
  try:
    family = envs.make(manifest.family)
  except ValueError as error:
    raise DatasetError(f"{directory}: {error}") from error
  splits = {
    name: recorded_split(manifest, family, name, indices, load_dataset(directory, tasks=indices))
    for name, indices in (("train", manifest.train_tasks), ("test", manifest.test_tasks))
  }
  return Recorded(family, manifest, **splits)


def train(
  algorithm: Algorithm,
  source: Source,
  problem: Problem,
  *,
  directory: str | Path,
  steps: int,
  seed: int = 0,
  evaluate: Evaluate | None = None,
  evaluate_every: int | None = None,
  checkpoint_every: int | None = None,
  steps_per_call: int = 100,
  **settings: Any,
) -> Agent:
  """Trains an algorithm, with checkpoints; the same call again continues from the newest one.

  Args:
    algorithm: of `macaw_jax.algorithms`, or one of your own.
    source: where batches come from.
    problem: sizes of the data, which the run keeps.
    directory: of the run.
    steps: updates.
    seed: of everything random.
    evaluate: of the agent, now and then, see `macaw_jax.evaluation.evaluate`.
    evaluate_every: updates between evaluations; `steps` if not given.
    checkpoint_every: updates between checkpoints; `steps` if not given.
    steps_per_call: updates in one compiled call; divides the three numbers above.
    **settings: values, as JSON has them, that the run records of itself, and must find unchanged when it continues.

  Returns:
    The trained agent.

  Raises:
    ConfigurationError: the directory belongs to another run, or a number is no multiple of `steps_per_call`.
    TrainingError: its numbers were not finite, or not all could be saved.
  """
  run = Run(
    algorithm=settings.get("algorithm", "custom"),
    make_algorithm=lambda: algorithm,
    source=source,
    members=[Member(Path(directory), seed, config={"seed": seed, "steps": steps, **settings})],
    schedule=Schedule(steps, steps_per_call, evaluate_every or steps, checkpoint_every or steps),
    evaluate=evaluate,
    agent={"problem": problem._asdict()},
    may_change=("steps",),
  )
  train_run(run)
  return load_run(directory, algorithm)


def retrieving_agent(agent: Agent, data: Recorded, *, seed: int = 0, **settings: Any) -> Agent:
  """The agent, adapting to recorded rows of the training tasks that explain a support, whoever collected it.

  Nothing is trained but a model of what the training tasks pay, which takes seconds. docs/context_shift.md says why.

  Args:
    agent: that has been trained on the data.
    data: whose training tasks' rows are retrieved.
    seed: decides the fit of the model, and which rows are kept.
    **settings: of `macaw_jax.retrieval.RetrievalSettings`.

  Raises:
    ValueError: there is one training task, or the algorithm reads consecutive rows.
  """
  assert data.train.data is not None
  chosen = RetrievalSettings(data.family.differ_in, **settings)
  reference = fit_reference(normalise_dataset(agent.statistics, data.train.data), chosen, jax.random.key(seed))
  return dataclasses.replace(
    agent,
    algorithm=with_retrieval(agent.algorithm, data.problem, chosen),
    params=add_reference(agent.params, reference),
  )


def evaluate(
  agent: Agent, data: Recorded, *, support_size: int = 256, episodes: int = 5, seed: int = 0, **options: Any
) -> list[Row]:
  """The returns and scores of an agent on the test tasks of a dataset, before and after adaptation to their own data.

  Args:
    agent: that has been trained.
    data: with the test tasks.
    support_size: transitions that an adaptation sees.
    episodes: of each task, before adaptation and after.
    seed: decides supports and starts.
    **options: of `macaw_jax.evaluation.evaluate.offline`.
  """
  run = offline(
    agent.algorithm, data.family, [data.test], support="own", support_size=support_size, episodes=episodes, **options
  )
  return run(agent.params, agent.statistics, jax.random.key(seed)).rows
