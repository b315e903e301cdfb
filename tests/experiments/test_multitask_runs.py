"""Runs of agents that are told the task: data shown with it, buffers filled with it, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniatures import changed, make_multitask, results_of, run_silently, write_point_robot

from experiments.build import build, examine
from macaw_jax import envs
from macaw_jax.data.dataset import load_dataset
from macaw_jax.data.manifest import MANIFEST_FILE, read_manifest, write_manifest
from macaw_jax.errors import ConfigurationError

KEY = jax.random.key(0)
NUM_TASKS = envs.make("point_robot").num_tasks


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  directory = tmp_path_factory.mktemp("data") / "point_robot"
  write_point_robot(directory)
  return directory


def test_a_run_on_recorded_data_shows_each_task_by_its_place_in_the_family(data, tmp_path):
  config = make_multitask(data, tmp_path / "run", source="recorded")
  built = build(config)
  shown = built.source.init(None, KEY)
  statistics = built.source.statistics(shown)
  observation = np.asarray(shown.observation) * statistics.observation_std + statistics.observation_mean
  recorded = load_dataset(data, tasks=(0, 1, 2))
  np.testing.assert_allclose(observation[..., :2], recorded.observation, atol=1e-5)
  expected = np.broadcast_to(np.eye(3, NUM_TASKS)[:, None], (*recorded.reward.shape, NUM_TASKS))
  np.testing.assert_allclose(observation[..., 2:], expected, atol=1e-5)
  run_silently(config)
  results = results_of(tmp_path / "run")
  assert results["family"] == "point_robot+task_index"
  # Zero-shot: the same policy, so that before and after differ in their starts alone, of which there is one here.
  assert all(row["score_before"] == row["score_after"] for row in results["rows"] if "score_before" in row)


def test_a_run_fills_its_buffer_with_observations_that_show_the_task(data, tmp_path):
  config = make_multitask(data, tmp_path / "run", source="replayed")
  built = build(config)
  state = jax.jit(built.make_algorithm().init)(KEY)
  collected = built.source.init(state.params, KEY)
  family = envs.make("point_robot")
  batch = built.source.sample(jax.tree.map(jnp.asarray, collected), KEY)
  assert len(set(np.asarray(batch.task_index).tolist())) == 4  # tasks are distinct
  statistics = built.source.statistics(collected)
  goals = np.asarray(batch.query.observation) * statistics.observation_std + statistics.observation_mean
  expected = family.tasks["goal"][np.asarray(family.train_tasks)[np.asarray(batch.task_index)]]
  np.testing.assert_allclose(goals[..., 2:], np.broadcast_to(expected[:, None], goals[..., 2:].shape), atol=1e-4)
  run_silently(config)
  assert results_of(tmp_path / "run")["family"] == "point_robot+task_vector"


def test_a_place_in_the_family_needs_a_task_of_the_family(data, tmp_path):
  other = tmp_path / "others"
  manifest = write_point_robot(other)
  assert read_manifest(data).family == manifest.family
  moved = dataclasses.replace(manifest.tasks[1], parameters={"goal": [0.123, 0.456]})
  tasks = (manifest.tasks[0], moved, *manifest.tasks[2:])
  (other / MANIFEST_FILE).unlink()
  write_manifest(other, dataclasses.replace(manifest, tasks=tasks))
  config = make_multitask(other, tmp_path / "run", source="recorded")
  with pytest.raises(
    ConfigurationError, match=r"config\.dataset\.shown_task = 'task_index': task 1 of .* is none of family"
  ):
    examine(config)
  examine(changed(config, dataset__shown_task="task_vector"))
