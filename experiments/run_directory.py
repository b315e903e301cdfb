"""The directory of a run: what it holds, and how a run finds its earlier part again."""

import datetime
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections

from experiments.configuration import ConfigurationError, flatten
from experiments.provenance import git_commit, package_versions
from macaw_jax.training.metrics import to_json

CONFIG_FILE = "config.json"
STARTS = "starts.json"  # one entry each time the run was started: command, versions, commit, device
METRICS = "metrics.jsonl"
RESULTS = "results.json"
EVALUATION = "evaluation_{protocol}.json"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
LEARNING_CURVE = "learning_curve.png"
ROLLOUT = "adapted_rollout.gif"

# A longer run is the same run, continued, unless something follows its length, as algorithm.decay_steps does. So is a
# run on other devices.
MAY_CHANGE = ("training.steps", "devices.seed", "devices.task", "devices.distributed")


def default_directory(config: ml_collections.ConfigDict, settings: Sequence[str] = ()) -> Path:
  """runs/<algorithm>-<dataset>-<seed>, with `settings` before the seed."""
  return Path("runs") / "-".join(
    [config.algorithm.name, Path(config.dataset.directory).name, *settings, str(config.seed)]
  )


def open_directory(config: ml_collections.ConfigDict) -> Path:
  """Makes the run's directory, or finds the one of the same run.

  Raises:
    ConfigurationError: the directory belongs to a run with other settings, or is no directory of a run.
  """
  directory = Path(config.output_directory) if config.output_directory else default_directory(config)
  if directory.exists() and not directory.is_dir():
    raise ConfigurationError(f"config.output_directory: {directory} is a file")
  if (directory / CONFIG_FILE).is_file():
    _check_same_run(directory, config)
  elif directory.is_dir() and any(directory.iterdir()):
    raise ConfigurationError(f"config.output_directory: {directory} holds files, and no run ({CONFIG_FILE} is missing)")
  else:
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / CONFIG_FILE, config.to_dict())
  return directory


def record_start(directory: Path, config: ml_collections.ConfigDict) -> None:
  """Adds this start to the run's directory, and its number of updates, which may have grown."""
  write_json(directory / CONFIG_FILE, config.to_dict())
  starts = read_json(directory / STARTS) if (directory / STARTS).is_file() else []
  write_json(directory / STARTS, [*starts, _start()])


def load_config(directory: Path) -> ml_collections.ConfigDict:
  """The saved configuration of a run.

  Raises:
    ConfigurationError: the directory holds no run.
  """
  if not (directory / CONFIG_FILE).is_file():
    raise ConfigurationError(f"{directory}: no run there ({CONFIG_FILE} is missing)")
  return ml_collections.ConfigDict(read_json(directory / CONFIG_FILE))


def write_json(path: Path, value: Any) -> None:
  """Writes strict JSON (NaN as null) under another name first, so that the file is always whole."""
  partial = path.with_name(f".{path.name}.partial")
  partial.write_text(json.dumps(to_json(value), indent=2, allow_nan=False) + "\n")
  partial.replace(path)


def read_json(path: Path) -> Any:
  """The value in a JSON file.

  Raises:
    ConfigurationError: the file is not JSON.
  """
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise ConfigurationError(f"{path}: not JSON: {error}") from error


def _check_same_run(directory: Path, config: ml_collections.ConfigDict) -> None:
  before = flatten(read_json(directory / CONFIG_FILE))
  now = flatten(json.loads(json.dumps(config.to_dict())))
  for name in sorted(before.keys() | now.keys()):
    if name not in MAY_CHANGE and before.get(name) != now.get(name):
      raise ConfigurationError(
        f"{directory} holds a run with config.{name} = {before.get(name)!r}, this one has {now.get(name)!r}. Choose "
        "another --config.output_directory, or remove that run"
      )


def _start() -> Mapping[str, Any]:
  return {
    "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "command": [sys.executable, *sys.argv],
    "git_commit": git_commit(),
    "platform": platform.platform(),
    "device": jax.devices()[0].device_kind,
    "versions": package_versions(),
  }
