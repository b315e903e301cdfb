"""Nothing is imported before it is needed: data and tables need no simulator, no renderer and no extra."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from finished_runs import make_run, scored_rows, write_run
from miniatures import write_point_robot

ROOT = Path(__file__).parents[1]
HEAVY = ("brax", "gymnasium", "h5py", "matplotlib", "mujoco", "PIL")

# Runs a command, or code, and says which of these packages it has imported.
PROGRAM = f"""
import runpy, sys
sys.argv = sys.argv[1:]
try:
  if sys.argv[0] == "-c":
    exec(sys.argv[1])
  else:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
  print("imported:", *[name for name in {HEAVY} if name in sys.modules])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A dataset of the point robot and a finished run."""
  folder = tmp_path_factory.mktemp("work")
  write_point_robot(folder / "data" / "point_robot")
  write_run(folder / "runs" / "macaw-point_robot-0", make_run(0, scored_rows([50.0]), family="point_robot"))
  return folder


def run_in(folder, *arguments, opengl="osmesa"):
  """The output of a program, where MuJoCo can be imported with no OpenGL but this."""
  environment = {**os.environ, "MUJOCO_GL": opengl, "PYTHONPATH": str(ROOT)}
  command = [sys.executable, "-c", PROGRAM, *arguments]
  return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
  "arguments",
  [
    ("experiments.data", "list", "data"),
    ("experiments.data", "inspect", "data/point_robot"),
    ("experiments.compare", "runs/macaw-point_robot-0"),
    ("-c", "import macaw_jax; print(macaw_jax.load_data('data/point_robot').family.name)"),
  ],
  ids=["list", "inspect", "compare", "load_data"],
)
def test_no_simulator_renderer_or_extra_is_imported(folder, arguments):
  result = run_in(folder, *arguments)
  assert result.returncode == 0, result.stderr
  assert "point_robot" in result.stdout
  assert result.stdout.splitlines()[-1] == "imported:"


# Steps a cheetah, and says that it cannot be drawn.
STEPS_AND_DRAWS = """
import os
import jax
import numpy as np
from functools import partial
from macaw_jax import envs
from macaw_jax.collection.acting import uniform_act
from macaw_jax.envs.rollout import make_rollout
from macaw_jax.evaluation.render import RenderingUnavailable, render_gif

family = envs.make("cheetah_dir")._replace(horizon=2)
rollout = make_rollout(family, partial(uniform_act, action_size=6))
trajectory = rollout({}, {}, {"direction": np.ones(1)}, jax.random.key(0), deterministic=False)
print("steps:", int(trajectory.mask.sum()), os.environ["MUJOCO_GL"])
try:
  render_gif(family, jax.tree.map(lambda leaf: leaf[0], trajectory.state), "episode.gif")
except RenderingUnavailable as error:
  print("no picture:", error)
"""


def test_a_body_is_stepped_without_the_opengl_that_was_chosen_and_a_picture_says_why_not(folder):
  result = run_in(folder, "-c", STEPS_AND_DRAWS, opengl="abacus")
  assert result.returncode == 0, result.stderr
  steps, picture, *_ = result.stdout.splitlines()
  assert steps == "steps: 2 abacus"
  assert picture.startswith("no picture: ")
  assert "abacus" in picture
