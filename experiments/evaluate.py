"""Evaluates finished or running runs again: after other numbers of adaptation steps, and on other supports.

python -m experiments.evaluate runs/macaw-cheetah_dir-0
python -m experiments.evaluate runs/macaw-cheetah_dir-0 --steps=0,1,2,5 --episodes=20 --seed=1
python -m experiments.evaluate runs/macaw-cheetah_vel-0 --support=other_policies --support_size=512
python -m experiments.evaluate runs/macaw-cheetah_dir-0 --quality=start
python -m experiments.evaluate runs/macaw-cheetah_dir-0 --own_episodes=500 --episodes=3
python -m experiments.evaluate runs/macaw-cheetah_dir-0 --checkpoint=best
python -m experiments.evaluate runs/focal-point_robot-? --support=all --reuse --picture=shift.png
python -m experiments.evaluate runs/macaw-cheetah_dir-? --support=all --retrieval=both
python -m experiments.evaluate runs/pearl-cheetah_dir-0 --support=all --dataset=starter_data/cheetah_dir

Without --steps an agent that takes adaptation steps is evaluated after 0, 1, 2, 5 of them and as many as it was trained
with. --support=all adapts to the tasks' own data, to those of other tasks' policies, to those of a random policy and to
the agent's own episodes, as far as there are such data; the table has a line for each configuration over its seeds.
--dataset names data of the family for a run that has none; scores need its returns of reference.

The result is in the run's directory, in evaluation_<protocol>_update_<n>.json or context_shift_update_<n>.json. What is
not as in the run itself is in the name too, as evaluation_offline_update_5000_engine_mjx.json: another evaluation never
replaces it.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import get_args

import jax
import numpy as np

from macaw_jax.console import log, returns_text
from macaw_jax.data.dataset import Quality, load_dataset
from macaw_jax.data.retrieval import Draw
from macaw_jax.envs.rollout import Engine
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.comparison import group_runs
from macaw_jax.evaluation.context_shift import shift_table
from macaw_jax.evaluation.evaluate import Split, offline, with_references
from macaw_jax.evaluation.evaluation_file import MADE_OF, is_made_of, made_of_text
from macaw_jax.evaluation.pictures import plot_shift
from macaw_jax.evaluation.protocols import PROTOCOLS, SUPPORT_ORDERS
from macaw_jax.evaluation.random_policy import random_policy_dataset
from macaw_jax.evaluation.results import FinishedRun, read_run, results_document
from macaw_jax.evaluation.rows import Row
from macaw_jax.evaluation.tables import metrics_of, results_table
from macaw_jax.json_files import write_json
from macaw_jax.training.trained import NEWEST
from macaw_jax.types import Key

from .build import Trained, evaluate_with, rebuild
from .command_line import (
  Parser,
  add_evaluation,
  add_picture,
  add_retrieval,
  add_runs,
  check_picture,
  draw_if_wanted,
  launch,
  make_parser,
  named_runs,
  positive,
)
from .evaluation_request import (
  ALL,
  OFFLINE,
  Plan,
  Request,
  changes_for_steps,
  plan,
  support_dataset,
  support_order,
  support_size,
)
from .recorded import manifest_with


def parser() -> Parser:
  """The flags of the command."""
  flags = make_parser("evaluate", __doc__)
  add_runs(flags)
  flags.add_argument("--run", metavar="DIRECTORY", help="directory of a run, as an argument is")
  flags.add_argument(
    "--steps", type=step_numbers, metavar="N,N,...", help="numbers of adaptation steps, from 0 up, as 0,1,2,5"
  )
  flags.add_argument(
    "--support",
    choices=[*(name for name in PROTOCOLS if name != "on_policy"), ALL],
    help="data to adapt to; those of the run if not given",
  )
  flags.add_argument(
    "--support_size",
    type=positive,
    metavar="N",
    help="transitions of a support of recorded rows, with --steps for as many steps as it was trained with; that of "
    "the run if not given",
  )
  flags.add_argument(
    "--quality",
    choices=list(get_args(Quality)),
    help="the part of the collection that own supports are drawn from; that of the run if not given",
  )
  flags.add_argument(
    "--own_episodes",
    type=positive,
    metavar="N",
    help="episodes of its own from which an agent goes on learning after it has adapted; --episodes independent times",
  )
  flags.add_argument(
    "--order", choices=list(SUPPORT_ORDERS), help="how the rows of a support are drawn; as in the run if not given"
  )
  flags.add_argument("--engine", choices=get_args(Engine), help="steps MuJoCo bodies; that of the run if not given")
  flags.add_argument(
    "--checkpoint",
    default=NEWEST,
    metavar="WHICH",
    help="newest, best (of the highest score on training tasks), or the number of an update; newest if not given",
  )
  flags.add_argument(
    "--dataset",
    metavar="DIRECTORY",
    help="data of the family, for a run that has collected its own, or whose data lie elsewhere now",
  )
  add_retrieval(flags)
  flags.add_argument(
    "--rows_per_task",
    type=positive,
    metavar="N",
    help="rows of each training task to retrieve from; config.retrieval.rows_per_task if not given",
  )
  flags.add_argument(
    "--draw",
    choices=list(get_args(Draw)),
    help="retrieve by the mean of the posterior of the task or by a sample of it; config.retrieval.draw if not given",
  )
  flags.add_argument(
    "--reuse", action="store_true", help="with --support=all: take rows made from the same checkpoint and settings"
  )
  add_evaluation(flags)
  add_picture(flags)
  return flags


def step_numbers(text: str) -> tuple[int, ...]:
  """`0,1,5` as numbers. Raises `ArgumentTypeError` if it is something else."""
  texts = [each.strip() for each in text.split(",")]
  if not all(each.isdecimal() for each in texts):
    raise argparse.ArgumentTypeError(f"expected numbers from 0 up, as 0,1,2,5, got {text!r}")
  return tuple(map(int, texts))


def main(given: argparse.Namespace) -> None:
  """Evaluates the runs that the command line names."""
  check_picture(given.picture)
  directories = named_runs([*given.runs, *([given.run] if given.run else [])], "evaluate runs/macaw-cheetah_dir-0")
  request = Request(**{name: getattr(given, name) for name in Request._fields})
  check_flags(given)
  # All are checked before the first is evaluated, which may take long.
  wanted = [request._replace(retrieval=value) for value in given.retrieval]
  plans = [plan(directory, each) for each in wanted for directory in directories]
  if request.support == ALL:
    group_runs([described(each, "", []) for each in plans])
    groups = group_runs([evaluate_shift(each, reuse=given.reuse) for each in plans])
    log("\n".join(["", shift_table(groups), *made_of_lines(plans)]))
    draw_if_wanted(given.picture, partial(plot_shift, groups))
    return
  for each in plans:
    evaluate_run(each)


def check_flags(given: argparse.Namespace) -> None:
  """Raises `ConfigurationError` for flags that do nothing beside each other."""
  if given.support == ALL and given.steps is not None:
    raise ConfigurationError("--steps: expected one kind of support; --support=all takes as many steps as in training")
  if given.support != ALL and given.reuse:
    raise ConfigurationError("--reuse: expected --support=all beside it")
  if given.support != ALL and given.picture:
    raise ConfigurationError("--picture: expected --support=all beside it, whose columns are drawn")


def evaluate_run(planned: Plan) -> list[Row]:
  """Evaluates a checkpoint of a run, prints a table and writes the file.

  Raises:
    ConfigurationError: the checkpoint is damaged or does not fit.
  """
  log(f"{planned.directory}: {made_of_text(planned.made_of)}")
  trained = rebuild(planned.directory, planned.config, str(planned.step))
  key = jax.random.key(planned.request.seed)
  rows = (
    rows_after_steps(trained, planned, key) if planned.steps else rows_on(trained, planned, planned.supports[0], key)
  )
  lines = [results_table(rows), made_of_text(planned.made_of), *notes_on_steps(planned, rows)]
  log("\n".join(["", *lines, ""]))
  write_rows(planned, trained, rows)
  return rows


def rows_after_steps(trained: Trained, planned: Plan, key: Key) -> list[Row]:
  """One row a test task: before adaptation, and after each of some numbers of steps; all meet the same starts."""
  field, numbers = planned.steps_field, planned.steps
  after = [number for number in numbers if number > 0] or [planned.trained_steps]
  if field == "rollouts.inner_steps":  # The protocol stops at every number on its way.
    rows = evaluate_with(trained, {field: max(after)}, key).rows
    return [with_stages(row, numbers, [(row, row.stages.index(number)) for number in numbers]) for row in rows]
  found = []
  for number in after:
    log(f"  {number} {'step' if number == 1 else 'steps'} ...")
    found.append(evaluate_with(trained, changes_for_steps(trained.config, field, number), key).rows)
  places = [(0, 0), *((index, -1) for index in range(len(found)))][: len(numbers)]
  return [
    with_stages(of_task[-1], numbers, [(of_task[index], stage) for index, stage in places])
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


def notes_on_steps(planned: Plan, rows: Sequence[Row]) -> list[str]:
  """Lines about more steps than the run has been trained with, if there are any."""
  more = [number for number in planned.steps if number > planned.trained_steps]
  if not more:
    return []
  trained = planned.trained_steps
  listed = ", ".join(map(str, more))
  lines = [
    f"more steps than config.{planned.steps_field} = {trained}, which this run was trained with: {listed}; nothing in "
    "training judges an agent after those"
  ]
  metrics = metrics_of(rows)
  quantity = "score" if "test/score_after" in metrics else "return"
  means = {number: metrics.get(f"test/{quantity}_after_{number}_steps", np.nan) for number in planned.steps}
  worst = min(more, key=means.__getitem__)
  if means[worst] < means.get(trained, np.nan):
    before, after = returns_text((means[trained], means[worst]))
    lines.append(
      f"the mean {quantity} falls from {before} after {trained} to {after} after {worst}: take {trained}, or train "
      "with more"
    )
  return lines


def made_of_lines(plans: Sequence[Plan]) -> list[str]:
  """The origin of the rows of a table: one line where it is the same of all runs, else a line a run."""
  texts = [made_of_text(each.made_of) for each in plans]
  if len(set(texts)) == 1:
    return texts[:1]
  return [f"{each.directory}: {text}" for each, text in zip(plans, texts, strict=True)]


def described(planned: Plan, family: str, rows: Sequence[Row]) -> FinishedRun:
  """The run with the rows of an evaluation in tasks of a family."""
  config = planned.config
  return FinishedRun(
    directory=planned.directory,
    algorithm=config.algorithm.name,
    variant=config.population.variants,
    family=family,
    seed=config.seed,
    config=config.to_dict(),
    rows=tuple(rows),
  )


def write_rows(planned: Plan, trained: Trained, rows: Sequence[Row]) -> None:
  """Writes an evaluation's file: in the form of `results.json`, and what it was made of."""
  finished = described(planned, trained.parts.family.name, rows)
  document = results_document(finished, step=planned.step, seconds=None)
  write_json(planned.file, document | {MADE_OF: planned.made_of})
  log(f"written to {planned.file}")


