"""Runs in miniature: one of each kind of source, and a small dataset of the point robot for those that read data.

The data are walks towards the goal, better from one to the next.
"""

import contextlib
import dataclasses
import importlib
import io
import json
import shutil
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import focal, macaw, multitask_iql, multitask_sac, norml, pearl
from experiments.build import build
from macaw_jax import envs
from macaw_jax.data.dataset import Episodes, write_episodes
from macaw_jax.data.manifest import Manifest, TaskEntry
from macaw_jax.envs.rollout import episode_return, make_rollout
from macaw_jax.json_files import read_rows
from macaw_jax.training import session
from macaw_jax.training.checkpoint_record import read_record
from macaw_jax.training.checkpoints import Checkpoint
from macaw_jax.training.interruption import Interrupted, Interruption
from macaw_jax.training.members import open_members
from macaw_jax.training.metrics import ProgressLine
from macaw_jax.training.population import initialise_member, no_skips

KINDS = ("recorded", "replayed", "on_policy")
# Two values of a number in which the members of a grid differ: that of the run alone, and another.
GRIDS = {
  "recorded": "temperature=1,0.5",
  "replayed": "encoder.kl_weight=0.1,0.2",
  "on_policy": "step_size=10,1",
}
LEARNING_RATES = {
  "recorded": "policy_learning_rate",
  "replayed": "optimizer.agent_learning_rate",
  "on_policy": "learning_rate",
}
STEPS, CALL, EVERY = 8, 2, 4  # updates: of a run, of a compiled call, between evaluations and checkpoints
TIMES = ("wall_time", "steps_per_second")

TRAIN_TASKS, TEST_TASKS = (0, 1, 2), (3, 4)


def act(params, task, timestep, key):
  """Walks to the goal in `task` with noise of size `params`; at random where the noise is infinite."""
  noise = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
  direction = jnp.clip(10.0 * (task["goal"] - timestep.observation), -1.0, 1.0)
  return jnp.where(jnp.isinf(params), noise, direction + params * noise), task


def write_point_robot(directory: Path, num_episodes: int = 10, num_tasks: int = 5, **changes) -> Manifest:
  """Writes `num_episodes` episodes of each task; `changes` replace fields of the manifest."""
  family = envs.make("point_robot")
  tasks = {name: values[:num_tasks] for name, values in family.tasks.items()}
  rollout = make_rollout(family, act)
  noises = np.linspace(1.0, 0.1, num_episodes)
  trajectories = [
    rollout(noise, tasks, tasks, key, deterministic=False)
    for noise, key in zip(noises, jax.random.split(jax.random.key(0), num_episodes), strict=True)
  ]
  random = episode_return(rollout(np.inf, tasks, tasks, jax.random.key(1), deterministic=False))
  expert = episode_return(rollout(0.0, tasks, tasks, jax.random.key(1), deterministic=False))
  episodes_by_task = []
  for task in range(num_tasks):
    episodes_by_task.append(
      Episodes(
        observation=np.concatenate([trajectory.observation[task] for trajectory in trajectories]),
        action=np.concatenate([trajectory.action[task] for trajectory in trajectories]),
        reward=np.concatenate([trajectory.reward[task] for trajectory in trajectories]),
        episode_length=np.full(num_episodes, family.horizon, np.int32),
        final_observation=np.stack([trajectory.next_observation[task, -1] for trajectory in trajectories]),
        terminal=np.zeros(num_episodes, bool),
        collected_at=(np.arange(num_episodes) * num_tasks + task) * family.horizon,
      )
    )
  manifest = Manifest(
    family="point_robot",
    observation_size=2,
    action_size=2,
    horizon=family.horizon,
    discount=0.99,
    seed=0,
    train_tasks=TRAIN_TASKS,
    test_tasks=TEST_TASKS,
    tasks=tuple(
      TaskEntry(
        parameters={"goal": tasks["goal"][task].tolist()},
        reference_returns={"random": float(random[task]), "expert": float(expert[task])},
      )
      for task in range(num_tasks)
    ),
    behaviour={"name": "walk towards the goal with noise"},
    versions={"jax": jax.__version__},
    git_commit=None,
    created="2025-01-01T00:00:00+00:00",
  )
  return write_episodes(directory, episodes_by_task, dataclasses.replace(manifest, **changes))


def make_config(kind, data, output, **population):
  """A locked configuration of eight updates, two in a call, to be run in a directory."""
  config = {"recorded": _recorded, "replayed": _replayed, "on_policy": _on_policy}[kind](data)
  config.output_directory = str(output)
  call = "updates_per_iteration" if kind == "replayed" else "log_every"
  config.training.update({"steps": STEPS, call: CALL, "evaluate_every": EVERY, "checkpoint_every": EVERY})
  config.training.keep_checkpoints = 2
  config.population.update(population)
  return config.lock()


def _recorded(data):
  config = macaw.get_config()
  config.dataset.directory = str(data)
  config.algorithm.update({"layer": "dense", "hidden_sizes": (16, 16)})
  config.training.update({"support_size": 16, "query_size": 16})
  config.evaluation.update({"episodes": 2, "support_size": 16, "train_tasks": 2})
  return config


