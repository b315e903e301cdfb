"""Collects the dataset of a task family.

  python -m experiments.collect --config=configs/collect/cheetah_dir.py [--config.seed=1 ...]

One agent learns all tasks of the family on native MuJoCo, and the whole of its experience is the dataset
(`macaw_jax.collection.collect`). Ends with a table of the returns of a random policy and of the final agent, which the
manifest keeps as scores 0 and 100. The dataset appears under its name when it is complete, and never replaces another.
"""

import argparse
import dataclasses
import datetime
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from macaw_jax import envs
from macaw_jax.collection.collect import Collection, CollectSettings, Progress, collect, examine_settings
from macaw_jax.console import log
from macaw_jax.data.dataset import Episodes, write_episodes
from macaw_jax.data.episodes import thin_episodes
from macaw_jax.data.manifest import Manifest, TaskEntry
from macaw_jax.data.references import COLLECTED, scale_faults, scale_text
from macaw_jax.data.relabel import OTHER_POLICIES, other_policies_directory
from macaw_jax.envs.family import TaskFamily
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.tables import plain_table
from macaw_jax.training.provenance import git_commit, package_versions
from macaw_jax.training.results import draw_episode

from .command_line import Parser, add_config, given_config, launch, make_parser
from .configuration import FAMILY, INTEGERS, Field, field_faults

SECONDS_BETWEEN_LINES = 10.0
MOST_TASKS_ON_A_LINE = 4
MOST_PICTURES = 50  # of the GIF


class Request(NamedTuple):
  """The files that a collection writes."""

  family: str
  directory: str  # of the dataset; must not exist
  starter_directory: str  # of a small dataset of the same run; empty for none
  starter_episodes: int  # of each task in the small dataset, evenly spaced over the run
  picture: str  # a GIF of the final agent in the first test task; empty for none


# Ranges are those of `examine_settings`, which knows the family.
TYPES = {
  int: Field(int, lambda value: True, "an integer"),
  float: Field(float, lambda value: True, "a number"),
  str: Field(str, lambda value: True, "text"),
  tuple[int, ...]: INTEGERS,
}
FIELDS = {name: TYPES[kind] for name, kind in (Request.__annotations__ | CollectSettings.__annotations__).items()}
FIELDS |= {"family": FAMILY, "directory": Field(str, bool, "where the dataset will be")}


def read_config(config: ConfigDict) -> tuple[Request, TaskFamily, CollectSettings]:
  """The configuration as checked values.

  Raises:
    ConfigurationError: with all that is wrong, one line each: a field is unknown, missing or of a wrong type, a
      directory cannot be made; where every field is of its type, the family cannot be made, or one is out of its range.
  """
  values: dict[str, Any] = {
    name: tuple(value) if isinstance(value, list) else value for name, value in config.to_dict().items()
  }
  faults = field_faults(values, FIELDS)
  right = {name: value for name, value in values.items() if name not in faults}
  if problems := [*faults.values(), *_directory_problems(right)]:
    raise ConfigurationError(*problems)
  request = Request(**{name: values[name] for name in Request._fields})
  settings = CollectSettings(**{name: values[name] for name in CollectSettings.__annotations__})
  try:
    family = envs.make(request.family)
  except ConfigurationError as error:
    raise ConfigurationError(*(f"config.family: {problem}" for problem in error.problems)) from error
  problems = examine_settings(settings, family)
  if request.starter_directory and not 1 <= request.starter_episodes <= settings.episodes_per_task:
    problems.append(
      f"starter_episodes is {request.starter_episodes}; expected 1 to episodes_per_task, {settings.episodes_per_task}"
    )
  if problems:
    raise ConfigurationError(*problems)
  return request, family, settings


def _directory_problems(fields: Mapping[str, Any]) -> Iterator[str]:
  """Directories that cannot be made; of the fields, some may be absent."""
  directory, starter = fields.get("directory"), fields.get("starter_directory")
  if directory and starter and Path(starter) == Path(directory):
    yield f"starter_directory and directory are both {directory!r}; expected two"
  others = OTHER_POLICIES if directory and fields.get("other_policy_episodes") else ()
  beside = [other_policies_directory(directory or "", name) for name in others]
  for wanted in filter(None, dict.fromkeys((directory, starter, *beside))):
    if os.path.lexists(wanted):
      yield f"{wanted} exists already; a dataset is never overwritten. Remove it or name another."


