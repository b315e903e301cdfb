"""Whether recorded episodes can be those of a family: lengths, ends, starts, rewards and steps, on a sample of rows.

A check needs some of these: tasks whose parameters are known, an observation that determines the state, physics that is
a function. Where one is missing, the check is not made, and says why.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from macaw_jax.data.dataset import Episodes, next_observations
from macaw_jax.data.manifest import DatasetError, Manifest
from macaw_jax.data.tasks import tasks_of
from macaw_jax.envs.family import AnalyticDynamics, Task, TaskFamily, never, time_to_go

SAMPLED = 1000  # rows, and episodes, that are looked at, of all tasks together
RESETS = 4000  # starts of the family, of all tasks together
LEAST_OF_TASK = 20  # of each task, however many there are

MOST_SHORTER = 0.05  # share of episodes that a time limit may have ended sooner
MOST_ODD = 0.01  # share of ends that may be others, and of starts that may lie elsewhere
MOST_AT_LIMIT = 0.5  # share of episodes that a task may have ended in its last step
MOST_ERROR = 0.2  # mean error of a task's rewards, over the spread of rewards, and of its steps, over the typical step
MARGIN = 0.25  # of the range of the family's starts, by which others may lie beyond it: the tail of a normal one
LEAST_SPREAD = 0.1  # of the spread of the family's starts, that others must have
FEWEST_STARTS = 10  # that tell a spread
MOST_PERCENT = 1000  # that are written out
ROUNDING = 1e-3  # of the size of a number, below which a difference is rounding

NO_ROWS = "no row has a next observation that is known"

Verdict = Literal["agrees", "contradicts", "not checked"]


class Check(NamedTuple):
  """One comparison of data with a family."""

  name: str
  expected: str
  found: str  # or the reason why it is not checked
  verdict: Verdict


class Rows(NamedTuple):
  """Some rows of all tasks, with the position of the task of each."""

  task: np.ndarray  # [N]  int
  observation: np.ndarray  # [N, O]
  action: np.ndarray  # [N, A]
  reward: np.ndarray  # [N]
  next_observation: np.ndarray  # [N, O]
  step: np.ndarray  # [N]  int, steps of the episode before the row
  last: np.ndarray  # [N]  bool, true on the last row of an episode


class Ends(NamedTuple):
  """The first and last moments of some episodes of all tasks, with the position of the task of each."""

  task: np.ndarray  # [E]  int
  start: np.ndarray  # [E, O]  first observation
  final: np.ndarray  # [E, O]  observation after the last action
  terminal: np.ndarray  # [E]  bool
  length: np.ndarray  # [E]  steps
  is_known: np.ndarray  # [E]  bool, false where another observation stands in for the final one


def compare_with_family(manifest: Manifest, episodes_by_task: Sequence[Episodes], family: TaskFamily) -> list[Check]:
  """All that can be checked of episodes against a family; the sample is always the same one.

  Args:
    manifest: with the parameters of the tasks.
    episodes_by_task: of each of its tasks.
    family: with its physics as a function, see `envs.engines.with_compiled_physics`; of others, starts and steps are
      not checked.
  """
  tasks = known_tasks(manifest, family)
  rows, ends = sample_rows(episodes_by_task), _sample_ends(episodes_by_task)
  return [
    _longest(episodes_by_task, family),
    _time_limits(episodes_by_task, family),
    _ends(ends, rows, family, tasks),
    _starts(ends, rows, family, tasks),
    check_rewards(rows, family, tasks),
    _steps(rows, family, tasks),
  ]


def contradictions(checks: Sequence[Check]) -> str:
  """All that is contradicted, in one line; empty where nothing is."""
  odd = [check for check in checks if check.verdict == "contradicts"]
  return "; ".join(f"{check.name}: expected {check.expected}, found {check.found}" for check in odd)


def refuse_contradictions(checks: Sequence[Check], name: str) -> None:
  """Raises `DatasetError` where data contradict the family of this name."""
  if found := contradictions(checks):
    raise DatasetError(
      f"--family={name}: the data are not of this family: {found}. Data of another environment get a name of their own "
      "by --family, known or not"
    )


def known_tasks(manifest: Manifest, family: TaskFamily) -> Task | None:
  """The tasks `[T, ...]` of a manifest; None where their parameters are not those of the family."""
  try:
    return tasks_of(manifest, family, range(len(manifest.tasks)))
  except DatasetError:
    return None


def sample_rows(episodes_by_task: Sequence[Episodes]) -> Rows:
  """Rows of each task, drawn without replacement.

  A terminal episode whose final observation is its last one over again has no known end (some files lack it), and its
  last row is left out.
  """
  parts = []
  for task, (episodes, drawn) in enumerate(_drawn(episodes_by_task, lambda episodes: len(episodes.reward))):
    stops = np.cumsum(episodes.episode_length, dtype=np.int64) - 1
    rows = np.setdiff1d(drawn, stops[~has_known_end(episodes)])
    parts.append(
      Rows(
        task=np.full(len(rows), task),
        observation=episodes.observation[rows],
        action=episodes.action[rows],
        reward=episodes.reward[rows],
        next_observation=next_observations(episodes)[rows],
        step=rows - np.repeat(stops + 1 - episodes.episode_length, episodes.episode_length)[rows],
        last=np.isin(rows, stops),
      )
    )
  return Rows(*map(np.concatenate, zip(*parts, strict=True)))


def has_known_end(episodes: Episodes) -> np.ndarray:
  """`[E]` bool: false where the last observation of a terminal episode stands in for the final one."""
  stops = np.cumsum(episodes.episode_length, dtype=np.int64) - 1
  return ~(episodes.terminal & np.all(episodes.final_observation == episodes.observation[stops], axis=1))


def check_rewards(rows: Rows, family: TaskFamily, tasks: Task | None) -> Check:
  """Rewards recomputed by the family from observations and actions, relative to the spread of the rewards."""
  expected = "the family's reward of each row"
  if reason := _missing(family, tasks, "tasks", "states") or ("" if len(rows.reward) else NO_ROWS):
    return Check("rewards", expected, reason, "not checked")
  recomputed = recompute_rewards(
    family, _of_rows(tasks, rows.task), rows.observation, rows.action, rows.next_observation
  )
  spread = np.mean(np.abs(rows.reward - rows.reward.mean()))
  floor = ROUNDING * float(np.abs(rows.reward).mean()) + ROUNDING * float(np.abs(recomputed).mean())
  error = np.abs(rows.reward - recomputed) / max(float(spread), floor, np.finfo(np.float32).tiny)
  return _judged("rewards", expected, error, rows.task, "of the spread of rewards")


def recompute_rewards(
  family: TaskFamily, tasks: Task, observation: np.ndarray, action: np.ndarray, next_observation: np.ndarray
) -> np.ndarray:
  """The family's rewards `[N]` of rows, each in a task, leaves `[N, ...]`; the family must have `state_of`."""
  state_of = family.state_of
  assert state_of is not None

  def reward(task: Any, before: Any, action: Any, after: Any) -> Any:
    return family.reward(task, state_of(task, before), action, state_of(task, after))

  return np.asarray(jax.jit(jax.vmap(reward))(tasks, observation, action, next_observation))


