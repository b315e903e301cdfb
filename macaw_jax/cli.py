"""The console command `macaw`: `macaw run --config=macaw` is `python -m experiments.run --config=configs/macaw.py`."""

import importlib
import importlib.util
import sys

COMMANDS = {
  "run": "meta-train agents and evaluate them",
  "evaluate": "evaluate runs again, on other supports or after other numbers of steps",
  "compare": "tables and curves of finished runs",
  "probe": "measure what agents read from their supports",
  "trajectories": "draw what point agents do before and after adaptation",
  "regret": "hold agents of bandits against the known answers",
  "data": "list, inspect, validate, plot and convert datasets",
  "collect": "collect the dataset of a task family",
  "study": "train, evaluate and report a whole comparison",
}


HELP = ("", "-h", "--help", "help")


def main() -> None:
  """Runs the command that the first argument names, with the other arguments."""
  name = sys.argv[1] if len(sys.argv) > 1 else ""
  if name in HELP:
    print(usage())
    sys.exit()
  if name not in COMMANDS:
    print(f"error: command line: macaw {name}: expected one of {', '.join(COMMANDS)}", file=sys.stderr)
    sys.exit(2)
  # A wheel has the commands inside the package, a checkout beside it.
  inside = importlib.util.find_spec("macaw_jax.experiments") is not None
  sys.argv = [f"macaw {name}", *sys.argv[2:]]
  importlib.import_module(f"{'macaw_jax.' if inside else ''}experiments.{name}").start()


def usage() -> str:
  """The help of `macaw`."""
  lines = [f"  macaw {command:<13}{purpose}" for command, purpose in COMMANDS.items()]
  examples = ("run --config=macaw", "run --config=macaw --config.seed=1", "evaluate runs/macaw-cheetah_dir-0")
  return "\n".join(
    [
      "usage: macaw <command> [arguments]",
      "",
      *lines,
      "",
      "macaw <command> --help lists the arguments of a command. Examples:",
      *(f"  macaw {example}" for example in examples),
    ]
  )


if __name__ == "__main__":
  main()
