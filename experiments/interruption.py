"""Signals that ask a run to stop: it saves, and ends with a code that says why.

SIGTERM and SIGINT end with 143 and 130, as shells report them. SIGUSR1 is the notice that schedulers give some time
before they take the machine; it ends with 75, the code of a temporary failure, after which the job should be queued
again (`launch/slurm.sh`). A second signal ends at once, with the code of the first.

A run is in one of three conditions when the first signal comes:

  nothing unsaved     the process ends at once, also from within the compiler
  training, saving    the compiled call, or the save, comes to its end; the run polls between them (`holding`)
  evaluating          there is nothing in an evaluation to be kept: `Interrupted` is raised inside it (`abandoning`)

Python runs signal handlers in the main thread between two instructions, and a compilation is one instruction; a thread
that waits for the signals' numbers ends the process where it need not wait.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

REQUEUE = 75  # EX_TEMPFAIL of sysexits.h
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: REQUEUE}


class Interrupted(BaseException):
  """A run that was asked to stop. Like `KeyboardInterrupt` it is no `Exception`: nothing handles it in passing.

  Attributes:
    signal: that asked.
  """

  def __init__(self, number: int):
    super().__init__(number)
    self.signal = signal.Signals(number)


class Interruption:
  """Listens for the signals of `EXIT_CODES` while it is entered; for the main thread of a process.

  Attributes:
    advice: how to go on, said by a process that ends at once.
  """

  def __init__(self) -> None:
    self.advice = ""
    self._received: int | None = None
    self._holding = False
    self._heard = False  # whether the main thread was holding when it got to know
    self._abandoning = False

  def __enter__(self) -> "Interruption":
    self._reader, self._writer = socket.socketpair()
    self._writer.setblocking(False)
    self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
    self._handlers_before = {number: signal.signal(number, self._handle) for number in EXIT_CODES}
    threading.Thread(target=self._watch, name="signals", daemon=True).start()
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._handlers_before.items():
      signal.signal(number, handler)
    signal.set_wakeup_fd(self._wakeup_before)
    self._writer.close()  # Ends the thread, which reads that nothing will come.

  @property
  def received(self) -> int:
    """The first signal's number, 0 before there is one."""
    return self._received or 0

  @contextmanager
  def holding(self) -> Iterator[None]:
    """While there is something to save: a first signal waits until it is asked for."""
    self._holding = True
    try:
      yield
    finally:
      self._holding = False

  @contextmanager
  def abandoning(self) -> Iterator[None]:
    """A block that need not come to its end: a signal raises `Interrupted` in it."""
    self._abandoning = True
    try:
      if self._received is not None:
        raise Interrupted(self._received)
      yield
    finally:
      self._abandoning = False

  def _handle(self, number: int, frame: FrameType | None) -> None:
    """In the main thread, as soon as it is back in Python."""
    first, self._received = self._received is None, self._received or number
    self._heard = self._holding
    if first and self._abandoning:
      raise Interrupted(number)

  def _watch(self) -> None:
    """In a thread: ends the process at the first signal where nothing is unsaved, and at any second one."""
    first = 0
    while received := self._reader.recv(1):
      number = received[0]
      if number not in EXIT_CODES:  # Others have handlers too, and wake this thread.
        continue
      if first or not (self._holding or self._heard):
        self._leave(first or number)
      first = number
      _write(f"{signal.Signals(number).name}: saving first; a second signal ends at once")
    self._reader.close()

  def _leave(self, number: int) -> NoReturn:
    _write("; ".join(filter(None, (f"stopped by {signal.Signals(number).name}", self.advice))))
    os._exit(EXIT_CODES[signal.Signals(number)])


def _write(line: str) -> None:
  """Past Python's own streams: the main thread may hold their locks."""
  os.write(2, f"{line}\n".encode())
