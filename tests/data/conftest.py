"""Fixtures of the tests of data."""

import pytest
from miniatures import write_point_robot


@pytest.fixture(scope="session")
def data(tmp_path_factory):
  """A small dataset of the point robot, written once."""
  directory = tmp_path_factory.mktemp("data") / "point_robot"
  write_point_robot(directory)
  return directory
