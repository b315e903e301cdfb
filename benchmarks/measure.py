"""The common part of benchmarks: a pinned core, interleaved repeats, quartiles, a table, a record of the machine.

Import this module before JAX, and call `pin` first: JAX sizes its thread pools when it starts.
"""

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

Name = TypeVar("Name")


class Times(NamedTuple):
  """Seconds that one call took: of this process on all its cores, and by the clock."""

  processor: float
  wall: float


class Spread(NamedTuple):
  """Median and quartiles, or another estimate and the ends of its interval."""

  low: float
  median: float
  high: float


def pin(cores: int = 1) -> None:
  """Keeps this process, with all threads it will start, on the first `cores` of the cores it may use."""
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))


def measure(call: Callable[[], Any]) -> Times:
  """Times one call, which returns when its work is done."""
  processor, wall = time.process_time(), time.perf_counter()
  call()
  return Times(time.process_time() - processor, time.perf_counter() - wall)


def interleave(calls: Mapping[Name, Callable[[], Any]], repeats: int) -> dict[Name, list[Times]]:
  """Each call once untimed, then all of them in turn, `repeats` times: a noisy machine is noisy for all."""
  for call in calls.values():
    call()
  times: dict[Name, list[Times]] = {name: [] for name in calls}
  for _ in range(repeats):
    for name, call in calls.items():
      times[name].append(measure(call))
  return times


def repeated(program: Callable[[Any], tuple[Any, Any]], state: Any) -> Callable[[], None]:
  """A call of `(state) -> (state, metrics)` that waits for it, each time from the state that the last one left."""
  import jax

  def call() -> None:
    nonlocal state
    state, metrics = program(state)
    jax.block_until_ready((state, metrics))

  return call


def spread(values: Sequence[float]) -> Spread:
  """The quartiles of `values`."""
  return Spread(*(float(value) for value in np.percentile(values, [25, 50, 75])))


def ratio_of_medians(values: Sequence[float], baseline: Sequence[float]) -> Spread:
  """The ratio of two medians over the same rounds, between the ends of its 95 % bootstrap interval.

  Rounds are resampled as pairs: what slows down a round slows down both.
  """
  from scipy import stats

  def ratio(values: np.ndarray, baseline: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.median(values, axis=axis) / np.median(baseline, axis=axis)

  interval = stats.bootstrap(
    (values, baseline), ratio, paired=True, method="percentile", n_resamples=2_000, rng=np.random.default_rng(0)
  ).confidence_interval
  return Spread(float(interval.low), float(ratio(np.asarray(values), np.asarray(baseline))), float(interval.high))


def show(values: Spread, digits: int = 1) -> str:
  """A spread for people.

  >>> show(Spread(1.0, 2.0, 4.0))
  '2.0 [1.0, 4.0]'
  """
  low, median, high = (f"{value:,.{digits}f}" for value in values)
  return f"{median} [{low}, {high}]"


def median_and_range(values: Sequence[float], digits: int) -> str:
  """For people.

  >>> median_and_range([1.0, 2.0, 4.0], 1)
  '2.0 (1.0 to 4.0)'
  """
  return f"{np.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
  """Rows with the same keys as a Markdown table, its columns aligned."""
  lines = [[str(name) for name in rows[0]], *([str(value) for value in row.values()] for row in rows)]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  cells = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
  return "\n".join(f"| {line} |" for line in (cells[0], " | ".join("-" * width for width in widths), *cells[1:]))


def environment() -> dict[str, Any]:
  """Where figures come from: processor or accelerator, cores of this process, versions, commit."""
  import jax

  from macaw_jax.training.provenance import PACKAGES, git_commit

  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
  return {
    "device": jax.devices()[0].device_kind,
    "processor": _processor(),
    "cores": cores,
    "platform": platform.platform(),
    "versions": {"python": platform.python_version()} | installed_versions([*PACKAGES, "torch"]),
    "git_commit": git_commit(),
  }


def installed_versions(packages: Sequence[str]) -> dict[str, str]:
  """The version of each of the packages that is installed."""
  versions = {}
  for name in packages:
    with contextlib.suppress(metadata.PackageNotFoundError):
      versions[name] = metadata.version(name)
  return versions


def write_results(
  path: str | Path,
  benchmark: str,
  rows: Sequence[Mapping[str, Any]],
  *,
  where: Mapping[str, Any] | None = None,
  **more: Any,
) -> None:
  """Writes rows of plain numbers as JSON, with the environment they were measured in: this one if not given.

  Everything else that is named goes beside the rows.
  """
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  record = {"benchmark": benchmark, "environment": where or environment(), "rows": list(rows), **more}
  path.write_text(json.dumps(record, indent=2) + "\n")


def _processor() -> str:
  """The processor's name as Linux gives it, or the best that Python knows."""
  cpuinfo = Path("/proc/cpuinfo")
  if cpuinfo.is_file():
    for line in cpuinfo.read_text().splitlines():
      if line.startswith("model name"):
        return line.split(":", 1)[1].strip()
  return platform.processor() or platform.machine()
