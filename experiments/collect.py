"""Collects the dataset of a task family.

  python -m experiments.collect --config=configs/collect/cheetah_dir.py [--config.seed=1 ...]

One agent learns all tasks of the family on native MuJoCo, and the whole of its experience is the dataset
(`macaw_jax.collection.collect`). Ends with a table of the returns of a random policy and of the final agent, which the
manifest keeps as scores 0 and 100. The dataset appears under its name when it is complete, and never replaces another.
"""

import dataclasses
import datetime
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from macaw_jax import envs
from macaw_jax.algorithms.settings import suggestion
from macaw_jax.collection.collect import Collection, CollectSettings, Progress, collect, examine_settings
from macaw_jax.console import log
from macaw_jax.data.dataset import write_dataset
from macaw_jax.data.episodes import thin_episodes
from macaw_jax.data.manifest import Manifest, TaskEntry
from macaw_jax.envs.family import TaskFamily
from macaw_jax.errors import ConfigurationError
from macaw_jax.training.provenance import git_commit, package_versions
from macaw_jax.training.results import draw_episode

from .command_line import launch_with_config
from .recorded import other_policies_directory

SECONDS_BETWEEN_LINES = 10.0
MOST_TASKS_ON_A_LINE = 4
MOST_PICTURES = 50  # of the GIF


@dataclasses.dataclass(frozen=True)
class Request:
  """What a run is asked for.

  Attributes:
    family: name of the task family.
    directory: where the dataset will be; must not exist.
    starter_directory: where a small dataset of the same run will be; empty for none.
    starter_episodes: episodes per task of the small dataset, evenly spaced over the run.
    picture: where a GIF of the final agent in the first test task will be; empty for none.
  """

  family: str
  directory: str
  starter_directory: str
  starter_episodes: int
  picture: str


def read_config(config: ConfigDict) -> tuple[Request, TaskFamily, CollectSettings]:
  """The config as checked values.

  Raises:
    ConfigurationError: with all that is wrong, one line each: a field is unknown, missing or of a wrong type, a
      directory cannot be made; where every field is of its type, one is out of its range.
  """
  fields, problems = _typed_fields(config.to_dict())
  problems += _directory_problems(fields)
  try:
    family = envs.make(fields.get("family", next(iter(envs.FAMILIES))))
  except ValueError as error:
    problems.append(str(error))
  if problems:
    raise ConfigurationError(*problems)
  request = Request(**{field.name: fields[field.name] for field in dataclasses.fields(Request)})
  settings = CollectSettings(**{field.name: fields[field.name] for field in dataclasses.fields(CollectSettings)})
  problems = examine_settings(settings, family)
  if request.starter_directory and not 1 <= request.starter_episodes <= settings.episodes_per_task:
    problems.append(
      f"starter_episodes is {request.starter_episodes}; expected 1 to episodes_per_task, {settings.episodes_per_task}"
    )
  if problems:
    raise ConfigurationError(*problems)
  return request, family, settings


