import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from checkpoint_version_1.make import make_checkpoint
from linear_cloning import linear_cloning, run

from macaw_jax.training import checkpoint_record, loop
from macaw_jax.training.checkpoints import (
  Checkpoint,
  Checkpoints,
  DamagedCheckpoint,
  OtherRun,
  OtherVersion,
  SaveError,
  newest_whole,
)
from macaw_jax.training.population import Skips
from macaw_jax.types import MetaParams, TrainState

STATISTICS = {"mean": np.array([1.5, -2.0], np.float32), "count": np.array(7)}
SKIPS = Skips(np.int32(3), np.int32(1))
VERSION_1 = Path(__file__).parent / "checkpoint_version_1"


def small(value=0.0, size=2):
  """A checkpoint that is told from others by `value`."""
  params = MetaParams({"policy": np.full(size, value, np.float32)}, {})
  return Checkpoint(TrainState(params, {}, np.int32(0)), STATISTICS, SKIPS)


def value_of(checkpoint):
  return float(checkpoint.state.params.net["policy"][0])


def names(directory):
  return sorted(path.name for path in directory.iterdir())


def rewrite(directory, change):
  """Changes a record in such a way that its digest is right, as another release could have written it."""
  path = directory / "checkpoint.json"
  document = json.loads(path.read_text())
  change(document)
  document["digest"] = checkpoint_record.document_digest(document)
  path.write_bytes(checkpoint_record._to_bytes(document))


def assert_same_bits(found, expected):
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    other = np.asarray(other)
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert one.tobytes() == other.tobytes()


# What is restored.


def test_resuming_equals_an_uninterrupted_run(tmp_path):
  algorithm = linear_cloning()
  uninterrupted, _ = run(12, 3, algorithm)
  stopped, _ = run(6, 3, algorithm)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(6, Checkpoint(stopped, STATISTICS, SKIPS))

  with Checkpoints(tmp_path) as checkpoints:
    like = Checkpoint(loop.initialise(algorithm, jax.random.key(99)), STATISTICS, SKIPS)
    restored, _ = checkpoints.restore(like)
  assert int(restored.state.step) == 6
  resumed, _ = run(12, 3, algorithm, restored.state)
  jax.tree.map(np.testing.assert_array_equal, resumed, uninterrupted)


def test_restored_structure_types_statistics_and_skips(tmp_path):
  state, _ = run(2, 2)
  saved = Checkpoint(state, STATISTICS, SKIPS)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(int(state.step), saved)
    restored, _ = checkpoints.restore(saved)
  assert_same_bits(restored, saved)


EXACT = ("bool", "int4", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")
INEXACT = ("float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32", "float64", "complex64")


@pytest.mark.parametrize("dtype", [*EXACT, *INEXACT])
def test_every_bit_of_every_type_comes_back(tmp_path, dtype):
  dtype = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
  rng = np.random.default_rng(0)
  # A byte of a bool or of an int4 has no other values.
  top = {"bool": 2, "int4": 8}.get(dtype.name, 256)
  bits = rng.integers(0, top, (3, 5, dtype.itemsize), np.uint8)
  leaves = {
    "any bits, NaN among them": bits.view(dtype)[..., 0],
    "a scalar": bits.view(dtype)[0, 0, 0],
    "a/path.with ['signs']": bits.view(dtype)[:1, :, 0],
    "columns": np.asfortranarray(bits.view(dtype)[..., 0]),
    "nothing": np.zeros((0, 3), dtype),
    "zeros": np.zeros(4, dtype),
    "ones": np.ones(4, dtype),
  }
  saved = small()._replace(statistics=leaves)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, saved)
    assert_same_bits(checkpoints.restore(saved)[0], saved)


def test_zeros_keep_their_sign(tmp_path):
  saved = small(-0.0)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, saved)
    assert_same_bits(checkpoints.restore(small())[0], saved)


