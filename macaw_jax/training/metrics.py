"""Where the numbers of a run go: a JSON-lines file, TensorBoard, a line in the terminal.

A disk that is full, or gone, must not end a run of days: the writers here keep in memory what it refuses and try again.
"""

import datetime
import json
import os
import platform
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from macaw_jax.console import returns_text
from macaw_jax.durable import write_durably
from macaw_jax.json_files import parse_row, to_json, whole_lines
from macaw_jax.json_files import read_rows as read_rows  # for those who read what is written here


class AppendedFile:
  """A file that grows by whole records, at its end.

  A record that the disk refuses (ENOSPC, EDQUOT, EFBIG, EIO, EROFS, ...) waits in memory, what was written of it is cut
  off, and it is tried again with the next one. So the file has each record once and in order as soon as the disk takes
  them, and a kill can leave at most a part of the last one.

  Args:
    path: the file; made where there is none.

  Attributes:
    problem: why the newest records are not in the file, or perhaps not on the disk; None while all is well.

  Raises:
    OSError: the file cannot be opened.
  """

  def __init__(self, path: Path):
    path.touch()
    self._file = path.open("r+b", buffering=0)
    self._size = os.fstat(self._file.fileno()).st_size  # of the records that are written
    self._waiting: deque[bytes] = deque()
    self.problem: OSError | None = None

  @property
  def pending(self) -> int:
    """The number of records that are not in the file; after `close`, of those that are lost."""
    return len(self._waiting)

  def append(self, record: bytes) -> None:
    """Writes a record behind those that wait, or leaves it with them. Raises `ValueError` once the file is closed."""
    self._waiting.append(record)
    self._write_waiting()

  def sync(self) -> None:
    """Tries what waits once more, and waits until what is written is on the disk."""
    self._write_waiting()
    try:
      os.fsync(self._file.fileno())
    except OSError as error:
      self.problem = error

  def close(self) -> None:
    """`sync`, then no more; what still waits is lost, and `pending` counts it. A second call does nothing."""
    if self._file.closed:
      return
    self.sync()
    try:
      self._file.close()
    except OSError as error:  # Some network file systems report a full disk only here.
      self.problem = error

  def _write_waiting(self) -> None:
    descriptor = self._file.fileno()
    try:
      while self._waiting:
        _write_at(descriptor, self._waiting[0], self._size)
        self._size += len(self._waiting.popleft())
    except OSError as error:
      with suppress(OSError):
        os.ftruncate(descriptor, self._size)
      self.problem = error
    else:
      self.problem = None


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
  """One `pwrite`, or more where the disk took a part: the next then says why. A repetition overwrites that part."""
  written = 0
  while written < len(data):
    written += os.pwrite(descriptor, data[written:], offset + written)


