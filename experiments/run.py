"""Meta-trains agents, on a dataset or on what they act themselves, and evaluates them.

python -m experiments.run --config=configs/macaw.py
python -m experiments.run --config=configs/macaw.py --config.seed=1 --config.training.steps=50000
python -m experiments.run --config=configs/macaw.py --config.population.seeds=3
python -m experiments.run --config=configs/macaw.py --config.population.grid="temperature=0.5,1;first_order=true,false"

With configs/pearl.py the agent collects its own data (`experiments.online_run`). With configs/norml.py it learns in
every update from episodes that it has just acted.

The same command again continues a run that was stopped or killed, from its newest checkpoint (docs/reliability.md). The
members of a population are trained in one program; each has the directory, and the results, of the same run alone.
"""

from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from functools import partial
from os import devnull

import ml_collections
from absl import flags

from experiments.command_line import TrainingError, launch_with_config, say
from experiments.configuration import ConfigurationError, collects, is_on_policy
from experiments.experiment import load_experiment
from experiments.interruption import Interrupted, Interruption
from experiments.member_runs import open_members
from experiments.on_policy_configuration import validate_on_policy
from experiments.on_policy_experiment import make_on_policy_experiment
from experiments.online_configuration import validate_online
from experiments.online_run import run_online
from experiments.population import Member, members_of
from experiments.program import make_mesh
from experiments.run_results import finish, next_command
from experiments.training import Session, train_and_evaluate
from experiments.validation import validate
from experiments.workload import Workload
from macaw_jax.training import devices

CONTINUE_CHANGED = flags.DEFINE_bool(
  "continue_changed", False, "Continue a run although its configuration, its code or its packages have changed."
)
DEBUG_NANS = flags.DEFINE_bool(
  "debug_nans", False, "Stop at the first update after which not every number is finite, and name the operation."
)


def run(
  config: ml_collections.ConfigDict,
  interruption: Interruption | None = None,
  *,
  continue_changed: bool = False,
  debug_nans: bool = False,
) -> None:
  """Trains the members of a population, evaluates them now and then, and writes each into its own directory.

  Args:
    config: of the run.
    interruption: what listens for signals; without it, they do to the caller's process what they did before.
    continue_changed: whether a run goes on although its settings or its code have changed since it began.
    debug_nans: whether the first update that is not finite ends the run, and is looked into.

  Raises:
    ConfigurationError, DatasetError: the configuration or the data cannot be used; before anything is compiled.
    Interrupted: a signal came; all is saved that could be.
    TrainingError: no member has finite numbers any more, or not all could be saved.
  """
  check(config)
  members = members_of(config)
  interruption = interruption or Interruption()
  with ExitStack() as resources:
    if config.devices.distributed:
      connect_processes()
      interruption.take_back()  # JAX has a handler of SIGTERM.
    if not devices.is_main_process():  # The first process speaks for all.
      resources.enter_context(redirect_stdout(resources.enter_context(open(devnull, "w"))))
    workload = load_workload(config, members)
    make = partial(workload.make_algorithm, members[0].config)
    for each in members:
      make(**each.hyperparameters)  # While its values are numbers: traced, they cannot be refused.
    mesh = make_mesh(config, workload, len(members))
    for line in workload.describe(config):
      say(f"  {line}")

    runs = open_members(members, resources, continue_changed=continue_changed)
    say(f"run directory: {', '.join(str(each.directory) for each in runs)}")
    session = Session(config, workload, make, mesh, runs, interruption, continue_changed, debug_nans)
    try:
      results, problems = train_and_evaluate(session, resources)
    except Interrupted:
      say(interruption.advice)
      raise
    if devices.is_main_process():
      try:
        finish(config, workload, runs, results)
      except OSError as error:
        problems.append(f"the results could not be written: {error}; the same command writes them again")
    if problems:
      raise TrainingError(*problems)


def load_workload(config: ml_collections.ConfigDict, members: Sequence[Member]) -> Workload:
  """What the run is trained and evaluated on, and a line about who is trained; raises as `run`."""
  who = describe_members(members)
  if is_on_policy(config):
    say(f"{config.algorithm.name} on {config.rollouts.family}, which it acts in, {who}")
    return make_on_policy_experiment(config)
  say(f"{config.algorithm.name} on {config.dataset.directory}, {who}")
  say("loading and checking the data ...")
  return load_experiment(config)


def connect_processes() -> None:
  """Makes this process one of several. Raises `ConfigurationError` if nothing has started it as one."""
  try:
    devices.initialise_distributed()
  except ValueError as error:
    raise ConfigurationError(
      f"config.devices.distributed = True: {error}; start it as launch/ shows, or leave the field at False on one "
      "machine"
    ) from error


def describe_members(members: Sequence[Member]) -> str:
  """Who is trained, for people."""
  if len(members) == 1:
    return f"seed {members[0].config.seed}"
  return f"{len(members)} members ({'; '.join(each.label for each in members)})"


def check(config: ml_collections.ConfigDict) -> None:
  """Raises `ConfigurationError` if the configuration cannot be run."""
  if collects(config):
    validate_online(config)
  elif is_on_policy(config):
    validate_on_policy(config)
  else:
    validate(config)


def main(config: ml_collections.ConfigDict) -> None:
  """Runs what the command line says, and says what can be done with it."""
  train(config)
  if devices.is_main_process() and not collects(config):
    say(next_command(config))


def train(config: ml_collections.ConfigDict) -> None:
  """Runs what the command line says, and answers signals."""
  interruption = Interruption()
  interruption.listen()
  if collects(config):
    if DEBUG_NANS.value:
      raise ConfigurationError("command line: --debug_nans is for runs on a dataset")
    run_online(config, interruption, continue_changed=CONTINUE_CHANGED.value)
    return
  run(config, interruption, continue_changed=CONTINUE_CHANGED.value, debug_nans=DEBUG_NANS.value)


if __name__ == "__main__":
  launch_with_config(main, check)