def make_manifest(
  family: TaskFamily, settings: CollectSettings, collection: Collection, commit: str | None
) -> Manifest:
  """The manifest of the dataset."""
  tasks = [
    TaskEntry(
      parameters={name: np.asarray(values[index]).tolist() for name, values in family.tasks.items()},
      reference_returns={"random": float(random), "expert": float(expert)},
    )
    for index, (random, expert) in enumerate(zip(collection.random_returns, collection.expert_returns, strict=True))
  ]
  return Manifest(
    family=family.name,
    observation_size=family.observation_size,
    action_size=family.action_size,
    horizon=family.horizon,
    discount=settings.discount,
    seed=settings.seed,
    train_tasks=family.train_tasks,
    test_tasks=family.test_tasks,
    tasks_shared_by_splits=bool(set(family.train_tasks) & set(family.test_tasks)),
    tasks=tuple(tasks),
    references=COLLECTED,
    behaviour={
      "agent": "task-conditioned soft actor-critic, its whole experience",
      "environment_steps": collection.environment_steps,
      "updates": collection.updates,
      "settings": dataclasses.asdict(settings),
    },
    versions=package_versions(),
    git_commit=commit,
    created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
  )


def make_report() -> Callable[[Progress], None]:
  """A function that prints a line about the collection: on its first round, its last, and now and then between."""
  start = time.monotonic()
  last_line = -math.inf

  def report(progress: Progress) -> None:
    nonlocal last_line
    now = time.monotonic()
    if now - last_line < SECONDS_BETWEEN_LINES and progress.rounds < progress.total_rounds:
      return
    last_line = now
    elapsed = now - start
    left = elapsed * (progress.total_rounds - progress.rounds) / progress.rounds
    log(
      f"[{_clock(elapsed)}, {_clock(left)} left]  steps {progress.environment_steps:,}"
      f" ({progress.environment_steps / elapsed:,.0f}/s)  updates {progress.updates:,}"
      f"  return {_returns_text(progress.last_returns)}  temperature {progress.metrics['temperature']:.3g}"
    )

  return report


def _clock(seconds: float) -> datetime.timedelta:
  return datetime.timedelta(seconds=round(seconds))


def _returns_text(returns: np.ndarray) -> str:
  if len(returns) <= MOST_TASKS_ON_A_LINE:
    return " ".join(f"{value:.1f}" for value in returns)
  return f"mean {returns.mean():.1f} (min {returns.min():.1f}, max {returns.max():.1f})"


def table(collection: Collection) -> str:
  """Random and expert return of each task, and their means."""
  returns = (collection.random_returns, collection.expert_returns)
  named = [*enumerate(zip(*returns, strict=True)), ("mean", [each.mean() for each in returns])]
  rows = [[str(task), *(f"{value:.1f}" for value in values)] for task, values in named]
  return plain_table(("task", "random", "expert"), rows)


def run(request: Request, family: TaskFamily, settings: CollectSettings) -> None:
  """Collects, writes what was asked for and prints the table."""
  commit = git_commit()  # of the code that runs, which the repository may leave behind meanwhile
  collection = collect(family, settings, report=make_report())
  manifest = make_manifest(family, settings, collection, commit)

  def write(directory: str, episodes: list[Episodes], text: str, **behaviour: Any) -> None:
    write_episodes(directory, episodes, dataclasses.replace(manifest, behaviour={**manifest.behaviour, **behaviour}))
    log(f"wrote {directory}: {text}")

  write(request.directory, collection.episodes, f"{settings.episodes_per_task} episodes per task")
  if request.starter_directory:
    count = request.starter_episodes
    thinned = [thin_episodes(episodes, count) for episodes in collection.episodes]
    write(request.starter_directory, thinned, f"{count} of them, evenly spaced", episodes_kept_per_task=count)
  for name, episodes in collection.other_policies.items():
    write(
      other_policies_directory(request.directory, name),
      episodes,
      f"{settings.other_policy_episodes} episodes per task",
      agent="the agent of the collection, acting for other tasks of the family than the one it is in",
      learned=OTHER_POLICIES[name],
    )
  if request.picture:
    draw(family, collection, request.picture)
  log(f"{table(collection)}\n{scale_text(manifest.references)}")
  for fault in scale_faults([entry.reference_returns for entry in manifest.tasks]):
    log(f"WARNING: {fault}")


def draw(family: TaskFamily, collection: Collection, path: str) -> None:
  """Draws the final agent's episode in the first test task."""
  index = family.test_tasks[0]
  states, task = jax.tree.map(lambda leaf: leaf[index], (collection.expert_states, family.tasks))
  stride = max(1, family.horizon // MOST_PICTURES)
  draw_episode(family, states, task, Path(path), width=240, height=135, stride=stride)


def parser() -> Parser:
  """The flags of the command."""
  flags = make_parser("collect", __doc__)
  add_config(flags)
  return flags


def main(given: argparse.Namespace) -> None:
  """Collects as a configuration says."""
  # Matrices of this size are multiplied faster by one thread than by several: a third less time on two cores. JAX
  # reads the flag when it starts its first computation, so it can still be set here.
  os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen=false {os.environ.get('XLA_FLAGS', '')}"
  run(*read_config(given_config(given, read_config)))


def start() -> None:
  """Starts the command."""
  launch(main, parser())


if __name__ == "__main__":
  start()
