"""What a run says and keeps of a member that stopped."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.experiment import load_experiment, make_algorithm, make_sample
from experiments.member_runs import Keys, MemberRun
from experiments.non_finite_report import report_stop, write_batch
from experiments.population import members_of
from macaw_jax.data.statistics import normalise_dataset
from macaw_jax.training.diagnosis import first_bad_update
from macaw_jax.training.loop import draw, initialise
from macaw_jax.training.population import Population, Skips

pytestmark = pytest.mark.usefixtures("quick_compile")


def stopped_run(config, directory, max_weight=20.0):
  """A member that has skipped updates 5 and 6, the last two, after five that were applied."""
  experiment = load_experiment(config)
  make = partial(make_algorithm, config, experiment.problem)
  (member,) = members_of(config)
  keys = Keys(*jax.random.split(jax.random.key(0), 3))
  state = initialise(make(), keys.init)._replace(step=jnp.int32(7))
  directory.mkdir()
  stopped = Population({"max_weight": jnp.float32(max_weight)}, state, Skips(jnp.int32(4), jnp.int32(2)))
  return experiment, make, MemberRun(member, directory, keys, None), jax.device_get(stopped)


def test_a_stop_is_explained_and_its_batch_kept(miniature, tmp_path, capsys):
  directory = tmp_path / "member"
  # The loss takes its logarithm; a number that is not traced would be refused.
  experiment, make, run, stopped = stopped_run(miniature, directory, max_weight=-1.0)
  report_stop(miniature, experiment, make, run, stopped, name_operation=True)
  first, batch, why, operation = capsys.readouterr().out.splitlines()
  assert first == (
    "this run has stopped at update 7: not every number was finite after its last 2 update(s), which were skipped "
    "(4 in all)"
  )
  assert batch == f"  its batch: {directory / 'non_finite_update_5.npz'}"
  assert why.startswith("  the update after step 5: not finite in it: ")
  assert "policy_loss" in why
  assert "net.policy" in why
  assert "the batch itself is finite" in why
  assert operation.startswith("  `log` at ")
  assert "macaw_jax/losses/advantage_weighting.py:" in operation
  assert operation.endswith("(exponential_weights) gives NaN from float32[] of -1")

  sample = make_sample(miniature, experiment.problem)
  data = normalise_dataset(experiment.statistics, experiment.train.data)
  tasks, _ = jax.jit(lambda data: draw(sample, data, run.keys.train, jnp.int32(5)))(data)
  with np.load(directory / "non_finite_update_5.npz", allow_pickle=False) as file:
    assert file["step"] == 5
    np.testing.assert_array_equal(file["task_index"], tasks.task_index)
    for name in ("support", "query"):
      for field, values in getattr(tasks, name)._asdict().items():
        np.testing.assert_array_equal(file[f"{name}.{field}"], values)
    assert len(file.files) == 2 + 2 * len(tasks.query)
  assert [path.name for path in directory.iterdir()] == ["non_finite_update_5.npz"]


def test_without_the_flag_the_way_to_the_operation_is_said(miniature, tmp_path, capsys):
  experiment, make, run, stopped = stopped_run(miniature, tmp_path / "member")
  report_stop(miniature, experiment, make, run, stopped, name_operation=False)
  *_, why, way = capsys.readouterr().out.splitlines()
  assert "finite when it is repeated by itself" in why
  named = why.partition("; tasks ")[2].partition(";")[0].split(", ")
  assert set(map(int, named)) <= set(experiment.train.indices)
  assert way == "  the same command with --debug_nans names the operation"


def test_a_batch_that_cannot_be_written_is_said_and_the_rest_is_told(miniature, tmp_path, capsys):
  experiment, make, run, stopped = stopped_run(miniature, tmp_path / "member")
  (run.directory / ".non_finite_update_5.npz.partial").mkdir()  # in the way
  report_stop(miniature, experiment, make, run, stopped, name_operation=False)
  said = capsys.readouterr().out
  assert "  its batch could not be written: " in said
  assert "the update after step 5: " in said
  assert not (run.directory / "non_finite_update_5.npz").exists()


def test_a_batch_replaces_an_earlier_one_of_the_same_name(miniature, tmp_path):
  experiment, _, run, stopped = stopped_run(miniature, tmp_path / "member")
  data = normalise_dataset(experiment.statistics, experiment.train.data)
  update = first_bad_update(stopped, make_sample(miniature, experiment.problem), data, run.keys.train)
  path = run.directory / "batch.npz"
  path.write_text("of a run that was killed")
  write_batch(path, update)
  with np.load(path, allow_pickle=False) as file:
    np.testing.assert_array_equal(file["query.reward"], update.tasks.query.reward)
