"""Where the numbers of a run go: a JSON-lines file, TensorBoard, a line in the terminal."""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import tensorboardX


class MetricWriter(Protocol):
  """A place for rows of numbers, one row a step."""

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Takes the metrics of one step."""

  def close(self) -> None:
    """Puts everything on the disk."""


def to_json(value: Any) -> Any:
  """`value` with each number that JSON cannot express (NaN, infinities) as None."""
  if isinstance(value, Mapping):
    return {key: to_json(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [to_json(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


class JsonLinesWriter:
  """One strict JSON object a line: `step`, `wall_time` (seconds of this run, resumed parts added) and the metrics.

  Numbers that JSON cannot express are null. Every line is flushed, so that the file can be followed.

  Args:
    path: the file; made with its folder, continued where it exists.
    resume_step: rows after this step are dropped first: a run that resumes from a checkpoint writes them again.
  """

  def __init__(self, path: str | Path, resume_step: int = 0):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [row for row in read_rows(path) if row["step"] <= resume_step] if path.exists() else []
    self._start = time.monotonic() - (rows[-1]["wall_time"] if rows else 0.0)
    self._file = path.open("w")
    for row in rows:
      self._write(row)

  def _write(self, row: Mapping[str, Any]) -> None:
    self._file.write(json.dumps(to_json(row), allow_nan=False) + "\n")
    self._file.flush()

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Appends one line."""
    numbers = {name: float(value) for name, value in metrics.items()}
    self._write({"step": int(step), "wall_time": round(time.monotonic() - self._start, 3), **numbers})

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


def read_rows(path: str | Path) -> list[dict[str, Any]]:
  """The rows of a JSON-lines file; a last line that was cut off while it was written is left out."""
  rows = []
  for line in Path(path).read_text().splitlines(keepends=True):
    if line.endswith("\n"):
      rows.append(json.loads(line))
  return rows


class TensorBoardWriter:
  """Scalars for TensorBoard; rows after `resume_step` from an earlier part of the run are hidden."""

  def __init__(self, directory: str | Path, resume_step: int = 0):
    self._writer = tensorboardX.SummaryWriter(str(directory), purge_step=resume_step + 1)

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Adds one scalar a metric."""
    for name, value in metrics.items():
      self._writer.add_scalar(name, float(value), step)

  def close(self) -> None:
    """Flushes and closes the event file."""
    self._writer.close()


class ProgressLine:
  """One line a row, for people: step, speed, time left, losses, the newest return on the test tasks.

  Each row is a line of its own, so that a log file reads like the terminal. Rows without `steps_per_second` (those of
  an evaluation) show no line; their return is part of the lines that follow.

  Args:
    num_steps: where the run ends.
    show: takes the finished line.
  """

  def __init__(self, num_steps: int, show: Callable[[str], None] = print):
    self._num_steps = num_steps
    self._test_return = ""
    self._show = show

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Shows the row, or keeps the return of an evaluation."""
    if "test/return_after" in metrics:
      before, after = metrics["test/return_before"], metrics["test/return_after"]
      self._test_return = f"test return {before:.1f} -> {after:.1f}"
    if "steps_per_second" not in metrics:
      return
    speed = metrics["steps_per_second"]
    losses = [f"{name} {value:.4g}" for name, value in metrics.items() if name.endswith("loss")]
    parts = [
      f"step {step:>{len(str(self._num_steps))}}/{self._num_steps}",
      f"{speed:.1f} steps/s",
      f"{duration((self._num_steps - step) / speed)} left",
      *losses,
      self._test_return,
    ]
    self._show("  ".join(part for part in parts if part))

  def close(self) -> None:
    """Does nothing: lines are shown at once."""


class WriterGroup:
  """Several writers as one."""

  def __init__(self, *writers: MetricWriter):
    self._writers = writers

  def __enter__(self) -> "WriterGroup":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Hands the row to each writer."""
    for writer in self._writers:
      writer.write(step, metrics)

  def close(self) -> None:
    """Closes each writer."""
    for writer in self._writers:
      writer.close()


def duration(seconds: float) -> str:
  """Seconds as `h:mm:ss`.

  >>> duration(3725.4)
  '1:02:05'
  """
  minutes, second = divmod(round(seconds), 60)
  hour, minute = divmod(minutes, 60)
  return f"{hour}:{minute:02d}:{second:02d}"