def test_the_note_comes_back(tmp_path):
  progress = {"metrics_rows": 12, "evaluated": True, "more": {2: [0.1, None], 10: "é"}}
  with Checkpoints(tmp_path, identity={"config": "a1", "dataset": "b2"}) as checkpoints:
    checkpoints.save(1, small(), score=0.1 + 0.2, progress=progress)
    _, note = checkpoints.restore(small())
    assert note == checkpoints.verify(1).note
  assert note.step == 1
  assert note.score == 0.1 + 0.2
  assert note.identity == {"config": "a1", "dataset": "b2"}
  assert note.progress == json.loads(json.dumps(progress))


@pytest.mark.parametrize("score", [None, float("nan"), float("inf")])
def test_what_is_not_finite_is_no_score(tmp_path, score):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, small(), score=score)
    assert checkpoints.verify(1).note.score is None
    assert checkpoints.best_step() is None


def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(ValueError, match=r"leaf .statistics\['name'\] has dtype <U3, expected numbers"):
      checkpoints.save(1, small()._replace(statistics={"name": np.array("abc")}))
    with pytest.raises(ValueError, match="not JSON compliant"):
      checkpoints.save(1, small(), progress={"loss": float("nan")})
  assert names(tmp_path) == []


def test_the_checkpoint_of_format_version_1_is_read():
  expected, score, progress = make_checkpoint()
  with Checkpoints(VERSION_1, identity={"config": "0123abcd"}) as checkpoints:
    assert checkpoints.steps() == [7]
    restored, note = checkpoints.restore(jax.tree.map(np.zeros_like, expected))
  assert_same_bits(restored, expected)
  assert (note.step, note.score, note.identity, note.progress) == (7, score, {"config": "0123abcd"}, progress)


# What is refused.


def test_an_empty_directory(tmp_path):
  with Checkpoints(tmp_path / "none") as checkpoints:
    assert checkpoints.newest_step() is None
    assert checkpoints.best_step() is None
    assert newest_whole([checkpoints]) == (None, [])
    checkpoints.remove_unfinished()
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
      checkpoints.restore(small())
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 3"):
      checkpoints.verify(3)
  assert not (tmp_path / "none").exists()


def with_statistics(**changes):
  return small()._replace(statistics=STATISTICS | changes)


@pytest.mark.parametrize(
  ("like", "message"),
  [
    (small(size=3), r"1: leaf .state.params.net\['policy'\] has shape \(2,\), expected \(3,\)"),
    (with_statistics(count=np.array(7, np.int32)), r"leaf .statistics\['count'\] has dtype int64, expected int32"),
    (with_statistics(scale=np.array(1)), r"leaf .statistics\['scale'\] is missing"),
    (small()._replace(statistics={"count": np.array(7)}), r"leaf .statistics\['mean'\] is unknown"),
  ],
)
def test_another_structure_is_refused(tmp_path, like, message):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, small())
    with pytest.raises(ValueError, match=message):
      checkpoints.restore(like)


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
  with Checkpoints(tmp_path, identity={"config": "a", "dataset": "b", "key": "c"}) as checkpoints:
    checkpoints.save(1, small(5.0))
  with Checkpoints(tmp_path, identity={"config": "a", "dataset": "other", "key": "c", "more": "d"}) as checkpoints:
    with pytest.raises(OtherRun, match=r"1: the checkpoint of a run with another dataset, more") as refusal:
      checkpoints.restore(small())
    assert refusal.value.names == ("dataset", "more")
    assert value_of(checkpoints.restore(small(), may_differ=("dataset", "more"))[0]) == 5.0
  with Checkpoints(tmp_path) as checkpoints:  # who names nothing compares nothing
    assert value_of(checkpoints.restore(small())[0]) == 5.0


