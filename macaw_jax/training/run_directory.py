"""The directory of a run: its files, and how a run finds its earlier part again."""

import datetime
import hashlib
import json
import platform
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import filelock

from macaw_jax.console import log
from macaw_jax.durable import PARTIAL
from macaw_jax.errors import ConfigurationError
from macaw_jax.json_files import flatten, read_json, write_json
from macaw_jax.training.provenance import arithmetic, code_differences, git_commit, package_versions

CONFIG_FILE = "config.json"
CODE = "code.json"  # packages and source files that the run was last started with
STARTS = "starts.json"  # one entry each time the run was started: command, versions, commit, device
METRICS = "metrics.jsonl"
RESULTS = "results.json"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
LEARNING_CURVE = "learning_curve.png"
ROLLOUT = "adapted_rollout.gif"
LOCK = ".lock"

FORMAT_VERSION = 2  # of `config.json`; runs of before say none

RETRIEVAL = "retrieval"  # in the description of an agent: the settings of its retrieval, if it has one
# The names of digests in a checkpoint.
CONFIGURATION, DATASET, SUPPORT = "config", "config.dataset", "config.evaluation.support"


def claim_directory(directory: Path, resources: ExitStack) -> None:
  """Makes a run's directory, or finds it; keeps other runs out of it until `resources` closes.

  Raises:
    ConfigurationError: it belongs to a run that is going on, or to something else, or it cannot be written.
  """
  if directory.exists() and not directory.is_dir():
    raise ConfigurationError(f"config.output_directory: {directory} is a file")
  if not (directory / CONFIG_FILE).is_file() and directory.is_dir() and _has_other_files(directory):
    raise ConfigurationError(f"config.output_directory: {directory} holds files, and no run ({CONFIG_FILE} is missing)")
  with writing(directory):
    directory.mkdir(parents=True, exist_ok=True)
    try:
      resources.enter_context(filelock.FileLock(directory / LOCK).acquire(timeout=0))
    except filelock.Timeout as error:
      raise ConfigurationError(
        f"config.output_directory: {directory} is in use by another run, see {STARTS} in it; wait for it to end, or "
        "choose another"
      ) from error
    except NotImplementedError:
      log(f"WARNING: the file system of {directory} has no locks: nothing keeps a second run out of it")


def begin_or_continue(
  directory: Path,
  document: Mapping[str, Any],
  may_change: Collection[str],
  follows: Mapping[str, str],
  *,
  code: Mapping[str, Any],
  continue_changed: bool,
) -> None:
  """Describes a run in its directory, or finds that it is the same run.

  Args:
    directory: of the run, claimed.
    document: the content of `config.json`: the run's `config`, and the rest of its identity.
    may_change: dotted names of configuration fields that do not make it another run.
    follows: those whose values follow from another field's, by dotted name of both.
    code: of this process, as `provenance.code_identity` has it.
    continue_changed: whether a run goes on although its settings, or the code, have changed since it began.

  Raises:
    ConfigurationError: the directory has a run with other settings or other code, or it cannot be written.
  """
  if (directory / CONFIG_FILE).is_file():
    _check_same_run(directory, document["config"], may_change, follows, code, continue_changed)
    return
  with writing(directory):
    write_json(directory / CODE, code)
    write_document(directory, document)


def write_document(directory: Path, document: Mapping[str, Any]) -> None:
  """Writes `config.json`."""
  write_json(directory / CONFIG_FILE, {"format_version": FORMAT_VERSION, **document})


def read_document(directory: Path) -> dict[str, Any]:
  """The content of a run's `config.json`.

  Raises:
    ConfigurationError: the directory holds no run, or one of another release.
  """
  if not (directory / CONFIG_FILE).is_file():
    raise ConfigurationError(f"{directory}: no run there ({CONFIG_FILE} is missing)")
  document = read_json(directory / CONFIG_FILE, dict)
  version = document.get("format_version", 1)
  if version != FORMAT_VERSION:
    raise ConfigurationError(
      f"{directory / CONFIG_FILE}: a run in format {version!r:.20}, this release reads {FORMAT_VERSION}; train it "
      "anew, or use the release that wrote it"
    )
  if not isinstance(document.get("config"), dict):
    raise ConfigurationError(f"{directory / CONFIG_FILE}: expected the key 'config' with the run's configuration")
  return document


