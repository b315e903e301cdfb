"""Evaluates finished or running runs again: after other numbers of adaptation steps, and on other supports.

python -m experiments.evaluate runs/macaw-cheetah_dir-0
python -m experiments.evaluate runs/macaw-cheetah_dir-0 --steps=0,1,2,5 --episodes=20 --seed=1
python -m experiments.evaluate runs/macaw-cheetah_vel-0 --support=other_policies
python -m experiments.evaluate runs/macaw-cheetah_dir-0 --checkpoint=best
python -m experiments.evaluate runs/focal-point_robot-? --support=all --reuse --picture=shift.png
python -m experiments.evaluate runs/pearl-cheetah_dir-0 --support=all --dataset=starter_data/cheetah_dir

Without --steps an agent that takes adaptation steps is evaluated after 0, 1, 2, 5 of them and as many as it was trained
with. --support=all adapts to the tasks' own data, to those of other tasks' policies, to those of a random policy and to
the agent's own episodes, as far as there are such data; the table has a line for each configuration over its seeds.
--dataset names data of the family for a run that has none; scores need its returns of reference.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
from absl import flags

from macaw_jax.console import log
from macaw_jax.data.dataset import load_dataset
from macaw_jax.data.manifest import content_digest, read_manifest
from macaw_jax.data.relabel import other_policies_directory
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.comparison import group_runs
from macaw_jax.evaluation.context_shift import CONTEXT_SHIFT, shift_table
from macaw_jax.evaluation.evaluate import Split, offline, with_references
from macaw_jax.evaluation.pictures import plot_shift
from macaw_jax.evaluation.protocols import PROTOCOLS
from macaw_jax.evaluation.random_policy import random_policy_dataset
from macaw_jax.evaluation.results import FinishedRun, read_run, results_document
from macaw_jax.evaluation.rows import Row
from macaw_jax.evaluation.tables import results_table
from macaw_jax.json_files import flatten, read_json, write_json
from macaw_jax.training.run_directory import DATASET
from macaw_jax.training.trained import NEWEST, newest_checkpoint
from macaw_jax.types import Key

from .build import Trained, check_writable, evaluate_with, rebuild, saved_config
from .command_line import (
  check_picture,
  define_evaluation,
  define_picture,
  draw_if_wanted,
  launch_with_arguments,
  named_runs,
)
from .recorded import manifest_with

EPISODES, SEED = define_evaluation()
define_picture()
RUN = flags.DEFINE_string("run", None, "Directory of a run, as an argument is.")
STEPS = flags.DEFINE_list("steps", None, "Numbers of adaptation steps, as 0,1,2,5.")
SUPPORT = flags.DEFINE_string(
  "support", None, "Data to adapt to: own, other_policies, random, online, or all; those of the run if not given."
)
ENGINE = flags.DEFINE_string("engine", None, "Steps MuJoCo bodies: native, mjx; that of the run if not given.")
CHECKPOINT = flags.DEFINE_string(
  "checkpoint", NEWEST, "Which: newest, best (of the highest score on training tasks), or the number of an update."
)
DATA = flags.DEFINE_string("dataset", None, "Data of the family, for a run that has collected its own.")
REUSE = flags.DEFINE_bool("reuse", False, "With --support=all: take rows made from the same checkpoint and settings.")

OFFLINE = ("own", "other_policies", "random")
DEFAULT_STEPS = (0, 1, 2, 5)
EVALUATION = "evaluation_{protocol}.json"
STEPS_FIELDS = ("algorithm.adaptation_steps", "rollouts.inner_steps")  # that --steps changes, by the kind of run


class Request(NamedTuple):
  """The evaluation that a command line asks for, of every run."""

  steps: Sequence[str] | None = None
  support: str | None = None
  episodes: int | None = None
  seed: int = 0
  engine: str | None = None
  checkpoint: str = NEWEST
  dataset: str | None = None

  def config(self, directory: Path, support: str | None = None) -> ml_collections.ConfigDict:
    """The configuration of a run with what is asked for; raises `ConfigurationError`."""
    config = saved_config(
      directory,
      {
        "evaluation.support": support,
        "evaluation.engine": self.engine,
        "rollouts.engine": self.engine,
        "evaluation.episodes": self.episodes,
        "evaluation.train_tasks": 0,
      },
    )
    if support and "support" not in config.evaluation and support not in supports_of(config, self.dataset):
      raise ConfigurationError(
        f"{directory}: --support={support}: expected one of {', '.join(supports_of(config, self.dataset))} for "
        f"{config.algorithm.name}"
      )
    return config


def supports_of(config: ml_collections.ConfigDict, dataset: str | None) -> list[str]:
  """The supports that a run can be evaluated with, names in `PROTOCOLS`, as far as its kind is concerned."""
  if "rollouts" in config:
    return ["on_policy"]
  if "dataset" in config:
    return [*OFFLINE, "online"]
  return [*(OFFLINE if dataset else ("random",)), "online"]


def main(arguments: list[str]) -> None:
  """Evaluates the runs that the command line names."""
  check_picture()
  named = [*arguments, *([RUN.value] if RUN.value else [])]
  directories = named_runs(named, "evaluate runs/macaw-cheetah_dir-0")
  request = Request(STEPS.value, SUPPORT.value, EPISODES.value, SEED.value, ENGINE.value, CHECKPOINT.value, DATA.value)
  if request.support == "all":
    groups = group_runs(evaluate_shift(directories, request, reuse=REUSE.value))
    log(f"\n{shift_table(groups)}")
    draw_if_wanted(partial(plot_shift, groups))
    return
  for directory in directories:
    evaluate_run(directory, request)


def evaluate_run(directory: Path, request: Request) -> list[Row]:
  """Evaluates a checkpoint of a run, prints a table and writes `evaluation_<protocol>.json` into its directory.

  Raises:
    ConfigurationError: no such run, no such checkpoint, a damaged one, or an argument outside its range.
  """
  config = request.config(directory, request.support)
  support = request.support or config.evaluation.get("support", supports_of(config, request.dataset)[-1])
  path = directory / EVALUATION.format(protocol=PROTOCOLS[support])
  check_writable(path)
  of_run = {name: value for name, value in flatten(config.to_dict()).items() if name in STEPS_FIELDS}
  field, steps = next(iter(of_run.items()), ("", None))
  numbers = wanted_steps(request.steps, steps, directory, config)
  trained = rebuild(directory, config, request.checkpoint)
  log(f"checkpoint of update {trained.step}; {config.evaluation.episodes} episodes a task")
  key = jax.random.key(request.seed)
  if not numbers or support not in (config.evaluation.get("support"), "on_policy"):
    rows = rows_on(trained, support, request.dataset, key)
  else:
    rows = rows_after_steps(trained, field, [number for number in numbers if number > 0] or [of_run[field]], key)
  write_json(path, document_of(trained, rows) | {"evaluation_seed": request.seed})
  log(f"\n{results_table(rows)}\n")
  log(f"written to {path}")
  return rows


def wanted_steps(
  flag: Sequence[str] | None, trained: int | None, directory: Path, config: ml_collections.ConfigDict
) -> list[int]:
  """The numbers of steps to evaluate, in order, each once, with 0 among them; none where adaptation has no steps.

  Raises:
    ConfigurationError: an entry is no number of steps, or steps are asked of an agent that takes none.
  """
  if flag is None:
    return [] if trained is None else sorted({*DEFAULT_STEPS, trained})
  if trained is None:
    raise ConfigurationError(
      f"--steps={','.join(flag)}: {directory}: adaptation of {config.algorithm.name} has no number of steps"
    )
  if not flag or not all(text.strip().isdecimal() for text in flag):
    raise ConfigurationError(f"--steps={','.join(flag)}: expected numbers from 0 up, as 0,1,2,5")
  return sorted({0, *(int(text) for text in flag)})


def rows_after_steps(trained: Trained, field: str, after: Sequence[int], key: Key) -> list[Row]:
  """One row a test task: before adaptation, and after each of some numbers of steps; all meet the same starts.

  Each inner step of meta-training takes rows of its own, and so a support grows with their number; a fine-tuning step
  takes the whole support.
  """
  numbers = [0, *after]
  if field == "rollouts.inner_steps":  # The protocol stops at every number on its way.
    rows = evaluate_with(trained, {field: max(after)}, key).rows
    return [with_stages(row, numbers, [(row, row.stages.index(number)) for number in numbers]) for row in rows]
  size, parts, found = trained.config.evaluation.support_size, trained.algorithm.support_parts, []
  for number in after:
    log(f"  {number} {'step' if number == 1 else 'steps'} ...")
    needed = trained.make_algorithm(**{field.removeprefix("algorithm."): number}).support_parts
    changes = {field: number, "evaluation.support_size": size // parts * needed}
    found.append(evaluate_with(trained, changes, key).rows)
  return [
    with_stages(of_task[-1], numbers, [(of_task[0], 0), *((row, -1) for row in of_task)])
    for of_task in zip(*found, strict=True)
  ]


def with_stages(row: Row, numbers: Sequence[int], found: Sequence[tuple[Row, int]]) -> Row:
  """A row whose stages are called by numbers of steps; each stage is that of a row at a position."""
  return dataclasses.replace(
    row,
    stages=tuple(numbers),
    stage_unit="steps",
    returns=tuple(each.returns[place] for each, place in found),
    stds=tuple(each.stds[place] for each, place in found),
    scores=None if row.scores is None else tuple(each.scores[place] for each, place in found if each.scores),
  )


def document_of(trained: Trained, rows: Sequence[Row]) -> dict[str, Any]:
  """The content of an evaluation's file, in the form of `results.json`."""
  config = trained.config
  finished = FinishedRun(
    directory=trained.directory,
    algorithm=config.algorithm.name,
    variant=config.population.variants,
    family=trained.parts.family.name,
    seed=config.seed,
    config=config.to_dict(),
    rows=tuple(rows),
  )
  return results_document(finished, step=trained.step, seconds=None)