def test_a_newer_format_is_no_damage(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    for step in (1, 2):
      checkpoints.save(step, small())
    rewrite(tmp_path / "2", lambda document: document.update(format_version=2))
    message = r"2/checkpoint.json: format version 2, written by a newer release; this release reads version 1"
    for refused in (
      lambda: checkpoints.verify(2),
      lambda: checkpoints.restore(small()),
      lambda: newest_whole([checkpoints]),
      lambda: checkpoints.best_step(),
    ):
      with pytest.raises(OtherVersion, match=message):
        refused()


def test_the_format_without_a_version_is_no_damage(tmp_path):
  (tmp_path / "4" / "default").mkdir(parents=True)
  (tmp_path / "4" / "_CHECKPOINT_METADATA").write_text("{}")
  message = r"4: written before checkpoints had a format version; this release reads version 1"
  with Checkpoints(tmp_path) as checkpoints, pytest.raises(OtherVersion, match=message):
    checkpoints.restore(small())


@pytest.mark.parametrize(
  "change",
  [
    lambda document: document.update(step=2),
    lambda document: document.pop("leaves"),
    lambda document: document.update(files=[]),
    lambda document: document.update(more=1),
    lambda document: document.update(format_version=True),
    lambda document: document["leaves"].popitem()[1],
  ],
)
def test_a_record_that_contradicts_its_checkpoint_is_refused(tmp_path, change):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, small())
    rewrite(tmp_path / "1", change)
    with pytest.raises(ValueError, match=str(tmp_path / "1")):
      checkpoints.restore(small())


def test_leaves_are_compared_after_loading(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, small())
    rewrite(tmp_path / "1", lambda document: document["leaves"][".skips.total"].update(sha256="0" * 64))
    checkpoints.verify(1)
    with pytest.raises(DamagedCheckpoint, match=r"1: leaf .skips.total: expected .*0000.*, found"):
      checkpoints.restore(small())


# What is kept.


def save_all(directory, scores, keep):
  with Checkpoints(directory) as checkpoints:
    for step, score in scores.items():
      checkpoints.save(step, small(step), score=score)
      checkpoints.remove_older(step, keep)
    return checkpoints.steps(), checkpoints.best_step()


@pytest.mark.parametrize(
  ("scores", "keep", "steps", "best"),
  [
    ({1: None, 2: None, 3: None}, 2, [2, 3], None),
    ({1: 5.0, 2: 9.0, 3: 7.0, 4: None, 5: 1.0}, 1, [2, 5], 2),
    ({1: 5.0, 2: 9.0, 3: 9.0, 4: None, 5: 1.0}, 2, [3, 4, 5], 3),
    ({1: -5.0, 2: None, 3: None, 4: None}, 1, [1, 4], 1),
    ({1: 1.0, 2: 2.0, 3: 3.0}, 2, [2, 3], 3),
    ({30: None, 200: None, 4: None, 5: None, 6: None}, 2, [5, 6, 30, 200], None),  # newer ones stay
  ],
)
def test_the_newest_and_the_best_are_kept(tmp_path, scores, keep, steps, best):
  assert save_all(tmp_path, scores, keep) == (steps, best)
  assert names(tmp_path) == sorted(map(str, steps))


def test_at_least_one_is_kept(tmp_path):
  with Checkpoints(tmp_path) as checkpoints, pytest.raises(ValueError, match="keep = 0: expected at least 1"):
    checkpoints.remove_older(1, keep=0)