def record_start(
  directory: Path, document: Mapping[str, Any], start: Mapping[str, Any], code: Mapping[str, Any]
) -> None:
  """Adds a start, as `describe_start` has it, to the run's directory, with the present configuration and code.

  Differences in arithmetic from the last start are logged: the last bits of numbers follow from them.

  Raises:
    ConfigurationError: the directory cannot be written.
  """
  starts = []
  with writing(directory):
    try:
      starts = read_json(directory / STARTS, list) if (directory / STARTS).is_file() else []
    except ConfigurationError as error:
      kept = (directory / STARTS).replace(directory / f"damaged-{STARTS}")
      log(f"WARNING: {error}; kept as {kept}, and begun anew")
    for difference in _arithmetic_differences(starts[-1] if starts else start, start):
      log(f"WARNING: the last bits of numbers may differ from those of an undisturbed run: {difference}")
    write_document(directory, document)
    write_json(directory / CODE, code)
    write_json(directory / STARTS, [*starts, start])


def settings_digest(config: Mapping[str, Any], may_change: Collection[str]) -> str:
  """The digest of a configuration without the fields that may change; each checkpoint has it."""
  settings = {name: value for name, value in _plain(config).items() if name not in may_change}
  return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def describe_start() -> dict[str, Any]:
  """The command of this process, its code and its machine."""
  return {
    "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "command": [sys.executable, *sys.argv],
    "git_commit": git_commit(),
    "platform": platform.platform(),
    "arithmetic": arithmetic(),
    "versions": package_versions(),
  }


@contextmanager
def writing(directory: Path) -> Iterator[None]:
  """A block of writes; raises `ConfigurationError` if the disk refuses one."""
  try:
    yield
  except OSError as error:
    raise ConfigurationError(f"config.output_directory: {directory} cannot be written: {error}") from error


def _has_other_files(directory: Path) -> bool:
  """Whether there are files other than those of a run that was killed before it wrote its configuration."""
  return any(path.name not in (LOCK, CODE) and not path.name.endswith(PARTIAL) for path in directory.iterdir())


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
  return flatten(json.loads(json.dumps(config)))


def _check_same_run(
  directory: Path,
  config: Mapping[str, Any],
  may_change: Collection[str],
  follows: Mapping[str, str],
  code: Mapping[str, Any],
  continue_changed: bool,
) -> None:
  before, now = flatten(read_document(directory)["config"]), _plain(config)
  fields = [
    name for name in sorted(before.keys() | now.keys()) if name not in may_change and before.get(name) != now.get(name)
  ]
  differences = [
    f"config.{name} = {before.get(name)!r}, this one has {now.get(name)!r}"
    + (f", which follows config.{follows[name]}" if name in follows else "")
    for name in fields
  ]
  if (directory / CODE).is_file():
    differences += code_differences(read_json(directory / CODE, dict), code)
  if differences and not continue_changed:
    following = [name for name in fields if name in follows and before.get(name) is not None]
    raise ConfigurationError(
      *(f"{directory} holds a run with {difference}" for difference in differences),
      *(f"--config.{name}={before[name]} leaves config.{name} as that run has it" for name in following),
      "choose another --config.output_directory, remove that run, or add --continue_changed, which goes on with the "
      "change from the newest checkpoint; what it ends in is not what a run ends in that had it from the beginning",
    )
  for difference in differences:
    log(f"WARNING: going on, although {directory} holds a run with {difference}")


def _arithmetic_differences(before: Any, now: Mapping[str, Any]) -> list[str]:
  earlier = before.get("arithmetic", {}) if isinstance(before, Mapping) else {}
  return [
    f"{name} {earlier[name]!r} -> {value!r}"
    for name, value in now["arithmetic"].items()
    if name in earlier and earlier[name] != value
  ]
