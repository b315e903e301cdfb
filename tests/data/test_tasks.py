import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.data.manifest import DatasetError, Manifest, TaskEntry
from macaw_jax.data.tasks import problem_of, tasks_of
from macaw_jax.types import Problem


def make_manifest(parameters):
  entry = TaskEntry(parameters={"goal": [0.0, 0.0]}, reference_returns={"random": 0.0, "expert": 1.0})
  special = TaskEntry(parameters=parameters, reference_returns={"random": -20.0, "expert": 30.0})
  return Manifest(
    family="point_robot",
    observation_size=2,
    action_size=2,
    horizon=20,
    discount=0.99,
    seed=0,
    train_tasks=(0,),
    test_tasks=(1,),
    tasks=(entry, special),
    behaviour={},
    versions={},
    git_commit=None,
    created="2025-01-01T00:00:00",
  )


def test_tasks_are_those_of_the_manifest():
  tasks = tasks_of(make_manifest({"goal": [0.5, -0.5]}), envs.make("point_robot"), [1, 0])
  np.testing.assert_array_equal(tasks["goal"], np.array([[0.5, -0.5], [0.0, 0.0]], np.float32))
  assert tasks["goal"].dtype == np.float32


@pytest.mark.parametrize("parameters", [{"place": [0.0, 0.0]}, {"goal": 1.0}, {"goal": [0.0, 0.0], "mass": 1.0}, {}])
def test_tasks_of_another_family_are_refused(parameters):
  with pytest.raises(DatasetError, match="task 1 has the parameters"):
    tasks_of(make_manifest(parameters), envs.make("point_robot"), [1])


@pytest.mark.parametrize("discrete", [False, True])
def test_the_problem_of_a_dataset_is_of_its_manifest_and_its_family(discrete):
  family = envs.make("point_robot")._replace(discrete_actions=discrete)
  found = problem_of(make_manifest({"goal": [0.5, -0.5]}), family, 3)
  assert found == Problem(2, 2, 3, 0.99, horizon=20, discrete_actions=discrete, task_entries=2)