class JsonLinesWriter(AppendedFile):
  """One strict JSON object a line: `step`, `wall_time` (seconds of this run, resumed parts added) and the metrics.

  Numbers that JSON cannot express are null. Every line is written at once, so that the file can be followed. See
  `AppendedFile` for a disk that is full.

  Args:
    path: the file; made with its folder.
    keep_rows: a run that resumes from a checkpoint which follows this many rows keeps them; later lines, which the run
      writes again, are dropped. None begins a new file. What is kept replaces the file in one step: a kill at any
      moment leaves the old file or the new.

  Attributes:
    num_rows: rows so far, in the file and pending.
    damaged_rows: how many of the rows to keep are no rows, or not there at all; they are left out.
    set_aside: a copy of the file as it was, `<name>.damaged` or `<name>.damaged.<number>`, if it had damaged rows.

  Raises:
    OSError: the file cannot be read, replaced or opened.
    ValueError: `keep_rows` is negative.
  """

  def __init__(self, path: str | Path, keep_rows: int | None = None):
    if keep_rows is not None and keep_rows < 0:
      raise ValueError(f"keep_rows: {keep_rows}; expected a number of rows, or None")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_bytes() if path.exists() else b""
    lines = whole_lines(before)[: keep_rows or 0]
    rows = [(row, line) for line in lines if (row := _row_or_none(line)) is not None]
    self.damaged_rows = (keep_rows or 0) - len(rows)
    self.set_aside = _set_aside(path, before) if before and self.damaged_rows else None
    kept = b"".join(line + b"\n" for _, line in rows)
    if kept != before:
      write_durably(path, kept)
    self._start = time.monotonic() - (rows[-1][0]["wall_time"] if rows else 0.0)
    self.num_rows = len(rows)
    super().__init__(path)

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Appends one line."""
    numbers = {name: float(value) for name, value in metrics.items()}
    row = {"step": int(step), "wall_time": round(time.monotonic() - self._start, 3), **numbers}
    self.append(json.dumps(to_json(row), allow_nan=False).encode() + b"\n")
    self.num_rows += 1


def _row_or_none(line: bytes) -> dict[str, Any] | None:
  try:
    return parse_row(line)
  except ValueError:
    return None


def _set_aside(path: Path, data: bytes) -> Path:
  """Writes `data` under the first name beside `path` that is free."""
  name, number = f"{path.name}.damaged", 0
  while (place := path.with_name(f"{name}.{number}" if number else name)).exists():
    number += 1
  write_durably(place, data)
  return place


class TensorBoardWriter(AppendedFile):
  """Scalars for TensorBoard, in a file of events of its own; earlier files in the folder are left as they are.

  Written here and at once. tensorboardX's own writer hands events to a thread through a queue of ten: the first
  `OSError` ends the thread, and soon after the run would wait for room in the queue for ever.

  Args:
    directory: the folder; made where there is none.
    resume_step: rows of later steps from earlier parts of the run are hidden. None, for a run that starts, hides all.
  """

  def __init__(self, directory: str | Path, resume_step: int | None = None):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    # TensorBoard reads a folder's files by name.
    super().__init__(directory / f"events.out.tfevents.{time.time_ns()}.{platform.node()}")
    first_step = 0 if resume_step is None else resume_step + 1
    start = SessionLog(status=SessionLog.START)
    self._append_events(Event(file_version="brain.Event:2"), Event(step=first_step, session_log=start))

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Adds one scalar a metric."""
    scalars = [Summary.Value(tag=name, simple_value=float(value)) for name, value in metrics.items()]
    self._append_events(Event(step=int(step), summary=Summary(value=scalars)))

  def _append_events(self, *events: Event) -> None:
    for event in events:
      event.wall_time = time.time()
    self.append(b"".join(_record(event.SerializeToString()) for event in events))


def _record(data: bytes) -> bytes:
  """`data` as TensorFlow frames it: its length, the length's checksum, itself, its checksum."""
  length = struct.pack("<Q", len(data))
  return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
  return struct.pack("<I", masked_crc32c(data))


class ProgressLine:
  """One line a row: step, speed, time left, losses or training returns, the newest return on test tasks.

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
      self._test_return = f"test return {_change(metrics, 'test/return')}"
    if "steps_per_second" not in metrics:
      return
    speed = metrics["steps_per_second"]
    losses = [f"{name} {value:.4g}" for name, value in metrics.items() if name.endswith("loss")]
    if "return_after" in metrics:  # of an on-policy agent, whose loss says nothing
      losses.append(f"training return {_change(metrics, 'return')}")
    parts = [
      f"step {step:>{len(str(self._num_steps))}}/{self._num_steps}",
      f"{speed:.1f} steps/s",
      f"{datetime.timedelta(seconds=round((self._num_steps - step) / speed))} left",
      *losses,
      f"{skipped:.4g} skipped" if (skipped := metrics.get("skipped_updates", 0)) else "",
      self._test_return,
    ]
    self._show("  ".join(part for part in parts if part))


def _change(metrics: Mapping[str, float], name: str) -> str:
  return " -> ".join(returns_text((metrics[f"{name}_before"], metrics[f"{name}_after"])))
