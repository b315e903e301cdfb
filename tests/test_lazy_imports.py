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
  """What a program prints, where MuJoCo can be imported with no OpenGL but this."""
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


@pytest.mark.parametrize(
  "use",
  [
    "make_rollout(envs.make('cheetah_dir'), None)",
    "make_sampled_rollout(envs.make('cheetah_dir'), None)",
    "make_rollout(envs.make('cheetah_dir'), None, 'mjx')",
    "envs.make('hopper_params')",
  ],
)
def test_where_a_body_is_stepped_a_broken_opengl_is_one_line(folder, use):
  imports = "from macaw_jax import envs\nfrom macaw_jax.envs.rollout import make_rollout\n"
  imports += "from macaw_jax.envs.sampled_rollout import make_sampled_rollout\n"
  result = run_in(folder, "-c", imports + use, opengl="abacus")
  assert result.stderr.splitlines()[-1] == (
    "macaw_jax.errors.ConfigurationError: MuJoCo cannot be imported: RuntimeError: invalid value for environment "
    "variable MUJOCO_GL: abacus; MUJOCO_GL=abacus names its OpenGL back end: unset it, or install that"
  )