def ended_by_family(family: TaskFamily, tasks: Task, observation: np.ndarray) -> np.ndarray:
  """Whether the family ends an episode in the state of each observation, `[N]` bool; it must have `state_of`."""
  state_of = family.state_of
  assert state_of is not None

  def ends(task: Any, observation: Any) -> Any:
    return family.terminal(task, state_of(task, observation))

  return np.asarray(jax.jit(jax.vmap(ends))(tasks, observation), bool)


def _longest(episodes_by_task: Sequence[Episodes], family: TaskFamily) -> Check:
  lengths = np.concatenate([episodes.episode_length for episodes in episodes_by_task])
  verdict: Verdict = "agrees" if lengths.max() <= family.horizon else "contradicts"
  return Check("longest episode", f"at most {family.horizon} steps", f"{lengths.max()} steps", verdict)


def _time_limits(episodes_by_task: Sequence[Episodes], family: TaskFamily) -> Check:
  """Episodes that no terminal ends have the horizon's steps, or one fewer, where an import dropped an unknown end.

  The last episode of a task may have been cut with its data.
  """
  whole = [episodes.episode_length[:-1][~episodes.terminal[:-1]] for episodes in episodes_by_task]
  lengths = np.concatenate(whole)
  shorter = int(np.sum(lengths < family.horizon - 1))
  verdict: Verdict = "contradicts" if shorter > MOST_SHORTER * len(lengths) else "agrees"
  found = f"{shorter:,} of {len(lengths):,} shorter"
  if shorter:
    found += f", of {lengths.min()} steps or more (leave out what a recording cut off)"
  return Check("time limit", f"{family.horizon} steps where no terminal ends an episode", found, verdict)