def test_a_step_that_is_there_is_written_anew(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    for value in (1.0, 2.0):
      for step in (5, 6):
        checkpoints.save(step, small(value))
    assert names(tmp_path) == ["5", "6"]
    assert [value_of(checkpoints.restore(small(), step)[0]) for step in (5, 6)] == [2.0, 2.0]


def test_only_directories_named_by_a_step_are_checkpoints(tmp_path):
  for name in ("saving-8", "replaced-8", "damaged-8", "007", "-3", "²", "1e3", "8.orbax-checkpoint-tmp"):
    (tmp_path / name).mkdir()
  (tmp_path / "9").write_text("")
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.steps() == []
    checkpoints.save(1, small())
    assert checkpoints.steps() == [1]


def test_a_damaged_record_neither_stops_saving_nor_hides_from_the_best(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, small(), score=3.0)
    (tmp_path / "1" / "checkpoint.json").write_text("{}")
    checkpoints.save(2, small(), score=1.0)
    assert checkpoints.steps() == [1, 2]
    with pytest.raises(DamagedCheckpoint, match=r"1/checkpoint.json: key 'digest'"):
      checkpoints.best_step()


def test_the_newest_that_all_have_whole(tmp_path):
  with contextlib.ExitStack() as stack:
    one, two = (stack.enter_context(Checkpoints(tmp_path / name)) for name in ("one", "two"))
    for step in (2, 3, 4):
      one.save(step, small())
    for step in (1, 2, 3):
      two.save(step, small())
    assert newest_whole([one]) == (4, [])
    assert newest_whole([one, two]) == (3, [])
    (tmp_path / "two" / "3" / "arrays" / "_METADATA").unlink()
    step, damaged = newest_whole([one, two])
    assert step == 2
    assert [(checkpoints, step) for checkpoints, step, _ in damaged] == [(two, 3)]
    assert "arrays/_METADATA" in str(damaged[0][2])
    (tmp_path / "one" / "2" / "checkpoint.json").unlink()
    step, damaged = newest_whole([one, two])
    assert step is None
    assert [(checkpoints, step) for checkpoints, step, _ in damaged] == [(two, 3), (one, 2)]


def test_what_is_set_aside_is_kept_and_counts_no_longer(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    for _ in range(3):
      checkpoints.save(1, small(), score=9.0)
      checkpoints.set_aside(1)
    checkpoints.save(2, small())
    checkpoints.remove_unfinished()
    assert checkpoints.best_step() is None
  assert names(tmp_path) == ["2", "damaged-1", "damaged-1-2", "damaged-1-3"]


# What an interruption leaves.


def test_leftovers_of_killed_processes(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    for step in (1, 2, 3):
      checkpoints.save(step, small(step))
    (tmp_path / "1").rename(tmp_path / "replaced-1")  # killed between the two renames of a replacement
    (tmp_path / "saving-1").mkdir()
    shutil.copytree(tmp_path / "3", tmp_path / "replaced-2")  # killed after the second
    (tmp_path / "removing-replaced-2").mkdir()
    (tmp_path / "removing-7").mkdir()
    (tmp_path / "saving-9" / "arrays").mkdir(parents=True)
    assert checkpoints.steps() == [2, 3]
    checkpoints.remove_unfinished()
    assert names(tmp_path) == ["1", "2", "3"]
    assert [value_of(checkpoints.restore(small(), step)[0]) for step in (1, 2, 3)] == [1.0, 2.0, 3.0]
    checkpoints.remove_unfinished()
    assert names(tmp_path) == ["1", "2", "3"]


def test_a_save_over_leftovers(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, small(1.0))
    shutil.copytree(tmp_path / "1", tmp_path / "replaced-1")
    (tmp_path / "removing-replaced-1" / "arrays").mkdir(parents=True)
    (tmp_path / "saving-1" / "arrays").mkdir(parents=True)
    checkpoints.save(1, small(2.0))
    assert value_of(checkpoints.restore(small())[0]) == 2.0
  assert names(tmp_path) == ["1"]


KILLED_SAVE = """
import os, signal, sys
sys.path.insert(0, {folder!r})
from test_checkpoints import Checkpoints, small
renames = 0
def kill(event, arguments):
  global renames
  if event == "os.rename" and os.path.exists(arguments[0]):
    renames += 1
    if renames == int(sys.argv[2]):
      os.kill(os.getpid(), signal.SIGKILL)
with Checkpoints(sys.argv[1]) as checkpoints:
  sys.addaudithook(kill)
  checkpoints.save(2, small(3.0))
  checkpoints.remove_older(2, keep=1)
"""


@pytest.mark.parametrize(
  ("rename", "left"),
  [
    (1, {1: 1.0, 2: 2.0}),  # before Orbax calls its files complete
    (2, {1: 1.0, 2: 2.0}),  # before the old checkpoint makes room
    (3, {1: 1.0, 2: 2.0}),  # before the new one takes its place
    (4, {1: 1.0, 2: 3.0}),  # before the old one is removed
    (5, {1: 1.0, 2: 3.0}),  # before one that need not be kept is removed
    (6, {2: 3.0}),
  ],
)
def test_a_save_that_is_killed_leaves_each_step_as_it_was_or_as_it_will_be(tmp_path, rename, left):
  """SIGKILL before each of the renames that take a save from one state to the next."""
  with Checkpoints(tmp_path) as checkpoints:
    for step in (1, 2):
      checkpoints.save(step, small(step))
    code = KILLED_SAVE.format(folder=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code, tmp_path, str(rename)], check=False)
    assert done.returncode == (0 if rename == 6 else -signal.SIGKILL)
    checkpoints.remove_unfinished()
    assert {step: value_of(checkpoints.restore(small(), step)[0]) for step in checkpoints.steps()} == left
  assert names(tmp_path) == sorted(map(str, left))


# What a disk refuses.


def test_a_disk_without_space_is_noticed_before_writing(tmp_path, monkeypatch):
  """Arrays of 400 kB on a disk that says it has 500 kB: there must be room for what goes with them."""
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, small(1.0))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 500_000, 500_000))
    with pytest.raises(
      SaveError, match=r"2: the checkpoint could not be written: .*it needs 14\d{5} bytes, the disk has 5"
    ):
      checkpoints.save(2, small(2.0, 100_000))
    assert names(tmp_path) == ["1"]
    assert value_of(checkpoints.restore(small())[0]) == 1.0


