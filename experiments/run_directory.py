"""The directory of a run: what it holds, and how a run finds its earlier part again."""

import datetime
import hashlib
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import ml_collections

from experiments.command_line import say
from experiments.configuration import ConfigurationError, collects, flatten, is_on_policy, support_directory
from experiments.provenance import arithmetic, code_differences, code_identity, git_commit, package_versions
from experiments.run_lock import LOCK, hold_lock
from macaw_jax.data.manifest import content_digest, read_manifest
from macaw_jax.durable import PARTIAL, write_durably
from macaw_jax.training.metrics import to_json

CONFIG_FILE = "config.json"
CODE = "code.json"  # packages and source files that the run was last started with
STARTS = "starts.json"  # one entry each time the run was started: command, versions, commit, device
METRICS = "metrics.jsonl"
RESULTS = "results.json"
EVALUATION = "evaluation_{protocol}.json"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
LEARNING_CURVE = "learning_curve.png"
ROLLOUT = "adapted_rollout.gif"


# Of what a checkpoint keeps the digests.
CONFIGURATION, DATASET, SUPPORT = "config", "config.dataset", "config.evaluation.support"

# A longer run is the same run, continued, unless something follows its length, as algorithm.decay_steps does. So is a
# run on other devices, or in a directory that was moved, or with its data in another place: their digest is compared.
MAY_CHANGE = (
  "output_directory",
  "dataset.directory",
  "training.steps",
  "training.keep_checkpoints",
  "devices.seed",
  "devices.task",
  "devices.distributed",
)

Value = TypeVar("Value", dict[str, Any], list[Any])


def default_directory(config: ml_collections.ConfigDict, settings: Sequence[str] = ()) -> Path:
  """runs/<algorithm>-<dataset or family>-<seed>, with the arm, if the run is one, and `settings` before the seed."""
  arm = [config.population.variants] if is_on_policy(config) and config.population.variants else []
  return Path("runs") / "-".join([config.algorithm.name, _data_of(config), *arm, *settings, str(config.seed)])


def _data_of(config: ml_collections.ConfigDict) -> str:
  if collects(config):
    return config.collection.family
  return config.rollouts.family if is_on_policy(config) else Path(config.dataset.directory).name


def directory_of(config: ml_collections.ConfigDict) -> Path:
  """Where the configuration's run is, or will be."""
  return Path(config.output_directory) if config.output_directory else default_directory(config)


def claim_directory(directory: Path, resources: ExitStack) -> None:
  """Makes a run's directory, or finds it; keeps other runs out of it until `resources` closes.

  Raises:
    ConfigurationError: it belongs to a run that is going on, or to something else, or it cannot be written.
  """
  if directory.exists() and not directory.is_dir():
    raise ConfigurationError(f"config.output_directory: {directory} is a file")
  if not (directory / CONFIG_FILE).is_file() and directory.is_dir() and _has_other_files(directory):
    raise ConfigurationError(f"config.output_directory: {directory} holds files, and no run ({CONFIG_FILE} is missing)")
  with _writing(directory):
    directory.mkdir(parents=True, exist_ok=True)
    resources.enter_context(hold_lock(directory, say))


def begin_or_continue(directory: Path, config: ml_collections.ConfigDict, *, continue_changed: bool) -> None:
  """Writes what a run is into its directory, or finds that it is the same run.

  Args:
    directory: of the run, claimed.
    config: of the run.
    continue_changed: whether a run goes on although its settings, or the code, have changed since it began.

  Raises:
    ConfigurationError: the directory has a run with other settings or other code, or it cannot be written.
  """
  if (directory / CONFIG_FILE).is_file():
    _check_same_run(directory, config, continue_changed)
    return
  with _writing(directory):
    write_json(directory / CODE, code_identity())
    write_json(directory / CONFIG_FILE, config.to_dict())


def record_start(directory: Path, config: ml_collections.ConfigDict, start: Mapping[str, Any]) -> None:
  """Adds a start to the run's directory, and what may have changed since the last one: configuration and code.

  What computes differently from then on is said: the last bits of numbers follow from it.

  Args:
    directory: of the run.
    config: of the run.
    start: `describe_start` of this process.

  Raises:
    ConfigurationError: the directory cannot be written.
  """
  starts = []
  with _writing(directory):
    try:
      starts = read_json(directory / STARTS, list) if (directory / STARTS).is_file() else []
    except ConfigurationError as error:
      kept = (directory / STARTS).replace(directory / f"damaged-{STARTS}")
      say(f"WARNING: {error}; kept as {kept}, and begun anew")
    for difference in _arithmetic_differences(starts[-1] if starts else start, start):
      say(f"WARNING: the last bits of numbers may differ from those of an undisturbed run: {difference}")
    write_json(directory / CONFIG_FILE, config.to_dict())
    write_json(directory / CODE, code_identity())
    write_json(directory / STARTS, [*starts, start])