def _ends(ends: Ends, rows: Rows, family: TaskFamily, tasks: Task | None) -> Check:
  if family.terminal is never:
    count = int(ends.terminal.sum())
    found = f"{count:,} of {len(ends.terminal):,} episodes end in a terminal"
    return Check("ends", "no terminal: a time limit alone ends an episode", found, "contradicts" if count else "agrees")
  expected = "terminals where the family ends an episode"
  if reason := _missing(family, tasks, "tasks", "states"):
    at_limit = int(np.sum(ends.terminal & (ends.length >= family.horizon)))
    if at_limit > MOST_AT_LIMIT * len(ends.terminal) and len(ends.terminal) > 1:
      found = f"{at_limit:,} of {len(ends.terminal):,} episodes end in a terminal, just at the time limit"
      return Check("ends", "no terminal where a time limit ends an episode", found, "contradicts")
    return Check("ends", expected, reason, "not checked")
  known, within = ends.is_known, ~rows.last
  other = ended_by_family(family, _of_rows(tasks, ends.task[known]), ends.final[known]) != ends.terminal[known]
  past = ended_by_family(family, _of_rows(tasks, rows.task[within]), rows.next_observation[within])
  ended = f"{other.sum():,} of {len(other):,} episodes end otherwise"
  found = f"{ended}, {past.sum():,} of {len(past):,} steps go on after an end"
  odd = [flags.mean() for flags in (other, past) if len(flags)]
  return Check("ends", expected, found, "contradicts" if max(odd, default=0.0) > MOST_ODD else "agrees")


def _starts(ends: Ends, rows: Rows, family: TaskFamily, tasks: Task | None) -> Check:
  """First observations against those of `reset`, column by column: where they lie, and whether they vary as much."""
  expected = "first observations where the family starts"
  if reason := _missing(family, tasks, "tasks", "physics"):
    return Check("starts", expected, reason, "not checked")

  def start(task: Any, key: Any) -> Any:
    return family.show(family.observe(task, family.reset(task, key)), time_to_go(0, family.horizon))

  keys = jax.random.split(jax.random.key(0), RESETS)
  in_tasks = _of_rows(tasks, np.linspace(0, ends.task.max(), RESETS).round().astype(int))
  own = np.asarray(jax.jit(jax.vmap(start))(in_tasks, keys))
  low, high = own.min(axis=0), own.max(axis=0)
  margin = MARGIN * (high - low) + ROUNDING * (rows.observation.std(axis=0) + np.abs(own).max(axis=0)) + 1e-6
  outside = (ends.start < low - margin) | (ends.start > high + margin)
  if outside.any(axis=1).mean() > MOST_ODD:
    column = int(outside.mean(axis=0).argmax())
    found = (
      f"{outside[:, column].sum():,} of {len(outside):,} outside in entry {column}: {_span(ends.start[:, column])}, "
      f"the family's {_span(own[:, column])}"
    )
    return Check("starts", expected, found, "contradicts")
  narrow = (ends.start.std(axis=0) < LEAST_SPREAD * own.std(axis=0)) & (high - low > margin)
  if len(ends.start) >= FEWEST_STARTS and narrow.any():
    column = int(narrow.argmax())
    found = (
      f"hardly any variation in entry {column}: {_span(ends.start[:, column])}, the family's {_span(own[:, column])}"
    )
    return Check("starts", expected, found, "contradicts")
  return Check("starts", expected, f"{outside.any(axis=1).sum():,} of {len(outside):,} elsewhere", "agrees")