def _replayed(data):
  del data
  config = pearl.get_config("point_robot")
  collected = {"initial_episodes": 1, "tasks_per_iteration": 3}
  collected |= {"prior_episodes": 1, "posterior_episodes": 1, "extra_episodes": 1}
  config.collection.update(collected)
  config.training.update({"tasks_per_update": 4, "support_size": 8, "query_size": 8})
  config.algorithm.actor_critic.hidden_sizes = config.algorithm.encoder.hidden_sizes = (8,)
  config.algorithm.encoder.latent_size = 2
  config.evaluation.update({"episodes": 2, "exploration_episodes": 1, "adapted_episodes": 2, "train_tasks": 2})
  return config


def _on_policy(data):
  del data
  config = norml.get_config()
  config.rollouts.update({"episodes": 4, "tasks_per_update": 2, "horizon": 5})
  config.algorithm.hidden_sizes = config.algorithm.advantage_hidden_sizes = (8,)
  config.evaluation.update({"tasks": 3, "episodes": 2})
  return config


def make_focal(data, output, **settings):
  """A configuration of a context-based agent on recorded data; settings by their dotted names."""
  config = focal.get_config("point_robot")
  config.output_directory, config.dataset.directory = str(output), str(data)
  config.algorithm.actor_critic.hidden_sizes, config.algorithm.encoder.hidden_sizes = (16, 16), (16,)
  config.algorithm.update_from_flattened_dict(settings)
  config.training.update({"steps": 2, "log_every": 2, "evaluate_every": 2, "checkpoint_every": 2})
  config.training.update({"support_size": 16, "query_size": 16})
  config.evaluation.update({"episodes": 2, "support_size": 16})
  return config.lock()


def make_multitask(data, output, *, source):
  """A configuration of a multi-task actor-critic of two updates, on recorded data or on a replay buffer."""
  if source == "replayed":
    config = multitask_sac.get_config("point_robot")
    config.collection.update({"initial_episodes": 1, "tasks_per_iteration": 3})
    config.training.update({"updates_per_iteration": 2, "tasks_per_update": 4, "query_size": 8})
    config.evaluation.update({"episodes": 2})
  else:
    config = multitask_iql.get_config("point_robot")
    config.dataset.directory, config.dataset.shown_task = str(data), "task_index"
    config.training.update({"log_every": 2, "query_size": 16})
    config.evaluation.update({"episodes": 2, "support_size": 16})
  config.output_directory = str(output)
  config.training.update({"steps": 2, "evaluate_every": 2, "checkpoint_every": 2})
  config.algorithm.actor_critic.hidden_sizes = (8,)
  return config.lock()


def changed(config, **changes):
  """A copy with fields replaced; two underscores stand for a dot."""
  config = config.copy_and_resolve_references().unlock()
  config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
  return config.lock()


def run(*arguments, **options):
  """`experiments.run.run`. Imported late: a process whose main module that is, reads configurations of this file."""
  return importlib.import_module("experiments.run").run(*arguments, **options)


def run_silently(config, *arguments, **options):
  """What a run says."""
  with contextlib.redirect_stdout(io.StringIO()) as said:
    run(config, *arguments, **options)
  return said.getvalue()


def make_untrained(config) -> Path:
  """Writes the directory of a run on recorded data that has had no update, and its first checkpoint."""
  built = build(config)
  with contextlib.ExitStack() as resources, contextlib.redirect_stdout(io.StringIO()):
    (each,) = open_members(built, resources, continue_changed=False)
    state = initialise_member(built.make_algorithm, {}, each.keys.init)
    data = built.source.init(state.params, each.keys.source)
    each.checkpoints.save(0, Checkpoint(state, built.source.statistics(data), no_skips()))
  return each.directory


def stop_at(step, config, monkeypatch, number=signal.SIGTERM):
  """Runs until a signal is heard in the row of training at `step`; what it said."""
  interruption = Interruption()

  class Interrupting(ProgressLine):
    def write(self, now, metrics):
      super().write(now, metrics)
      if now == step and "steps_per_second" in metrics:
        interruption.received = number

  with monkeypatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
    patch.setattr(session, "ProgressLine", Interrupting)
    with pytest.raises(Interrupted) as interrupted:
      run(config, interruption)
  assert interrupted.value.signal == number
  return said.getvalue()


def copy_run(config, place):
  """A run in another place, for a test to change: its configuration there."""
  shutil.copytree(config.output_directory, place)
  moved = changed(config, output_directory=str(place))
  document = json.loads((place / "config.json").read_text())
  document["config"]["output_directory"] = str(place)
  (place / "config.json").write_text(json.dumps(document))
  return moved


def steps_of(directory):
  """The steps of its checkpoints."""
  return sorted(int(path.name) for path in Path(directory, "checkpoints").iterdir() if path.name.isdigit())


def rows_of(directory):
  """The rows of its metrics, without what a clock says."""
  rows = read_rows(Path(directory, "metrics.jsonl"))
  return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def results_of(directory):
  """What its results say."""
  return json.loads(Path(directory, "results.json").read_text())


def end_of(directory):
  """All that two equal runs have in common; a checkpoint's record has the digest of every array."""
  step = steps_of(directory)[-1]
  record = read_record(Path(directory, "checkpoints", str(step)))
  progress = record.note.progress
  return {
    "step": step,
    "leaves": record.leaves,
    "score": record.note.score,
    "progress": progress,
    "rows": rows_of(directory),
    "results": results_of(directory)["rows"],
  }