def rows_on(trained: Trained, support: str, dataset: str | None, key: Key) -> list[Row]:
  """The rows of the test tasks under one kind of support, a name in `PROTOCOLS`."""
  if "dataset" in trained.config:
    return evaluate_with(trained, {"evaluation.support": support}, key).rows
  splits = trained.parts.splits[:1]
  if support in OFFLINE:
    return rows_offline(trained, splits[0], support, dataset, key)
  rows = trained.evaluate(trained.params, trained.statistics, key).rows
  return [row for row in rows if row.split == "test"]


def rows_offline(trained: Trained, split: Split, support: str, dataset: str | None, key: Key) -> list[Row]:
  """The rows of a run that collected its own data, adapted to recorded episodes or to those of a random policy."""
  config, family = trained.config, trained.parts.family
  size = config.training.support_size
  if dataset is not None:
    manifest = manifest_with(dataset, family, split.indices)
    split = with_references(split, manifest)
  if support == "random":
    data = random_policy_dataset(
      family, split.tasks, discount=config.collection.discount, support_size=size, engine=config.evaluation.engine
    )
  else:
    assert dataset is not None
    data = load_dataset(dataset if support == "own" else other_policies_directory(dataset), tasks=split.indices)
  evaluate = offline(
    trained.algorithm,
    family,
    [split._replace(data=data)],
    support=support,
    support_size=size,
    episodes=config.evaluation.episodes,
    engine=config.evaluation.engine,
  )
  return evaluate(trained.params, trained.statistics, key).rows


