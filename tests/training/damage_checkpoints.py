"""Damages checkpoints at random and counts what is noticed.

python tests/training/damage_checkpoints.py --damages=5000

Each damage hits the newest of three checkpoints on the disk, and is undone. It is noticed if verifying and restoring
both refuse, and the newest whole checkpoint is then found to be the next older that was not hit as well.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optax

from macaw_jax.training.checkpoints import Checkpoint, Checkpoints, DamagedCheckpoint, newest_whole
from macaw_jax.training.population import Skips
from macaw_jax.types import MetaParams, TrainState

OLDEST, OLDER, NEWEST = 10, 20, 30


def flip_bit(file, rng):
  content = bytearray(file.read_bytes())
  content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
  file.write_bytes(content)


def overwrite(file, rng):
  content = bytearray(file.read_bytes())
  start, length = rng.randrange(len(content)), rng.randrange(1, 33)
  content[start : start + length] = bytes(255 - byte for byte in content[start : start + length])
  file.write_bytes(content)


def zero(file, rng):
  """As a crash of the operating system leaves files whose size was written before their content."""
  file.write_bytes(bytes(file.stat().st_size))


def truncate(file, rng):
  content = file.read_bytes()
  file.write_bytes(content[: rng.randrange(len(content))])


def append(file, rng):
  with open(file, "ab") as opened:
    opened.write(rng.choice((b"\n", b" ", b"\0", b"}", rng.randbytes(rng.randrange(1, 100)))))


def delete(file, rng):
  file.unlink()


def rename(file, rng):
  file.rename(file.with_name(f"{file.name}~"))


def add(file, rng):
  file.with_name(rng.randbytes(16).hex()).write_bytes(rng.choice((b"", file.read_bytes())))


def link(file, rng):
  """The same bytes, but in a file that belongs to something else."""
  target = checkpoint_of(file).with_name("elsewhere")
  file.rename(target)
  file.symlink_to(target)


def become_directory(file, rng):
  file.unlink()
  file.mkdir()


def remove_folder(file, rng):
  # Without its directory a checkpoint is not damaged but gone.
  shutil.rmtree(file.parent if file.parent != checkpoint_of(file) else file.parent / "arrays")


def swap(file, another):
  content = file.read_bytes()
  file.write_bytes(another.read_bytes())
  another.write_bytes(content)


def swap_within(file, rng):
  swap(file, rng.choice(others_than(file, checkpoint_of(file))))


def swap_with_older(file, rng):
  """With the file of the same place, or if it has another name or equal bytes there, with any that differs."""
  older = checkpoint_of(file).with_name(str(OLDER))
  others = others_than(file, older)
  same_place = older / file.relative_to(checkpoint_of(file))
  swap(file, same_place if same_place in others else rng.choice(others))


def exchange_with_older(file, rng):
  """All of one checkpoint for all of the other."""
  newest, aside = checkpoint_of(file), checkpoint_of(file).with_name("aside")
  newest.rename(aside)
  newest.with_name(str(OLDER)).rename(newest)
  aside.rename(newest.with_name(str(OLDER)))


class Kind(NamedTuple):
  """One kind of damage; it takes a file of the newest checkpoint."""

  apply: Callable[[Path, random.Random], None]
  newest_whole: int = OLDER


KINDS = {
  "a bit flipped": Kind(flip_bit),
  "bytes overwritten": Kind(overwrite),
  "a file of zeros": Kind(zero),
  "a file truncated": Kind(truncate),
  "bytes appended": Kind(append),
  "a file deleted": Kind(delete),
  "a file renamed": Kind(rename),
  "a file added": Kind(add),
  "a link for a file": Kind(link),
  "a directory for a file": Kind(become_directory),
  "a folder deleted": Kind(remove_folder),
  "files swapped": Kind(swap_within),
  "files swapped with another checkpoint": Kind(swap_with_older, OLDEST),
  "two checkpoints swapped": Kind(exchange_with_older, OLDEST),
}


class Outcome(NamedTuple):
  """Of a number of damages."""

  tried: Counter[str]  # by kind
  noticed: Counter[str]
  files: Counter[str]  # that were hit, by path in the checkpoint
  messages: list[str]  # of what verifying refused


def make_checkpoint(step):
  rng = np.random.default_rng(step)
  params = {"policy": {name: rng.normal(size=(48, 48)).astype(np.float32) for name in ("kernel", "more")}}
  state = TrainState(MetaParams(params, {}), optax.adam(1e-3).init(params), np.int32(step))
  return Checkpoint(state, {"count": np.array(step)}, Skips(np.int32(0), np.int32(0)))


def damage_checkpoints(directory, damages, seed=0):
  """Tries `damages` damages, every kind on every file as often as every other, in an order that `seed` decides."""
  rng = random.Random(seed)
  checkpoints = directory / "checkpoints"
  tried, noticed, hit, messages = Counter(), Counter(), Counter(), []
  with Checkpoints(checkpoints) as stored:
    for step in (OLDEST, OLDER, NEWEST):
      stored.save(step, make_checkpoint(step), score=1.0, progress={"evaluated": True})
    shutil.copytree(checkpoints, directory / "whole")
    newest = checkpoints / str(NEWEST)
    names = [file.relative_to(newest).as_posix() for file in files_below(newest)]
    cases = [(kind, name) for kind in KINDS for name in names]
    rng.shuffle(cases)
    for case in range(damages):
      kind, name = cases[case % len(cases)]
      KINDS[kind].apply(newest / name, rng)
      refusals = [refusal(lambda: stored.verify(NEWEST)), refusal(lambda: stored.restore(make_checkpoint(0), NEWEST))]
      found, _ = newest_whole([stored])
      tried[kind] += 1
      hit[name] += 1
      if None not in refusals and found == KINDS[kind].newest_whole:
        noticed[kind] += 1
        messages.append(refusals[0])
      undo(checkpoints, directory / "whole")
    assert newest_whole([stored]) == (NEWEST, []), "a damage was not undone"
  return Outcome(tried, noticed, hit, messages)


def undo(directory, whole):
  """Makes all below `directory` as it is below `whole`; touches only what is not, as a disk is slow to remove."""
  for path in sorted(directory.rglob("*"), reverse=True):
    original = whole / path.relative_to(directory)
    if path.is_symlink() or path.is_file():
      if path.is_symlink() or not original.is_file() or path.read_bytes() != original.read_bytes():
        path.unlink()
    elif not original.is_dir():
      path.rmdir()
  for original in sorted(whole.rglob("*")):
    path = directory / original.relative_to(whole)
    if original.is_dir():
      path.mkdir(exist_ok=True)
    elif not path.exists():
      shutil.copyfile(original, path)


def refusal(attempt):
  """The message of the refusal, None where there was none."""
  try:
    attempt()
  except DamagedCheckpoint as error:
    return str(error)
  return None


def files_below(directory):
  return sorted(path for path in directory.rglob("*") if path.is_file())


def others_than(file, directory):
  """The files below a directory whose bytes are not those of `file`."""
  return [each for each in files_below(directory) if each.read_bytes() != file.read_bytes()]


def checkpoint_of(file):
  return next(parent for parent in file.parents if parent.name == str(NEWEST))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--damages", type=int, default=1000)
  parser.add_argument("--seed", type=int, default=0)
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory() as directory:
    outcome = damage_checkpoints(Path(directory), arguments.damages, arguments.seed)
  print(f"{'damage':<40}{'tried':>8}{'noticed':>9}")
  for kind in KINDS:
    print(f"{kind:<40}{outcome.tried[kind]:>8}{outcome.noticed[kind]:>9}")
  print(f"{'sum':<40}{outcome.tried.total():>8}{outcome.noticed.total():>9}")
  print(f"on {len(outcome.files)} files, each {min(outcome.files.values())} to {max(outcome.files.values())} times")
  return int(outcome.noticed != outcome.tried)


if __name__ == "__main__":
  sys.exit(main())
