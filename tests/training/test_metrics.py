import json
import math
import subprocess
import sys

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from macaw_jax.training import metrics

# Kills a child that resumes, rewrites and appends in a loop, again and again. A fork is fast where a new interpreter is
# not, and safe in a process without threads.
KILL_AGAIN_AND_AGAIN = """
import json, os, random, select, signal, sys, time
from macaw_jax.training.metrics import JsonLinesWriter

path, times = sys.argv[1], int(sys.argv[2])
open(path, "xb").close()
random.seed(0)

def resume_and_append(keep, announce):
  while True:
    os.write(announce, b"%d\\n" % keep)
    writer = JsonLinesWriter(path, keep_rows=keep)
    assert writer.damaged_rows == 0, writer.damaged_rows
    for number in range(keep, keep + 20):
      writer.write(number, {"padding": 1.0 / (number + 1)})
    writer.close()
    keep += 10  # The rows of the second half are dropped and written again.

keep, rewritten = 0, 0
for _ in range(times):
  listen, announce = os.pipe()
  child = os.fork()
  if child == 0:
    resume_and_append(keep, announce)
  os.close(announce)
  while not select.select([listen], [], [], 1.0)[0]:
    pass
  time.sleep(random.uniform(0.0, 0.02))
  os.kill(child, signal.SIGKILL)
  _, status = os.waitpid(child, 0)
  assert os.WTERMSIG(status) == signal.SIGKILL, "the child failed"
  with open(listen) as announced:
    newest = int(announced.read().split()[-1])
  data = open(path, "rb").read()
  whole = data[: data.rfind(b"\\n") + 1]
  steps = [json.loads(line)["step"] for line in whole.splitlines()]
  assert steps == list(range(len(steps))), steps
  assert newest <= len(steps) <= newest + 20, (newest, len(steps))
  rewritten += newest > keep
  keep = newest
assert rewritten, "no child came round"
"""

# Meets the largest size that a file may have, a real EFBIG, and then the permission to go on.
FILL_THE_DISK = """
import resource, sys
from macaw_jax.training import metrics

writer = getattr(metrics, sys.argv[1])(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
for step in range(40):
  writer.write(step, {"loss": step / 8})
assert isinstance(writer.problem, OSError) and writer.pending, (writer.problem, writer.pending)
if sys.argv[3] == "lifted":
  pending = writer.pending
  resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
  writer.write(40, {"loss": 5.0})
  assert writer.problem is None and writer.pending == 0, (writer.problem, writer.pending)
writer.close()
print(writer.pending)
"""


def strict(line):
  def refuse(name):
    raise AssertionError(f"{name} is not JSON")

  return json.loads(line, parse_constant=refuse)


def test_rows_are_strict_json_with_plain_floats(tmp_path):
  path = tmp_path / "run" / "metrics.jsonl"
  writer = metrics.JsonLinesWriter(path)
  writer.write(10, {"value_loss": np.float32(0.5), "policy_loss": math.nan, "weight": math.inf})
  writer.write(np.int64(20), {"value_loss": 0.25})
  writer.close()
  first, second = (strict(line) for line in path.read_text().splitlines())
  assert first.pop("wall_time") >= 0
  assert first == {"step": 10, "value_loss": 0.5, "policy_loss": None, "weight": None}
  assert second["step"] == 20
  assert second["wall_time"] >= 0


def test_a_row_can_be_read_while_the_run_goes_on(tmp_path):
  writer = metrics.JsonLinesWriter(tmp_path / "metrics.jsonl")
  writer.write(1, {"loss": 1.0})
  assert metrics.read_rows(tmp_path / "metrics.jsonl")[0]["loss"] == 1.0
  writer.close()


def row(step, **numbers):
  return json.dumps({"step": step, "wall_time": 100.0 * step, **numbers}) + "\n"