def evaluate_shift(directories: Sequence[Path], request: Request, *, reuse: bool) -> list[FinishedRun]:
  """Evaluates runs on all supports that they can have, and writes `context_shift.json` into each.

  All are checked before the first is evaluated, which may take long.

  Raises:
    ConfigurationError: as `evaluate_run`, of the first run for which it is raised.
  """
  request = request._replace(checkpoint=NEWEST)
  for directory in directories:
    request.config(directory)
    newest_checkpoint(directory)
    check_writable(directory / CONTEXT_SHIFT)
  return [shift_of_run(directory, request, reuse=reuse) for directory in directories]


def shift_of_run(directory: Path, request: Request, *, reuse: bool) -> FinishedRun:
  """Evaluates the newest checkpoint of a run on all supports; takes what is there where that may be reused."""
  config = request.config(directory)
  supports = available_supports(directory, config, request)
  step, digest = newest_checkpoint(directory)
  made_of = {
    "checkpoint": digest,
    "evaluation_seed": request.seed,
    "episodes": config.evaluation.episodes,
    "supports": supports,
    "data": data_digests(config, request.dataset),
  }
  if reuse and (found := read_if_made_of(directory, made_of)):
    log(f"{directory}: taking the rows of {directory / CONTEXT_SHIFT}")
    return found
  trained = rebuild(directory, config, str(step))
  rows: list[Row] = []
  for support in supports:
    log(f"  adapting to {PROTOCOLS[support]} ...")
    rows += rows_on(trained, support, request.dataset, jax.random.key(request.seed))
  write_json(directory / CONTEXT_SHIFT, document_of(trained, rows) | made_of)
  log(f"  written to {directory / CONTEXT_SHIFT}")
  return read_run(directory, CONTEXT_SHIFT)


def available_supports(directory: Path, config: ml_collections.ConfigDict, request: Request) -> list[str]:
  """The supports that a run can be evaluated with; logs why others are not among them."""
  kinds = []
  for support in supports_of(config, request.dataset):
    try:
      request.config(directory, support)
      if request.dataset and support == "other_policies":
        read_manifest(other_policies_directory(request.dataset))
      kinds.append(support)
    except ValueError as error:
      log(f"{directory}: without the protocol {PROTOCOLS[support]}: {' '.join(str(error).split())}")
  return kinds


def data_digests(config: ml_collections.ConfigDict, dataset: str | None) -> Mapping[str, str]:
  """The digest of the data that supports are drawn from."""
  directory = config.dataset.directory if "dataset" in config else dataset
  return {} if directory is None else {DATASET: content_digest(read_manifest(directory))}


def read_if_made_of(directory: Path, made_of: Mapping[str, Any]) -> FinishedRun | None:
  """The rows of `context_shift.json`, if it is whole and was made of just this."""
  path = directory / CONTEXT_SHIFT
  if not path.is_file():
    return None
  try:
    document = read_json(path, dict)
    return read_run(directory, CONTEXT_SHIFT) if made_of.items() <= document.items() else None
  except ConfigurationError as error:
    log(f"WARNING: {'; '.join(error.problems)}; evaluating again")
    return None


def start() -> None:
  """Starts the command."""
  launch_with_arguments(main)


if __name__ == "__main__":
  start()
