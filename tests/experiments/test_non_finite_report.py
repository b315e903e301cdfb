"""What a run says and keeps of a member that stopped."""

import jax
import jax.numpy as jnp
import numpy as np
from miniatures import changed

from experiments.build import build
from macaw_jax.training.diagnosis import last_skipped_update
from macaw_jax.training.loop import draw
from macaw_jax.training.members import OpenMember, keys_of
from macaw_jax.training.non_finite_report import report_stop, write_batch
from macaw_jax.training.population import Population, Skips, initialise_member


def stopped_run(config, directory, scale=1.0):
  """A member that has skipped updates 5 and 6, the last two, after five that were applied; its run and its data."""
  run = build(changed(config, output_directory=str(directory)))
  directory.mkdir()
  keys = keys_of(0)
  state = initialise_member(run.make_algorithm, {}, keys.init)._replace(step=jnp.int32(7))
  policy = jax.tree.map(lambda leaf: scale * leaf, state.params.net["policy"])
  params = state.params._replace(net=state.params.net | {"policy": policy})
  stopped = Population({}, state._replace(params=params), Skips(jnp.int32(4), jnp.int32(2)))
  data = run.source.init(state.params, keys.source)
  return run, OpenMember(run.members[0], keys, None), jax.device_get(stopped), data


def test_a_stop_is_explained_and_its_batch_kept(miniature, tmp_path, capsys):
  directory = tmp_path / "member"
  run, each, stopped, data = stopped_run(miniature(), directory, scale=1e30)
  report_stop(run, each, stopped, data, name_operation=True)
  *_, first, batch, why, operation = capsys.readouterr().out.splitlines()
  assert first == (
    "this run has stopped at update 7: not every number was finite after its last 2 update(s), which were skipped "
    "(4 in all)"
  )
  assert batch == f"  its last batch: {directory / 'non_finite_update_6.npz'}"
  assert why.startswith("  the update after step 6: not finite in it: ")
  assert "policy_loss" in why
  assert "net.policy" in why
  assert "the batch itself is finite" in why
  assert "macaw_jax/" in operation
  assert ".py:" in operation

  tasks, _ = jax.jit(lambda data: draw(run.source.sample, data, each.keys.train, jnp.int32(6)))(data)
  with np.load(directory / "non_finite_update_6.npz", allow_pickle=False) as file:
    assert file["step"] == 6
    np.testing.assert_array_equal(file["task_index"], tasks.task_index)
    for name in ("support", "query"):
      for field, values in getattr(tasks, name)._asdict().items():
        if values is not None:
          np.testing.assert_array_equal(file[f"{name}.{field}"], values)
    assert len(file.files) == 2 + 2 * sum(field is not None for field in tasks.query)
  assert [path.name for path in directory.iterdir()] == ["non_finite_update_6.npz"]


def test_without_the_flag_the_way_to_the_operation_is_said(miniature, tmp_path, capsys):
  run, each, stopped, data = stopped_run(miniature(), tmp_path / "member")
  report_stop(run, each, stopped, data, name_operation=False)
  *_, why, way = capsys.readouterr().out.splitlines()
  assert "finite when it is repeated by itself" in why
  named = why.partition("; tasks ")[2].partition(";")[0].split(", ")
  assert set(map(int, named)) <= set(run.source.task_names)
  assert way == "  the same command with --debug_nans names the operation"


def test_a_batch_that_cannot_be_written_is_said_and_the_rest_is_told(miniature, tmp_path, capsys):
  run, each, stopped, data = stopped_run(miniature(), tmp_path / "member")
  (each.directory / ".non_finite_update_6.npz.partial").mkdir()  # in the way
  report_stop(run, each, stopped, data, name_operation=False)
  said = capsys.readouterr().out
  assert "  its last batch could not be written: " in said
  assert "the update after step 6: " in said
  assert not (each.directory / "non_finite_update_6.npz").exists()


def test_a_batch_replaces_an_earlier_one_of_the_same_name(miniature, tmp_path):
  run, each, stopped, data = stopped_run(miniature(), tmp_path / "member")
  update = last_skipped_update(stopped, run.source.sample, data, each.keys.train)
  path = each.directory / "batch.npz"
  path.write_text("of a run that was killed")
  write_batch(path, update)
  with np.load(path, allow_pickle=False) as file:
    np.testing.assert_array_equal(file["query.reward"], update.tasks.query.reward)
