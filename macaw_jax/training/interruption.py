"""Signals that ask a command to stop: a run saves, and ends with a code that says why.

SIGTERM, SIGINT and SIGHUP end with 143, 130 and 129, as shells report them. SIGUSR1 is the notice that schedulers give
some time before they take the machine; it ends with 75, the code of a temporary failure, after which the job should be
queued again (`launch/slurm.sh`). A second signal ends at once, with the code of the first.

The first signal depends on the state of the run:

  nothing unsaved     the process ends at once, also from within the compiler
  training, saving    the compiled call, or the save, comes to its end; the run asks between them (`holding`)
  evaluating          nothing of an evaluation is kept: `Interrupted` is raised inside it (`abandoning`)

Python runs signal handlers in the main thread between two instructions, and a compilation is one instruction. So a
thread that waits for the signals' numbers ends the process where it need not wait.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Literal, NoReturn

REQUEUE = 75  # EX_TEMPFAIL of sysexits.h
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129, signal.SIGUSR1: REQUEUE}


class Interrupted(BaseException):
  """A run that was asked to stop. Like `KeyboardInterrupt` it is no `Exception`: nothing handles it in passing.

  Attributes:
    signal: that asked.
  """

  def __init__(self, number: int):
    super().__init__(number)
    self.signal = signal.Signals(number)


class Interruption:
  """The signals that a run has received.

  There are none before `listen` is called, once, in the main thread of a process that may be ended: a caller of `run`
  as a function keeps the handlers that are there.

  Attributes:
    advice: how to go on, printed by a process that ends at once.
    received: the first signal's number, 0 before there is one.
  """

  def __init__(self) -> None:
    self.advice = ""
    self.received = 0
    self._numbers: list[signal.Signals] = []  # that are answered here
    self._answer: Literal["leave", "wait", "raise"] = "leave"  # to a first signal
    self._is_waited_for = False  # whether the first signal came while something was unsaved

  def listen(self) -> None:
    """From now to the end of the process, the signals of `EXIT_CODES` are answered here.

    A signal that is ignored stays so, as SIGHUP under `nohup` and SIGINT in the background of a script.
    """
    self._reader, writer = socket.socketpair()
    writer.setblocking(False)
    self._writer = writer  # Closed with the process.
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    self._numbers = [number for number in EXIT_CODES if signal.getsignal(number) is not signal.SIG_IGN]
    self.take_back()
    threading.Thread(target=self._watch, name="signals", daemon=True).start()

  def take_back(self) -> None:
    """Takes the signals back from a library that has set handlers of its own; does nothing where nobody listens."""
    for number in self._numbers:
      signal.signal(number, self._handle)

  @contextmanager
  def holding(self) -> Iterator[None]:
    """While there is something to save: a first signal waits until `received` is looked at."""
    self._answer = "wait"
    try:
      yield
    finally:
      self._answer = "leave"

  @contextmanager
  def abandoning(self) -> Iterator[None]:
    """Inside `holding`, a block that need not come to its end: a signal raises `Interrupted` in it."""
    self._answer = "raise"
    try:
      if self.received:
        raise Interrupted(self.received)
      yield
    finally:
      self._answer = "wait"

  def _handle(self, number: int, frame: FrameType | None) -> None:
    """In the main thread, as soon as it is back in Python."""
    if self.received:
      return
    self.received = number
    self._is_waited_for = self._answer != "leave"
    if self._answer == "raise":
      raise Interrupted(number)

  def _watch(self) -> NoReturn:
    """In a thread: ends the process at the first signal where nothing is unsaved, and at any second one."""
    first = self._next()
    # The main thread may have been faster, and may have saved by now.
    if self._answer == "leave" and not self._is_waited_for:
      self._leave(first)
    _write(f"{first.name}: saving first; a second signal ends at once")
    self._next()
    self._leave(first)

  def _next(self) -> signal.Signals:
    """Waits for a signal; others than these have handlers too, and wake this thread."""
    while True:
      (number,) = self._reader.recv(1)
      if number in self._numbers:
        return signal.Signals(number)

  def _leave(self, number: signal.Signals) -> NoReturn:
    _write("; ".join(filter(None, (f"stopped by {number.name}", self.advice))))
    os._exit(EXIT_CODES[number])


def _write(line: str) -> None:
  """Past Python's own streams: the main thread may hold their locks."""
  with suppress(OSError):
    os.write(2, f"{line}\n".encode())
