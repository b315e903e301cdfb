"""What a point agent is drawn to do before adaptation, with its offset and after its step."""

from pathlib import Path

import numpy as np
import pytest
from miniatures import make_config, run_silently

from experiments.trajectories import PANELS, act_out, draw, table
from macaw_jax.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("compiled_once")

BEFORE, WITH_OFFSET, AFTER = PANELS


@pytest.fixture(scope="module")
def agents(tmp_path_factory, compiled_once):
  """The directories of NoRML and of domain randomisation, by name."""
  folder = tmp_path_factory.mktemp("trained")
  run_silently(make_config("on_policy", None, folder, variants="norml,domain_randomisation"))
  return {name: folder / f"{name}-0" for name in ("norml", "domain_randomisation")}


def test_an_episode_is_drawn_from_its_start_to_its_last_step(agents):
  drawn = act_out(agents["norml"], 3, 2, 0)
  for positions in drawn.positions.values():
    assert positions.shape == (3, 2, 11, 2)  # of evaluation's ten steps, not of the five that are trained on
    np.testing.assert_array_equal(positions[..., 0, :], 0.0)
  distances = np.linalg.norm(drawn.positions[AFTER][..., 1:, :] - [1.0, 0.0], axis=-1)
  np.testing.assert_allclose(drawn.returns[AFTER], -distances.sum(axis=-1).mean(), rtol=1e-5)


def test_offset_and_step_each_change_what_norml_does(agents):
  positions = act_out(agents["norml"], 2, 2, 0).positions
  assert not np.allclose(positions[WITH_OFFSET], positions[BEFORE], rtol=0.0, atol=1e-4)
  assert not np.allclose(positions[AFTER], positions[WITH_OFFSET], rtol=0.0, atol=1e-4)


def test_an_agent_without_offset_and_step_does_the_same_in_all_panels(agents):
  positions = act_out(agents["domain_randomisation"], 2, 2, 0).positions
  # Up to rounding: the panels are programs of their own.
  np.testing.assert_allclose(positions[WITH_OFFSET], positions[BEFORE], rtol=0.0, atol=1e-6)
  np.testing.assert_allclose(positions[AFTER], positions[BEFORE], rtol=0.0, atol=1e-6)


def test_the_table_and_the_picture_have_every_run(agents, tmp_path):
  drawn = {name: act_out(directory, 2, None, 0) for name, directory in agents.items()}
  lines = table(drawn).splitlines()
  assert [line.strip("|").split("|")[0].strip() for line in lines[2:4]] == ["norml", "domain_randomisation"]
  assert f"{drawn['norml'].returns[AFTER]:.2f}" in lines[2]
  draw(drawn, tmp_path / "picture.png")
  assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_other_runs_are_refused_in_one_line(tmp_path, copied):
  with pytest.raises(ConfigurationError, match="no run there"):
    act_out(tmp_path, 2, 2, 0)
  with pytest.raises(ConfigurationError, match=r"expected a run of configs/norml\.py on point_rotated or"):
    act_out(Path(copied("recorded").output_directory), 2, 2, 0)


def test_no_episodes_are_refused(agents):
  with pytest.raises(ConfigurationError, match=r"norml-0: config\.evaluation\.episodes = 0: expected"):
    act_out(agents["norml"], 2, 0, 0)


def test_more_tasks_than_there_are_is_refused(agents):
  with pytest.raises(ConfigurationError, match=r"norml-0: config\.evaluation\.tasks = 101"):
    act_out(agents["norml"], 101, 2, 0)