def load_config(directory: Path) -> ml_collections.ConfigDict:
  """The saved configuration of a run.

  Raises:
    ConfigurationError: the directory holds no run.
  """
  if not (directory / CONFIG_FILE).is_file():
    raise ConfigurationError(f"{directory}: no run there ({CONFIG_FILE} is missing)")
  return ml_collections.ConfigDict(read_json(directory / CONFIG_FILE, dict))


def configuration_identity(config: ml_collections.ConfigDict) -> dict[str, str]:
  """The digest of the configuration without what may change, which a run writes into each of its checkpoints."""
  settings = {name: value for name, value in _settings(config).items() if name not in MAY_CHANGE}
  return {CONFIGURATION: hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()}


def data_identity(config: ml_collections.ConfigDict) -> dict[str, str]:
  """Digests of the training data and of the data that evaluation adapts to, likewise; none of a run without data."""
  if is_on_policy(config):
    return {}
  return {
    DATASET: content_digest(read_manifest(config.dataset.directory)),
    SUPPORT: content_digest(read_manifest(support_directory(config))),
  }


def write_json(path: Path, value: Any) -> None:
  """Writes strict JSON, NaN as null. Raises `OSError` if the disk does not take it; the file is whole in any case."""
  write_durably(path, (json.dumps(to_json(value), indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path, kind: type[Value]) -> Value:
  """The value in a JSON file.

  Args:
    path: the file.
    kind: `dict` or `list`, whichever its value must be.

  Raises:
    ConfigurationError: the file is not JSON, or its value is of another kind.
  """
  try:
    value = json.loads(path.read_text())
  except (ValueError, RecursionError) as error:
    raise ConfigurationError(f"{path}: not JSON: {error}") from error
  if not isinstance(value, kind):
    raise ConfigurationError(f"{path}: expected a JSON {kind.__name__}, found {type(value).__name__}")
  return value


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
  """Raises `ConfigurationError` if the disk refuses what the block writes."""
  try:
    yield
  except OSError as error:
    raise ConfigurationError(f"config.output_directory: {directory} cannot be written: {error}") from error


def _has_other_files(directory: Path) -> bool:
  """Whether there is more than a run leaves that was killed before it wrote its configuration."""
  return any(path.name not in (LOCK, CODE) and not path.name.endswith(PARTIAL) for path in directory.iterdir())


def _settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
  return flatten(json.loads(json.dumps(config.to_dict())))


def _check_same_run(directory: Path, config: ml_collections.ConfigDict, continue_changed: bool) -> None:
  before, now = flatten(read_json(directory / CONFIG_FILE, dict)), _settings(config)
  differences = [
    f"config.{name} = {before.get(name)!r}, this one has {now.get(name)!r}"
    for name in sorted(before.keys() | now.keys())
    if name not in MAY_CHANGE and before.get(name) != now.get(name)
  ]
  if (directory / CODE).is_file():
    differences += code_differences(read_json(directory / CODE, dict), code_identity())
  if differences and not continue_changed:
    raise ConfigurationError(
      *(f"{directory} holds a run with {difference}" for difference in differences),
      "choose another --config.output_directory, remove that run, or add --continue_changed to go on with the change",
    )
  for difference in differences:
    say(f"WARNING: going on, although {directory} holds a run with {difference}")


def describe_start() -> dict[str, Any]:
  """The command of this process, and what it computes with."""
  return {
    "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "command": [sys.executable, *sys.argv],
    "git_commit": git_commit(),
    "platform": platform.platform(),
    "arithmetic": arithmetic(),
    "versions": package_versions(),
  }


def _arithmetic_differences(before: Any, now: Mapping[str, Any]) -> list[str]:
  earlier = before.get("arithmetic", {}) if isinstance(before, Mapping) else {}
  return [
    f"{name} {earlier[name]!r} -> {value!r}"
    for name, value in now["arithmetic"].items()
    if name in earlier and earlier[name] != value
  ]
