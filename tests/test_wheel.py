"""The package as a stranger has it: a wheel, in a folder with nothing of the checkout, used from a script."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SCRIPT = """
import json

import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

import macaw_jax

data = macaw_jax.load_data(macaw_jax.starter_data("cheetah_dir"))
algorithm = macaw_jax.macaw(data.problem, layer="dense", hidden_sizes=(8,))
source = macaw_jax.recorded(data.train.data, tasks_per_update=2, support_size=16, query_size=16)
settings = dict(directory="runs/mine", checkpoint_every=4, steps_per_call=2)
macaw_jax.train(algorithm, source, data.problem, steps=4, **settings)
agent = macaw_jax.train(algorithm, source, data.problem, steps=6, **settings)
rows = macaw_jax.evaluate(agent, data, support_size=16, episodes=1)
print(macaw_jax.results_table(rows))

agent = macaw_jax.load_run("runs/mine", algorithm)
env = HalfCheetahEnv()


def observe():
  torso = env.unwrapped.data.body("torso").xpos
  return np.concatenate([env.unwrapped.data.qpos[1:], env.unwrapped.data.qvel, torso])


def episode(adapted, rng):
  env.reset(seed=int(rng.integers(1000)))
  steps = []
  for _ in range(20):
    before = observe()
    action, adapted = agent.act(adapted, before)
    _, reward, *_ = env.step(action)
    steps.append((before, action, reward, observe()))
  return macaw_jax.episodes(*map(np.array, zip(*steps)))


own = episode(agent.prior(), np.random.default_rng(0))
adapted = agent.adapt(own)
again = episode(adapted, np.random.default_rng(0))
print(json.dumps({
  "step": agent.step,
  "stages": rows[0].stages,
  "scores": [bool(row.scores) for row in rows],
  "home": macaw_jax.__file__,
  "moved": bool(np.abs(own.action - again.action).max() > 0),
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """A folder with the unpacked wheel, and another to work in."""
  folder = tmp_path_factory.mktemp("wheel")
  command = ["-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
  subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
  (path,) = folder.glob("*.whl")
  with zipfile.ZipFile(path) as archive:
    archive.extractall(folder / "site")
  (folder / "work").mkdir()
  return folder / "site", folder / "work"


def run(wheel, *arguments):
  """A Python process that sees the wheel and the packages it depends on, from a folder of its own."""
  site, work = wheel
  environment = os.environ | {"PYTHONPATH": str(site)}
  done = subprocess.run(
    [sys.executable, *arguments], cwd=work, env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_a_script_trains_resumes_loads_adapts_and_acts(wheel):
  out = run(wheel, "-c", SCRIPT)
  found = json.loads(out.strip().splitlines()[-1])
  assert found.pop("home").startswith(str(wheel[0]))
  assert found == {"step": 6, "stages": [0, 1], "scores": [True, True], "moved": True}
  assert "continuing from the checkpoint of update 4" in out


def test_the_console_command_runs_a_configuration_of_the_wheel(wheel):
  small = ["steps=4", "log_every=2", "evaluate_every=4", "checkpoint_every=4", "support_size=16", "query_size=16"]
  fields = [f"--config.training.{each}" for each in small]
  fields += ["--config.evaluation.episodes=1", "--config.evaluation.support_size=16"]
  fields += ["--config.algorithm.layer=dense", "--config.algorithm.hidden_sizes=(8,)"]
  out = run(wheel, "-m", "macaw_jax.cli", "run", "--config=macaw", *fields)
  directory = wheel[1] / "runs" / "macaw-cheetah_dir-0"
  assert (directory / "results.json").is_file()
  assert "test mean of 2 tasks" in out
  assert "macaw" in run(wheel, "-m", "macaw_jax.cli", "compare", str(directory))
  assert "cheetah_dir" in run(
    wheel, "-m", "macaw_jax.cli", "data", "list", str(wheel[0] / "macaw_jax" / "starter_data")
  )