def test_resuming_keeps_the_first_rows_and_time_goes_on(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text("".join(row(step, loss=1.0) for step in (1, 2, 3)) + '{"step": 4, "wall')
  writer = metrics.JsonLinesWriter(path, keep_rows=2)
  assert (writer.num_rows, writer.damaged_rows, writer.set_aside) == (2, 0, None)
  writer.write(3, {"loss": 2.0})
  assert writer.num_rows == 3
  writer.close()
  rows = metrics.read_rows(path)
  assert [row["step"] for row in rows] == [1, 2, 3]
  assert [row["loss"] for row in rows] == [1.0, 1.0, 2.0]
  assert 200.0 <= rows[2]["wall_time"] < 300.0
  assert list(tmp_path.iterdir()) == [path]


def test_rows_are_kept_by_number_where_steps_repeat(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text(row(10, loss=1.0) + row(10, test=5.0) + row(20, loss=2.0))
  metrics.JsonLinesWriter(path, keep_rows=1).close()
  assert path.read_text() == row(10, loss=1.0)


def test_a_half_written_last_row_goes_away(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text(row(1) + row(2)[:-1])  # whole, but for its end
  assert [row["step"] for row in metrics.read_rows(path)] == [1]
  writer = metrics.JsonLinesWriter(path, keep_rows=1)
  writer.write(2, {"loss": 1.0})
  writer.close()
  assert writer.damaged_rows == 0
  assert [row["step"] for row in metrics.read_rows(path)] == [1, 2]


DAMAGED = [
  b"\0" * 40,
  b'{"step": 2, "wall_t',
  b"\xff\xfe",
  b"[1, 2]",
  b'{"step": 2}',
  b'{"step": "2", "wall_time": 1.0}',
  b"",
  b"[" * 100_000,
]


@pytest.mark.parametrize("damaged", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_row_is_left_out_and_the_file_kept_aside(damaged, tmp_path):
  path = tmp_path / "metrics.jsonl"
  before = row(1).encode() + damaged + b"\n" + row(3).encode() + row(4).encode()
  path.write_bytes(before)
  (tmp_path / "metrics.jsonl.damaged").write_text("of an earlier time")
  writer = metrics.JsonLinesWriter(path, keep_rows=3)
  writer.close()
  assert (writer.damaged_rows, writer.num_rows) == (1, 2)
  assert path.read_text() == row(1) + row(3)
  assert writer.set_aside == tmp_path / "metrics.jsonl.damaged.1"
  assert writer.set_aside.read_bytes() == before
  assert (tmp_path / "metrics.jsonl.damaged").read_text() == "of an earlier time"


@pytest.mark.parametrize("damaged", DAMAGED, ids=range(len(DAMAGED)))
def test_readers_are_told_the_file_and_the_line_that_is_damaged(damaged, tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(row(1).encode() + damaged + b"\n" + row(3).encode())
  with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: "):
    metrics.read_rows(path)


def test_rows_that_are_not_there_are_counted(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text(row(1) + row(2))
  writer = metrics.JsonLinesWriter(path, keep_rows=5)
  assert (writer.damaged_rows, writer.num_rows) == (3, 2)
  assert writer.set_aside == tmp_path / "metrics.jsonl.damaged"
  writer.close()
  nowhere = metrics.JsonLinesWriter(tmp_path / "new.jsonl", keep_rows=5)
  nowhere.close()
  assert (nowhere.damaged_rows, nowhere.num_rows, nowhere.set_aside) == (5, 0, None)


def test_a_negative_number_of_rows_is_refused(tmp_path):
  with pytest.raises(ValueError, match="keep_rows: -1"):
    metrics.JsonLinesWriter(tmp_path / "metrics.jsonl", keep_rows=-1)


def test_a_new_run_replaces_the_rows_of_an_old_one(tmp_path):
  path = tmp_path / "metrics.jsonl"
  for loss in (1.0, 2.0):
    writer = metrics.JsonLinesWriter(path)
    writer.write(5, {"loss": loss})
    writer.close()
  assert [row["loss"] for row in metrics.read_rows(path)] == [2.0]


def test_a_closed_file_takes_no_rows(tmp_path):
  writer = metrics.JsonLinesWriter(tmp_path / "metrics.jsonl")
  writer.close()
  writer.close()
  with pytest.raises(ValueError, match="closed"):
    writer.write(1, {"loss": 1.0})


def child(script, *arguments):
  result = subprocess.run(
    [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
  )
  assert result.returncode == 0, result.stderr
  return result.stdout


def test_whenever_a_run_is_killed_its_rows_are_whole_and_none_is_missing(tmp_path):
  child(KILL_AGAIN_AND_AGAIN, tmp_path / "metrics.jsonl", 60)


def scalars(path):
  return [(value.tag, event.step, value.simple_value) for event in events(path) for value in event.summary.value]


def events(path):
  """The events of a file, each with a length and checksums."""
  data, found, start = path.read_bytes(), [], 0
  while start < len(data):  # length (8 bytes), its CRC (4), the event, its CRC (4)
    length = int.from_bytes(data[start : start + 8], "little")
    content = data[start + 12 : start + 12 + length]
    assert data[start : start + 16 + length] == metrics._record(content)
    found.append(Event.FromString(content))
    start += 16 + length
  return found


@pytest.mark.parametrize("limit", ["stays", "lifted"])
def test_rows_wait_for_a_full_disk(limit, tmp_path):
  path = tmp_path / "metrics.jsonl"
  pending = int(child(FILL_THE_DISK, "JsonLinesWriter", path, limit))
  steps = [strict(line)["step"] for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
  assert path.read_text().endswith("\n")
  assert steps == list(range(41 if limit == "lifted" else 40 - pending))
  assert (pending == 0) == (limit == "lifted")


@pytest.mark.parametrize("limit", ["stays", "lifted"])
def test_tensorboard_waits_for_a_full_disk(limit, tmp_path):
  pending = int(child(FILL_THE_DISK, "TensorBoardWriter", tmp_path / "events", limit))
  (path,) = (tmp_path / "events").iterdir()
  assert scalars(path) == [("loss", step, step / 8) for step in range(41 if limit == "lifted" else 40 - pending)]
  assert (pending == 0) == (limit == "lifted")


def test_tensorboard_holds_the_scalars(tmp_path):
  writer = metrics.TensorBoardWriter(tmp_path)
  writer.write(7, {"value_loss": 0.5, "policy_loss": 2.0})
  writer.close()
  (path,) = tmp_path.iterdir()
  assert "tfevents" in path.name
  assert scalars(path) == [("value_loss", 7, 0.5), ("policy_loss", 7, 2.0)]
  assert events(path)[0].file_version == "brain.Event:2"
  assert all(event.wall_time > 0 for event in events(path))


@pytest.mark.parametrize(("resume_step", "hidden_from"), [(None, 0), (0, 1), (20, 21)])
def test_tensorboard_hides_what_a_resumed_run_writes_again(resume_step, hidden_from, tmp_path):
  metrics.TensorBoardWriter(tmp_path, resume_step=5).close()
  metrics.TensorBoardWriter(tmp_path, resume_step=resume_step).close()
  _, path = sorted(tmp_path.iterdir())  # in the order that TensorBoard reads them
  starts = [event.step for event in events(path) if event.session_log.status == SessionLog.START]
  assert starts == [hidden_from]


def test_progress_line():
  lines = []
  progress = metrics.ProgressLine(2000, show=lines.append)
  progress.write(100, {"value_loss": 0.123456, "policy_entropy": 1.0, "steps_per_second": 10.0})
  progress.write(100, {"test/return_before": 10.0, "test/return_after": 612.34})
  progress.write(1200, {"value_loss": 12345.678, "steps_per_second": 4.0, "skipped_updates": 0.0})
  progress.write(1300, {"value_loss": 1.0, "steps_per_second": 7.0, "skipped_updates": 2.0})
  assert lines == [
    "step  100/2000  10.0 steps/s  0:03:10 left  value_loss 0.1235",
    "step 1200/2000  4.0 steps/s  0:03:20 left  value_loss 1.235e+04  test return 10.0 -> 612.3",
    "step 1300/2000  7.0 steps/s  0:01:40 left  value_loss 1  2 skipped  test return 10.0 -> 612.3",
  ]


@pytest.mark.parametrize("writer", [metrics.JsonLinesWriter, metrics.TensorBoardWriter])
def test_writers_are_interchangeable(writer, tmp_path):
  one = writer(tmp_path / "place")
  one.write(1, {"loss": 1.0})
  one.close()
  assert (tmp_path / "place").exists()