SAVE_TOO_MUCH = """
import resource, sys
sys.path.insert(0, {folder!r})
from test_checkpoints import *
with Checkpoints(sys.argv[1]) as checkpoints:
  checkpoints.save(1, noise(10))
  checkpoints.save(2, noise(10))
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
  for step in (2, 3):
    try:
      checkpoints.save(step, noise(100_000))
    except SaveError as error:
      print(error)
  print(names(Path(sys.argv[1])))
  checkpoints.save(4, noise(10))
"""


def noise(size):
  """Bytes that cannot be packed."""
  statistics = np.random.default_rng(0).normal(size=size).astype(np.float32)
  return small()._replace(statistics=statistics)


def test_a_write_that_fails_half_way_leaves_what_was_there(tmp_path):
  """The operating system refuses files above 100 kB, as a full disk would."""
  code = SAVE_TOO_MUCH.format(folder=str(Path(__file__).parent))
  done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  first, second, left = done.stdout.splitlines()
  for line, step in ((first, 2), (second, 3)):
    assert line.startswith(f"{tmp_path}/{step}: the checkpoint could not be written")
    assert os.strerror(errno.EFBIG) in line
  assert left == "['1', '2']"
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.steps() == [1, 2, 4]
    for step in checkpoints.steps():
      assert_same_bits(checkpoints.restore(noise(10), step)[0], noise(10))


def test_a_place_that_cannot_be_written(tmp_path):
  (tmp_path / "file").write_text("")
  message = r"1: the checkpoint could not be written: NotADirectoryError"
  with (
    Checkpoints(tmp_path / "file" / "checkpoints") as checkpoints,
    pytest.raises(SaveError, match=message) as refusal,
  ):
    checkpoints.save(1, small())
  assert isinstance(refusal.value.__cause__, OSError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_only_be_read(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, small(1.0))
    tmp_path.chmod(0o500)
    try:
      with pytest.raises(SaveError, match=r"2: the checkpoint could not be written: PermissionError"):
        checkpoints.save(2, small())
      assert value_of(checkpoints.restore(small())[0]) == 1.0
    finally:
      tmp_path.chmod(0o700)