def _steps(rows: Rows, family: TaskFamily, tasks: Task | None) -> Check:
  """One step of the family's physics from the state of each row, relative to the typical step of each entry."""
  expected = "the family's next observation of each row"
  if reason := _missing(family, tasks, "tasks", "states", "physics") or ("" if len(rows.reward) else NO_ROWS):
    return Check("steps", expected, reason, "not checked")
  state_of, dynamics = family.state_of, family.dynamics
  assert state_of is not None
  assert isinstance(dynamics, AnalyticDynamics)

  def follow(task: Any, observation: Any, action: Any, step: Any) -> Any:
    after = dynamics.step(task, state_of(task, observation), family.actuate(task, action))
    return family.show(family.observe(task, after), time_to_go(step + 1, family.horizon))

  own = np.asarray(jax.jit(jax.vmap(follow))(_of_rows(tasks, rows.task), rows.observation, rows.action, rows.step))
  typical = np.abs(rows.next_observation - rows.observation).mean(axis=0)
  floor = ROUNDING * np.abs(rows.observation).mean(axis=0) + 1e-6
  error = np.sqrt(np.mean(((rows.next_observation - own) / np.maximum(typical, floor)) ** 2, axis=1))
  return _judged("steps", expected, error, rows.task, "of a typical step")


def _judged(name: str, expected: str, error: np.ndarray, task: np.ndarray, unit: str) -> Check:
  """The check of relative errors `[N]`: contradicted where those of a task are large in the mean."""
  tasks = np.unique(task)
  means = np.array([error[task == each].mean() for each in tasks])
  worst = int(np.argmax(means))
  found = f"off by {_percent(error.mean())} {unit}, {_percent(means[worst])} in the worst task ({tasks[worst]})"
  return Check(name, expected, found, "contradicts" if not means[worst] <= MOST_ERROR else "agrees")


def _missing(family: TaskFamily, tasks: Task | None, *needs: Literal["tasks", "states", "physics"]) -> str:
  """The reason why a check with these needs cannot be made; empty where it can."""
  reasons = {
    "tasks": (tasks is None, "the parameters of the tasks are not those of the family"),
    "states": (family.state_of is None, "the family has no state_of, the state that an observation shows"),
    "physics": (not isinstance(family.dynamics, AnalyticDynamics), "the family's physics is no function"),
  }
  return next((reasons[need][1] for need in needs if reasons[need][0]), "")


def _sample_ends(episodes_by_task: Sequence[Episodes]) -> Ends:
  """Episodes of each task, drawn without replacement."""
  parts = []
  for task, (episodes, drawn) in enumerate(_drawn(episodes_by_task, lambda episodes: len(episodes.terminal))):
    starts = np.cumsum(episodes.episode_length, dtype=np.int64) - episodes.episode_length
    parts.append(
      Ends(
        task=np.full(len(drawn), task),
        start=episodes.observation[starts[drawn]],
        final=episodes.final_observation[drawn],
        terminal=episodes.terminal[drawn],
        length=episodes.episode_length[drawn],
        is_known=has_known_end(episodes)[drawn],
      )
    )
  return Ends(*map(np.concatenate, zip(*parts, strict=True)))


def _drawn(episodes_by_task: Sequence[Episodes], size: Callable[[Episodes], int]) -> list[tuple[Episodes, np.ndarray]]:
  """The episodes of each task with some indices below their `size`, in order."""
  random = np.random.default_rng(0)
  wanted = max(LEAST_OF_TASK, -(-SAMPLED // len(episodes_by_task)))
  return [
    (episodes, np.sort(random.choice(size(episodes), min(size(episodes), wanted), replace=False)))
    for episodes in episodes_by_task
  ]


def _of_rows(tasks: Task, index: np.ndarray) -> Task:
  return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tasks)


def _percent(share: float) -> str:
  return f"{100.0 * share:.2g} %" if share < MOST_PERCENT / 100.0 else f"more than {MOST_PERCENT:,} %"


def _span(values: np.ndarray) -> str:
  low, high = values.min(), values.max()
  return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
