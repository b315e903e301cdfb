"""The README's example is a program: it runs, and what it builds learns."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.types import TaskBatch, Transition

ROOT = pathlib.Path(__file__).parent.parent


def random_transitions(key, *shape):
  keys = iter(jax.random.split(key, 6))
  draw = lambda *sizes: jax.random.normal(next(keys), (*shape, *sizes))  # noqa: E731
  zeros = jnp.zeros(shape)
  return Transition(draw(20), jnp.tanh(draw(6)), draw(), draw(20), zeros, zeros, draw(), draw(20), zeros)


def run_block(containing):
  """The names that a block of Python in the README leaves behind."""
  blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
  assert len(blocks) == 2
  (block,) = (block for block in blocks if containing in block)
  names = {}
  exec(block, names)
  return names


def test_the_environment_of_brax_is_one():
  env = run_block(containing="as_brax_env")["env"]
  state = jax.jit(env.reset)(jax.random.key(0))
  assert state.info["task_index"] == 3
  assert jax.jit(env.step)(state, jnp.ones(env.action_size)).reward < 0


@pytest.mark.usefixtures("quick_compile")
def test_example_runs_and_learns():
  algorithm = run_block(containing="meta_learner")["algorithm"]
  key = jax.random.key(0)
  tasks = TaskBatch(random_transitions(key, 3, 16), random_transitions(key, 3, 16), jnp.arange(3))
  state, update = algorithm.init(key), jax.jit(algorithm.update)
  losses = []
  for _ in range(20):
    state, metrics = update(state, tasks, key)
    losses.append(float(metrics["policy_loss"] + 0.01 * metrics["action_size"]))
  assert np.all(np.isfinite(losses))
  assert losses[-1] < losses[0]


def test_every_command_of_the_readme_names_files_that_exist():
  commands = re.findall(r"--config=([\w/]+\.py)", (ROOT / "README.md").read_text())
  assert commands
  for config in commands:
    assert (ROOT / config).is_file(), config