def _typed_fields(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
  """The fields that can be used, each as its type, and what is wrong with the others."""
  expected = {field.name: field.type for kind in (Request, CollectSettings) for field in dataclasses.fields(kind)}
  fields: dict[str, Any] = {}
  problems = [
    f"config field {name!r} is unknown; {suggestion(name, expected, 'config')}"
    for name in values
    if name not in expected
  ]
  for name, kind in expected.items():
    if name not in values:
      problems.append(f"config field {name!r} is missing; expected {_describe(kind)}")
      continue
    value = _typed(values[name], kind)
    if value is None:
      problems.append(f"config field {name!r} is {values[name]!r}; expected {_describe(kind)}")
    else:
      fields[name] = value
  return fields, problems


def _directory_problems(fields: Mapping[str, Any]) -> Iterator[str]:
  """Directories that cannot be made; of the fields, some may be absent."""
  directory, starter = fields.get("directory"), fields.get("starter_directory")
  if directory == "":
    yield "directory is empty; expected where the dataset will be"
  elif directory and starter and Path(starter) == Path(directory):
    yield f"starter_directory and directory are both {directory!r}; expected two"
  other_policies = other_policies_directory(directory) if directory and fields.get("other_policy_episodes") else ""
  for wanted in filter(None, dict.fromkeys((directory, starter, other_policies))):
    if os.path.lexists(wanted):
      yield f"{wanted} exists already; a dataset is never overwritten. Remove it or name another."


def _is_int(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _typed(value: Any, kind: Any) -> Any:
  """The value as `int`, `float`, `str` or `tuple[int, ...]`; None if it is none."""
  if kind is int and _is_int(value):
    return value
  if kind is float and (_is_int(value) or isinstance(value, float)):
    return float(value)
  if kind is str and isinstance(value, str):
    return value
  if kind == tuple[int, ...] and isinstance(value, tuple | list) and all(map(_is_int, value)):
    return tuple(value)
  return None


def _describe(kind: Any) -> str:
  return kind.__name__ if isinstance(kind, type) else str(kind)


def make_manifest(
  family: TaskFamily, settings: CollectSettings, collection: Collection, commit: str | None
) -> Manifest:
  """What the dataset says of itself."""
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


def _clock(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  return f"{minutes}:{seconds:02d}"


def _returns_text(returns: np.ndarray) -> str:
  if len(returns) <= MOST_TASKS_ON_A_LINE:
    return " ".join(f"{value:.1f}" for value in returns)
  return f"mean {returns.mean():.1f} (min {returns.min():.1f}, max {returns.max():.1f})"


def table(collection: Collection) -> str:
  """Random and expert return of each task, and their means."""
  rows = [("task", "random", "expert")]
  rows += [
    (str(index), f"{random:.1f}", f"{expert:.1f}")
    for index, (random, expert) in enumerate(zip(collection.random_returns, collection.expert_returns, strict=True))
  ]
  rows.append(("mean", f"{collection.random_returns.mean():.1f}", f"{collection.expert_returns.mean():.1f}"))
  return "\n".join(f"{task:>5} {random:>9} {expert:>9}" for task, random, expert in rows)


def run(request: Request, family: TaskFamily, settings: CollectSettings) -> None:
  """Collects, writes what was asked for and prints the table."""
  commit = git_commit()  # of the code that runs, which the repository may leave behind meanwhile
  collection = collect(family, settings, report=make_report())
  manifest = make_manifest(family, settings, collection, commit)
  write_dataset(request.directory, collection.episodes, manifest)
  log(f"wrote {request.directory}: {settings.episodes_per_task} episodes per task")
  if request.starter_directory:
    thinned = [thin_episodes(episodes, request.starter_episodes) for episodes in collection.episodes]
    kept = {"episodes_kept_per_task": request.starter_episodes}
    write_dataset(
      request.starter_directory, thinned, dataclasses.replace(manifest, behaviour={**manifest.behaviour, **kept})
    )
    log(f"wrote {request.starter_directory}: {request.starter_episodes} of them, evenly spaced")
  if collection.other_policies:
    directory = other_policies_directory(request.directory)
    agent = {"agent": "the final agent of the collection, acting for other tasks of the family than the one it is in"}
    write_dataset(
      directory,
      collection.other_policies,
      dataclasses.replace(manifest, behaviour={**manifest.behaviour, **agent}),
    )
    log(f"wrote {directory}: {settings.other_policy_episodes} episodes per task")
  if request.picture:
    draw(family, collection, request.picture)
  log(table(collection))


def draw(family: TaskFamily, collection: Collection, path: str) -> None:
  """Draws the final agent's episode in the first test task."""
  index = family.test_tasks[0]
  states, task = jax.tree.map(lambda leaf: leaf[index], (collection.expert_states, family.tasks))
  stride = max(1, family.horizon // MOST_PICTURES)
  draw_episode(family, states, task, Path(path), width=240, height=135, stride=stride)


def main(config: ConfigDict) -> None:
  """Collects what a configuration says."""
  # Matrices of this size are multiplied faster by one thread than by several: a third less time on two cores. JAX
  # reads the flag when it starts its first computation, so it can still be set here.
  os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen=false {os.environ.get('XLA_FLAGS', '')}"
  run(*read_config(config))


def start() -> None:
  """Starts the command."""
  launch_with_config(main, read_config)


if __name__ == "__main__":
  start()