def rows_on(trained: Trained, planned: Plan, support: str, key: Key) -> list[Row]:
  """The rows of the test tasks under one kind of support, a name in `PROTOCOLS`."""
  if "dataset" in trained.config:
    return evaluate_with(trained, {"evaluation.support": support}, key).rows
  if support in OFFLINE:
    return rows_offline(trained, planned, support, key)
  rows = trained.evaluate(trained.params, trained.statistics, key).rows
  return [row for row in rows if row.split == "test"]


def rows_offline(trained: Trained, planned: Plan, support: str, key: Key) -> list[Row]:
  """The rows of a run that collected its own data, adapted to recorded episodes or to those of a random policy."""
  config, family, request = trained.config, trained.parts.family, planned.request
  split: Split = trained.parts.splits[0]
  size = support_size(config, request)
  if request.dataset is not None:
    manifest = manifest_with(request.dataset, family, split.indices)
    split = with_references(split, manifest)
  if support == "random":
    data = random_policy_dataset(
      family, split.tasks, discount=config.collection.discount, support_size=size, engine=config.evaluation.engine
    )
  else:
    assert request.dataset is not None
    data = load_dataset(support_dataset(request.dataset, support), tasks=split.indices)
  evaluate = offline(
    trained.algorithm,
    family,
    [split._replace(data=data)],
    support=support,
    support_size=size,
    episodes=config.evaluation.episodes,
    order=support_order(config, request),
    engine=config.evaluation.engine,
  )
  return evaluate(trained.params, trained.statistics, key).rows


def evaluate_shift(planned: Plan, *, reuse: bool = False) -> FinishedRun:
  """Evaluates a checkpoint of a run on all supports, and writes the file; takes what is there where that may be reused.

  Raises:
    ConfigurationError: the checkpoint is damaged or does not fit.
  """
  if reuse and is_made_of(planned.file, planned.made_of):
    try:
      found = read_run(planned.directory, planned.file.name)
      log(f"{planned.directory}: taking the rows of {planned.file}")
      return found
    except ConfigurationError as error:
      log(f"WARNING: {'; '.join(error.problems)}; evaluating again")
  log(f"{planned.directory}: {made_of_text(planned.made_of)}")
  trained = rebuild(planned.directory, planned.config, str(planned.step))
  rows: list[Row] = []
  for support in planned.supports:
    log(f"  adapting to {PROTOCOLS[support]} ...")
    rows += rows_on(trained, planned, support, jax.random.key(planned.request.seed))
  write_rows(planned, trained, rows)
  return read_run(planned.directory, planned.file.name)


def start() -> None:
  """Starts the command."""
  launch(main, parser())


if __name__ == "__main__":
  start()
