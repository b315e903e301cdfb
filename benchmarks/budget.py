"""Rows of a table that are measured one after the other until the time is up."""

import gc
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

STARTED = time.monotonic()  # When this module was first imported.

Row = dict[str, Any]


class Job(NamedTuple):
  """A row still to be measured."""

  kind: str  # rows of one kind take about as long as each other; its first word names them for users
  name: str
  run: Callable[[], Row]
  guess: float = 30.0  # seconds that the first row of this kind is given


class LeftOut(NamedTuple):
  """A row that was not measured, and why."""

  name: str
  reason: str


class Outcome(NamedTuple):
  """The outcome of the jobs."""

  rows: list[Row]
  left_out: list[LeftOut]


def run_jobs(
  jobs: Sequence[Job],
  deadline: float,
  after_each: Callable[[Outcome], None],
  *,
  clock: Callable[[], float] = time.monotonic,
) -> Outcome:
  """Measures what fits before the deadline; a row that fails is left out, and the next one is tried.

  A row is begun only if the longest row of its kind so far, or at first its guess, would end in time.

  Args:
    jobs: in order of precedence.
    deadline: by `clock`, in seconds.
    after_each: is shown the outcome so far after every job, so that it can be written down.
    clock: seconds that only grow.
  """
  outcome = Outcome([], [])
  longest: dict[str, float] = {}
  for job in jobs:
    started, needed = clock(), longest.get(job.kind, job.guess)
    if started + needed > deadline:
      left = max(deadline - started, 0.0)
      outcome.left_out.append(LeftOut(job.name, f"no time: {left:.0f} s were left, about {needed:.0f} s are needed"))
    else:
      row = attempt(job)
      if isinstance(row, LeftOut):
        outcome.left_out.append(row)
      else:
        outcome.rows.append({"name": job.name, **row})
      longest[job.kind] = max(longest.get(job.kind, 0.0), clock() - started)
    after_each(outcome)
  return outcome


def attempt(job: Job) -> Row | LeftOut:
  """The row, or why there is none: a package is missing or does not load, the memory is too small, it went wrong."""
  try:
    return job.run()
  except ImportError as error:
    return LeftOut(job.name, f"cannot be imported: {first_line(error)}")
  except Exception as error:
    reason = f"{type(error).__name__}: {first_line(error)}"
    if not is_out_of_memory(reason):
      traceback.print_exc()
    return LeftOut(job.name, reason)
  finally:
    release_memory()


def is_out_of_memory(reason: str) -> bool:
  """Whether JAX, PyTorch or Python says that memory ran out."""
  return any(sign in reason for sign in ("RESOURCE_EXHAUSTED", "OutOfMemoryError", "MemoryError", "out of memory"))


def first_line(error: BaseException) -> str:
  """The first line of a message, cut to a length that fits a table."""
  return (str(error).splitlines() or [""])[0][:200]


def release_memory() -> None:
  """Lets go of the programs and arrays of the last row."""
  import jax

  jax.clear_caches()
  gc.collect()
