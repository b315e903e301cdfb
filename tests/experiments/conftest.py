"""A small dataset and a configuration for it that runs in seconds."""

import pytest
from miniature_run import make_miniature, write_point_robot


@pytest.fixture(scope="session")
def point_robot_directory(tmp_path_factory):
  """The small dataset, written once."""
  directory = tmp_path_factory.mktemp("data") / "point_robot"
  write_point_robot(directory)
  return directory


@pytest.fixture
def miniature(point_robot_directory, tmp_path):
  """A locked configuration of 40 updates, to be run in a folder of the test."""
  return make_miniature(point_robot_directory, tmp_path / "run")
