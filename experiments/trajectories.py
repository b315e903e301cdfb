"""Draws the episodes of a point agent in new tasks: as it is, with its offset, and after its gradient step.

python -m experiments.trajectories runs/norml-point_rotated-0 --picture=trajectories.png

Each run has three panels, as in figure 3 of Yang et al. 2019 (NoRML); a colour is an angle by which actions are turned.
The table has the mean return of each panel. Runs are those of configs/norml.py and its relatives on the point agents.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from macaw_jax.collection.on_policy import experience_task
from macaw_jax.console import log
from macaw_jax.envs.family import Task
from macaw_jax.envs.point_rotated import BORDER, GOAL
from macaw_jax.envs.rollout import episode_return
from macaw_jax.envs.sampled_rollout import make_sampled_rollout
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.tables import markdown_table
from macaw_jax.types import Key, MetaParams, Trajectory

from .build import Trained, rebuild, saved_config
from .command_line import (
  Parser,
  add_evaluation,
  add_picture,
  add_runs,
  check_picture,
  draw_if_wanted,
  launch,
  make_parser,
  named_runs,
)

FAMILIES = ("point_rotated", "point_rotated_sparse")
PANELS = ("before adaptation", "with the offset", "after the step")


def parser() -> Parser:
  """The flags of the command."""
  flags = make_parser("trajectories", __doc__)
  add_runs(flags)
  add_evaluation(flags)
  add_picture(flags)
  flags.add_argument(
    "--tasks", type=int, default=8, metavar="N", help="test tasks to draw, evenly spaced; 8 if not given"
  )
  return flags


def main(given: argparse.Namespace) -> None:
  """Prints the returns of the runs that the command line names, and draws their episodes."""
  check_picture(given.picture)
  directories = named_runs(given.runs, "trajectories runs/norml-point_rotated-*")
  for directory in directories:
    acting_config(directory, given.tasks, given.episodes)
  drawn = {str(directory): act_out(directory, given.tasks, given.episodes, given.seed) for directory in directories}
  log(table(drawn))
  draw_if_wanted(given.picture, partial(draw, drawn))


class Trajectories(NamedTuple):
  """The episodes of a run's agent: E in each of T tasks."""

  angles: np.ndarray  # [T]
  positions: dict[str, np.ndarray]  # of each panel, [T, E, H + 1, 2]
  returns: dict[str, float]  # of each panel, mean over tasks and episodes


def acting_config(directory: Path, num_tasks: int, num_episodes: int | None) -> ml_collections.ConfigDict:
  """The configuration of an on-policy run of a point agent, with what is asked for; raises `ConfigurationError`."""
  config = saved_config(directory, {"evaluation.tasks": num_tasks, "evaluation.episodes": num_episodes})
  if "rollouts" not in config or config.rollouts.family not in FAMILIES:
    raise ConfigurationError(f"{directory}: expected a run of configs/norml.py on {' or '.join(FAMILIES)}")
  return config


def act_out(directory: Path, num_tasks: int, num_episodes: int | None, seed: int) -> Trajectories:
  """The episodes of a run's newest checkpoint in `num_tasks` test tasks, evenly spaced.

  Raises:
    ConfigurationError: there is no on-policy run of a point agent, or no checkpoint of it.
  """
  trained = rebuild(directory, acting_config(directory, num_tasks, num_episodes))
  tasks = trained.parts.splits[0].tasks
  panels = jax.jit(_panels(trained))(trained.params, tasks, jax.random.key(seed))
  return Trajectories(
    angles=np.asarray(tasks["angle"]),
    positions={name: _positions(episodes) for name, episodes in panels.items()},
    returns={name: float(np.mean(episode_return(episodes))) for name, episodes in panels.items()},
  )


def _panels(trained: Trained) -> Callable[[MetaParams, Task, Key], dict[str, Trajectory]]:
  """The episodes of each panel, `[T, E, H, ...]`, from parameters."""
  config, algorithm = trained.config, trained.algorithm
  rollout = make_sampled_rollout(
    trained.parts.family, algorithm.act, horizon=config.evaluation.horizon, engine=config.rollouts.engine
  )

  def in_task(params: MetaParams, task: Task, key: Key) -> dict[str, Trajectory]:
    key_experience, key_episodes = jax.random.split(key)
    experience = partial(
      experience_task,
      algorithm,
      rollout,
      task=task,
      key=key_experience,
      num_episodes=config.evaluation.support_episodes,
      adaptation_steps=config.rollouts.inner_steps,
    )
    # Steps of length zero leave the offset alone.
    still = jax.tree.map(jnp.zeros_like, params.rule["step_size"])
    without_steps = params._replace(rule=params.rule | {"step_size": still})
    prior = algorithm.prior(params, key)
    agents = (prior, experience(params=without_steps).adapted, experience(params=params).adapted)
    return {
      name: rollout(params, adapted, task, key_episodes, config.evaluation.episodes)
      for name, adapted in zip(PANELS, agents, strict=True)
    }

  def in_all(params: MetaParams, tasks: Task, key: Key) -> dict[str, Trajectory]:
    keys = jax.random.split(key, len(jax.tree.leaves(tasks)[0]))
    return jax.vmap(in_task, (None, 0, 0))(params, tasks, keys)

  return in_all


def _positions(episodes: Trajectory) -> np.ndarray:
  """Where the point was, NaN after the end: `[..., H, ...] -> [..., H + 1, 2]`."""
  after = np.where(np.asarray(episodes.mask)[..., None] > 0, episodes.next_observation, np.nan)
  return BORDER * np.concatenate([episodes.observation[..., :1, :], after], axis=-2)


def table(drawn: Mapping[str, Trajectories]) -> str:
  """The mean return of each panel, a line a run."""
  rows = [[run, *(f"{of_run.returns[name]:.2f}" for name in PANELS)] for run, of_run in drawn.items()]
  legend = "Undiscounted return, mean over the drawn test tasks and their episodes."
  return f"{markdown_table(['run', *PANELS], rows)}\n\n{legend}"


def draw(drawn: Mapping[str, Trajectories], path: Path) -> None:
  """Draws a row of panels for each run.

  Raises:
    ImportError: matplotlib is not installed.
    OSError: the file cannot be written.
  """
  from matplotlib import colormaps
  from matplotlib.figure import Figure

  figure = Figure(figsize=(4 * len(PANELS), 4.5 * len(drawn)), layout="compressed")
  rows = figure.subplots(len(drawn), len(PANELS), squeeze=False, sharex=True, sharey=True)
  for row, (run, of_run) in zip(rows, drawn.items(), strict=True):
    for axes, name in zip(row, PANELS, strict=True):
      for angle, episodes in zip(of_run.angles, of_run.positions[name], strict=True):
        color = colormaps["hsv"](angle / (2 * np.pi) + 0.5)
        axes.plot(*np.moveaxis(episodes, -1, 0).swapaxes(1, 2), color=color, alpha=0.6, linewidth=1, marker=".")
      axes.plot(*GOAL, "k*", markersize=12)
      axes.set(title=f"{name}: return {of_run.returns[name]:.2f}", aspect="equal")
      axes.set(xlim=(-1.05 * BORDER, 1.05 * BORDER), ylim=(-1.05 * BORDER, 1.05 * BORDER))
      axes.grid(alpha=0.3)
    row[0].set_ylabel(run)
  figure.savefig(path, dpi=120)


def start() -> None:
  """Starts the command."""
  launch(main, parser())


if __name__ == "__main__":
  start()
