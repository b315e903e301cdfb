"""Holds agents against the known answers to a bandit: reward and regret of each on the test tasks.

python -m experiments.regret --family=bandit_100
python -m experiments.regret "runs/rl2-bandit_100-*" --episodes=20

The regret of an episode is what its pulls fell short of the best arm by, in expectation. It is defined with the
policies, in `macaw_jax.envs.bandit_policies`. An agent is the newest checkpoint of a finished run. It begins each
episode knowing nothing of the task, and acts by samples. All play the same tasks with the same luck. Intervals are of
95 %, from a bootstrap of the episodes within each task.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax import envs
from macaw_jax.agent import load_run
from macaw_jax.collection.acting import act_on_raw_timesteps, make_draw_priors
from macaw_jax.console import log
from macaw_jax.envs.bandit import NUM_ARMS, PULLS
from macaw_jax.envs.bandit_policies import Policy, as_act, make_policies, no_counts, regret
from macaw_jax.envs.family import TaskFamily
from macaw_jax.envs.names import parse_name
from macaw_jax.envs.rollout import Act, episode_return, make_rollout
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.comparison import estimate
from macaw_jax.evaluation.results import read_run
from macaw_jax.evaluation.statistics import mean
from macaw_jax.evaluation.tables import markdown_table
from macaw_jax.types import Key

from .command_line import Parser, add_runs, launch, make_parser, named_runs, positive, seed_number

COMPARED_TO = ("gittins", "thompson")


class Played(NamedTuple):
  """Episodes of one policy or agent: E in each of T tasks."""

  rewards: np.ndarray  # [E, T]  sum over an episode
  regrets: np.ndarray  # [E, T]


def parser() -> Parser:
  """The flags of the command."""
  flags = make_parser("regret", __doc__)
  add_runs(flags)
  flags.add_argument("--family", metavar="NAME", help=f"one of {', '.join(PULLS)}; that of the runs if not given")
  flags.add_argument(
    "--episodes", type=positive, default=10, metavar="N", help="episodes of each test task; 10 if not given"
  )
  flags.add_argument(
    "--seed", type=seed_number, default=0, metavar="N", help="decides luck and actions; 0 if not given"
  )
  return flags


def main(given: argparse.Namespace) -> None:
  """Prints the table of the policies, and of the agents of the runs that the command line names."""
  runs = named_runs(given.runs, "regret runs/rl2-bandit_100-0") if given.runs else []
  family = bandit_of(given.family, runs)
  key = jax.random.key(given.seed)
  policies = make_policies(family.horizon)
  played = {name: play_policy(family, policy, given.episodes, key) for name, policy in policies.items()}
  played |= {str(directory): play_run(family, directory, given.episodes, key) for directory in runs}
  log(f"{family.name}, {len(family.test_tasks)} test tasks, {given.episodes} episodes of each\n")
  log(table(played))


def bandit_of(name: str | None, runs: list[Path]) -> TaskFamily:
  """The family of that name, or else that of the runs.

  Raises:
    ConfigurationError: neither is given, a run has not finished, or there are several families, or one that is no
      bandit.
  """
  of_runs = {directory: _family_of_run(directory) for directory in runs}
  names = dict.fromkeys([*([] if name is None else [name]), *of_runs.values()])
  if not names:
    raise ConfigurationError(f"no family; expected --family={next(iter(PULLS))} or directories of runs")
  if len(names) > 1:
    told = [*([] if name is None else [f"--family={name}"]), *(f"{run}: {of}" for run, of in of_runs.items())]
    raise ConfigurationError(f"expected one family, got {', '.join(told)}")
  (chosen,) = names
  if parse_name(chosen).base not in PULLS:
    where = f"--family={chosen}" if name is not None else f"{runs[0]}: family {chosen}"
    raise ConfigurationError(f"{where}: expected one of {', '.join(PULLS)}")
  return envs.make(chosen)


def _family_of_run(directory: Path) -> str:
  try:
    return read_run(directory).family
  except FileNotFoundError as error:
    raise ConfigurationError(f"{directory}: no results.json (not finished?)") from error


def play_policy(family: TaskFamily, policy: Policy, num_episodes: int, key: Key) -> Played:
  """Episodes of a policy in each test task of a bandit."""
  counts = jax.tree.map(lambda leaf: jnp.stack([leaf] * _num_rows(family, num_episodes)), no_counts(NUM_ARMS))
  return play(family, as_act(policy), {}, counts, num_episodes, key)


def play_run(family: TaskFamily, directory: Path, num_episodes: int, key: Key) -> Played:
  """Episodes of a run's agent in each test task of a bandit, each begun by a draw of its prior."""
  agent = load_run(directory)
  keys = jax.random.split(jax.random.fold_in(key, 1), _num_rows(family, num_episodes))
  priors = make_draw_priors(agent.algorithm)(agent.params, keys)
  act = act_on_raw_timesteps(agent.algorithm.act)
  return play(family, act, (agent.params, agent.statistics), priors, num_episodes, key)


def play(family: TaskFamily, act: Act, params: Any, adapted: Any, num_episodes: int, key: Key) -> Played:
  """Episodes with sampled actions in each test task of a bandit.

  Args:
    family: the bandit.
    act: acting function.
    params: that it reads.
    adapted: with which each episode begins, leaves [E * T, ...], the tasks of an episode side by side.
    num_episodes: E.
    key: decides luck and actions.
  """
  chosen = np.asarray(family.test_tasks)
  tasks = jax.tree.map(lambda leaf: np.tile(np.asarray(leaf)[chosen], (num_episodes, 1)), family.tasks)
  trajectory = make_rollout(family, act)(params, adapted, tasks, key, deterministic=False)
  choices = jnp.argmax(trajectory.action, axis=-1)
  fallen_short = jax.vmap(regret)(jnp.asarray(tasks["probability"]), choices)
  by_episode = partial(np.reshape, shape=(num_episodes, len(chosen)))
  return Played(by_episode(np.asarray(episode_return(trajectory))), by_episode(np.asarray(fallen_short)))


def table(played: dict[str, Played]) -> str:
  """A line for each: mean reward and regret with intervals, and the regret over those of Gittins and Thompson."""
  means = {name: float(np.mean(each.regrets)) for name, each in played.items()}
  rows = [
    [
      name,
      estimate(each.rewards, mean, digits=2),
      estimate(each.regrets, mean, digits=2),
      *(f"{means[name] / means[of]:.2f}" for of in COMPARED_TO),
    ]
    for name, each in played.items()
  ]
  return markdown_table(["policy", "reward", "regret", *(f"regret / {of}" for of in COMPARED_TO)], rows)


def _num_rows(family: TaskFamily, num_episodes: int) -> int:
  return len(family.test_tasks) * num_episodes


def start() -> None:
  """Starts the command."""
  launch(main, parser())


if __name__ == "__main__":
  start()
