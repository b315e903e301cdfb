"""How the commands end, and the file of `--picture`."""

import pytest
from absl import app
from absl.testing import flagsaver

from experiments import command_line
from experiments.command_line import BAD_INPUT, FAILURE, check_picture, launch_with_arguments
from macaw_jax.errors import ConfigurationError, TrainingError
from macaw_jax.training.interruption import Interrupted


@pytest.mark.parametrize(
  ("raised", "code", "said"),
  [
    (
      ConfigurationError("one is wrong", "and so is another"),
      BAD_INPUT,
      ["error: one is wrong", "error: and so is another"],
    ),
    (TrainingError("not all could be saved"), FAILURE, ["error: not all could be saved"]),
    (
      OSError(28, "No space left on device", "results.json"),
      FAILURE,
      ["error: [Errno 28] No space left on device: 'results.json'"],
    ),
    (Interrupted(15), 143, ["stopped by SIGTERM"]),
    (KeyboardInterrupt(), 130, ["stopped by SIGINT"]),
  ],
  ids=lambda value: type(value).__name__,
)
def test_what_ends_a_command_is_one_line_a_problem_and_an_exit_code(raised, code, said, monkeypatch, capsys):
  def main(arguments):
    raise raised

  monkeypatch.setattr(app, "run", lambda guarded, flags_parser: guarded(["command"]))
  monkeypatch.setattr(command_line, "use_compilation_cache", lambda: None)
  with pytest.raises(SystemExit) as ended:
    launch_with_arguments(main)
  assert ended.value.code == code
  assert capsys.readouterr().err.splitlines() == said


def picture(path):
  with flagsaver.flagsaver(picture=path):
    check_picture()


@pytest.mark.usefixtures("parsed_flags")
def test_a_picture_that_can_be_drawn_or_is_not_wanted(tmp_path):
  picture(str(tmp_path / "shift.png"))
  picture(None)


@pytest.mark.usefixtures("parsed_flags")
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
    picture(str(tmp_path / name))
