import json
import math

import numpy as np
import pytest

from macaw_jax.training import metrics


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


def test_resuming_keeps_each_step_once_and_time_goes_on(tmp_path):
  path = tmp_path / "metrics.jsonl"
  rows = [{"step": step, "wall_time": 100.0 * step, "loss": 1.0} for step in (1, 2, 3)]
  path.write_text("\n".join(json.dumps(row) for row in rows) + '\n{"step": 4, "wall')
  writer = metrics.JsonLinesWriter(path, resume_step=2)
  writer.write(3, {"loss": 2.0})
  writer.close()
  rows = metrics.read_rows(path)
  assert [row["step"] for row in rows] == [1, 2, 3]
  assert [row["loss"] for row in rows] == [1.0, 1.0, 2.0]
  assert 200.0 <= rows[2]["wall_time"] < 300.0


def test_a_new_run_replaces_the_rows_of_an_old_one(tmp_path):
  path = tmp_path / "metrics.jsonl"
  for loss in (1.0, 2.0):
    writer = metrics.JsonLinesWriter(path)
    writer.write(5, {"loss": loss})
    writer.close()
  assert [row["loss"] for row in metrics.read_rows(path)] == [2.0]


def test_tensorboard_holds_the_scalars(tmp_path):
  event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
  writer = metrics.TensorBoardWriter(tmp_path)
  writer.write(7, {"value_loss": 0.5})
  writer.close()
  (path,) = tmp_path.iterdir()
  data, found, start = path.read_bytes(), {}, 0
  while start < len(data):  # length (8 bytes), its CRC (4), the event, its CRC (4)
    length = int.from_bytes(data[start : start + 8], "little")
    event = event_pb2.Event.FromString(data[start + 12 : start + 12 + length])
    found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    start += 16 + length
  assert found == {("value_loss", 7): 0.5}


def test_progress_line():
  lines = []
  progress = metrics.ProgressLine(2000, show=lines.append)
  progress.write(100, {"value_loss": 0.123456, "policy_entropy": 1.0, "steps_per_second": 10.0})
  progress.write(100, {"test/return_before": 10.0, "test/return_after": 612.34})
  progress.write(1200, {"value_loss": 12345.678, "steps_per_second": 4.0})
  assert lines == [
    "step  100/2000  10.0 steps/s  0:03:10 left  value_loss 0.1235",
    "step 1200/2000  4.0 steps/s  0:03:20 left  value_loss 1.235e+04  test return 10.0 -> 612.3",
  ]


@pytest.mark.parametrize("writer", [metrics.JsonLinesWriter, metrics.TensorBoardWriter])
def test_writers_are_interchangeable(writer, tmp_path):
  one: metrics.MetricWriter = writer(tmp_path / "place", resume_step=0)
  one.write(1, {"loss": 1.0})
  one.close()
  assert (tmp_path / "place").exists()
