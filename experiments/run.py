"""Meta-trains agents, on a dataset or on episodes of their own, and evaluates them.

python -m experiments.run --config=configs/macaw.py
python -m experiments.run --config=configs/macaw.py --config.seed=1 --config.training.steps=50000
python -m experiments.run --config=configs/macaw.py --config.population.seeds=3
python -m experiments.run --config=configs/macaw.py --config.population.grid="temperature=0.5,1;first_order=true,false"
python -m experiments.run --config=configs/norml.py --config.population.variants=all --config.population.seeds=5

The same command again continues a run that was stopped or killed, from its newest checkpoint (docs/reliability.md). The
members of a population are trained in one program; each has the directory, and the results, of the same run alone.
"""

import argparse

import ml_collections

from macaw_jax.console import log
from macaw_jax.errors import ConfigurationError
from macaw_jax.training import devices
from macaw_jax.training.interruption import Interruption
from macaw_jax.training.results import Result
from macaw_jax.training.session import train_run

from .build import assemble, examine
from .command_line import Parser, add_config, given_config, launch, make_parser


def run(
  config: ml_collections.ConfigDict,
  interruption: Interruption | None = None,
  *,
  continue_changed: bool = False,
  debug_nans: bool = False,
) -> list[Result]:
  """Trains the members of a configuration's population: see `macaw_jax.training.session.train_run`.

  Raises:
    ConfigurationError, DatasetError: the configuration or the data cannot be used; before anything is compiled.
  """
  examined = examine(config)
  interruption = interruption or Interruption()
  if config.devices.distributed:
    connect_processes()
    interruption.take_back()  # JAX has a handler of SIGTERM.
  with devices.main_process_logs():
    built = assemble(examined)
  return train_run(built, interruption=interruption, continue_changed=continue_changed, debug_nans=debug_nans)


def connect_processes() -> None:
  """Makes this process one of several. Raises `ConfigurationError` if nothing has started it as one."""
  try:
    devices.initialise_distributed()
  except ValueError as error:
    raise ConfigurationError(
      f"config.devices.distributed = True: {error}; start it as launch/ shows, or leave the field at False on one "
      "machine"
    ) from error


def parser() -> Parser:
  """The flags of the command."""
  flags = make_parser("run", __doc__)
  add_config(flags)
  flags.add_argument(
    "--continue_changed",
    action="store_true",
    help="continue a run although its configuration, its code or its packages have changed",
  )
  flags.add_argument(
    "--debug_nans",
    action="store_true",
    help="stop at the first update after which not every number is finite, and name the operation",
  )
  return flags


def main(given: argparse.Namespace) -> None:
  """Runs what the command line says, answers signals, and says what can be done with it."""
  config = given_config(given, examine)
  interruption = Interruption()
  interruption.listen()
  run(config, interruption, continue_changed=given.continue_changed, debug_nans=given.debug_nans)
  if devices.is_main_process():
    log("evaluate again: python -m experiments.evaluate <directory>; compare runs: python -m experiments.compare <...>")


def start() -> None:
  """Starts the command."""
  launch(main, parser())


if __name__ == "__main__":
  start()
