import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_cloning import linear_cloning, run

from macaw_jax.training import loop
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints

STATISTICS = {"mean": np.array([1.5, -2.0], np.float32), "count": np.array(7)}


def test_resuming_equals_an_uninterrupted_run(tmp_path):
  algorithm = linear_cloning()
  uninterrupted, _ = run(12, 3, algorithm)
  stopped, _ = run(6, 3, algorithm)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(6, Checkpoint(stopped, STATISTICS))

  with Checkpoints(tmp_path) as checkpoints:
    like = Checkpoint(loop.initialise(algorithm, jax.random.key(99)), STATISTICS)
    restored = checkpoints.restore(like)
  assert int(restored.state.step) == 6
  resumed, _ = run(12, 3, algorithm, restored.state)
  jax.tree.map(np.testing.assert_array_equal, resumed, uninterrupted)


def test_restored_structure_types_and_statistics(tmp_path):
  state, _ = run(2, 2)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(int(state.step), Checkpoint(state, STATISTICS))
    restored = checkpoints.restore(Checkpoint(state, STATISTICS))
  assert jax.tree.structure(restored) == jax.tree.structure(Checkpoint(state, STATISTICS))
  assert restored.state.params.net["policy"].dtype == jnp.float32
  jax.tree.map(np.testing.assert_array_equal, restored, Checkpoint(state, STATISTICS))


def test_the_newest_k_are_kept(tmp_path):
  state, _ = run(1, 1)
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    for step in (1, 2, 3):
      checkpoints.save(step, Checkpoint(state._replace(step=jnp.int32(step)), STATISTICS))
    assert checkpoints.newest_step() == 3
  assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [2, 3]


def test_a_step_that_is_there_is_written_anew(tmp_path):
  older, newer = (run(steps, 1)[0] for steps in (1, 2))
  for state in (older, newer):
    with Checkpoints(tmp_path) as checkpoints:
      checkpoints.save(5, Checkpoint(state, STATISTICS))
      checkpoints.save(6, Checkpoint(state, STATISTICS))
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.steps() == [5, 6]
    for step in (5, 6):
      assert int(checkpoints.restore(Checkpoint(older, STATISTICS), step).state.step) == 2


def test_an_unfinished_checkpoint_is_not_seen(tmp_path):
  state, _ = run(1, 1)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(int(state.step), Checkpoint(state, STATISTICS))
  (tmp_path / "5.orbax-checkpoint-tmp").mkdir()
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.newest_step() == 1


def test_an_empty_directory(tmp_path):
  with Checkpoints(tmp_path / "none") as checkpoints:
    assert checkpoints.newest_step() is None
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
      checkpoints.restore(Checkpoint(run(1, 1)[0], STATISTICS))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # reads that the refusal left open
def test_another_shape_is_refused(tmp_path):
  state, _ = run(1, 1)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(int(state.step), Checkpoint(state, STATISTICS))
    wider = state._replace(params=state.params._replace(net={"policy": jnp.zeros((4, 2))}))
    with pytest.raises(ValueError, match="shape"):
      checkpoints.restore(Checkpoint(wider, STATISTICS))
  gc.collect()  # so that their warnings belong to this test
