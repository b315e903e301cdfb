"""The file of `--picture`."""

import pytest
from absl.testing import flagsaver

from experiments.configuration import ConfigurationError
from experiments.picture import check_picture

pytestmark = pytest.mark.usefixtures("parsed_flags")


def check(path):
  with flagsaver.flagsaver(picture=path):
    check_picture()


def test_a_picture_that_can_be_drawn_or_is_not_wanted(tmp_path):
  check(str(tmp_path / "shift.png"))
  check(None)


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("shift.pdf", "ends in .png"),
    ("shift", "ends in .png"),
    ("is.png", "found a folder"),
    ("a/b.png", "no folder .*a$"),
  ],
)
def test_a_picture_that_cannot_be_drawn_is_refused(tmp_path, name, said):
  (tmp_path / "is.png").mkdir()
  with pytest.raises(ConfigurationError, match=rf"^--picture=.*{said}"):
    check(str(tmp_path / name))
