"""Populations of every kind of source on several devices: in one process with two of them, or in two with one each.

python runs_on_devices.py <data> <place> <kinds>                 one process
python runs_on_devices.py <data> <place> <kinds> <0 or 1>        one of two, as srun starts them

A run is stopped after its first call, by a signal that the last process alone has heard, and then continued.
"""

import contextlib
import functools
import io
import signal
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

import jax  # noqa: E402
import pytest  # noqa: E402
from miniatures import GRIDS, changed, make_config  # noqa: E402

from experiments import run as command  # noqa: E402
from macaw_jax.training.interruption import Interrupted, Interruption  # noqa: E402


def main(data: str, place: str, kinds: str, process: str = "") -> None:
  """Runs the kinds, which have commas between them."""
  jax.config.update("jax_num_cpu_devices", 1 if process else 2)
  command.connect_processes = functools.cache(command.connect_processes)  # once in a process
  for kind in kinds.split(","):
    config = make_config(kind, data, Path(place) / kind, seeds=2, grid=GRIDS[kind])
    layout = {"devices__seed": 2, "devices__distributed": bool(process)}
    if process or kind == "recorded":
      run_to_the_end(changed(config, **layout), heard=process != "0")
    else:  # The tasks of an update are on two devices, the members on one.
      run_to_the_end(changed(config, devices__task=2), heard=True)


def run_to_the_end(config, heard: bool) -> None:
  """Stops it once, if one process has `heard` a signal."""
  interruption = Interruption()
  interruption.received = signal.SIGTERM if heard else 0
  with pytest.raises(Interrupted):
    command.run(config, interruption)
  with contextlib.redirect_stdout(io.StringIO()) as said:
    command.run(config)
  assert "continuing from the checkpoint of update 2\n" in said.getvalue() or not said.getvalue(), said.getvalue()


if __name__ == "__main__":
  main(*sys.argv[1:])
