"""Seconds of training to a score: MACAW in the structure of its released code, in PyTorch, and ours.

python -m benchmarks.time_to_score
python -m benchmarks.time_to_score --seeds=3 --limit=3600

Both train on the starter data of the two directions with the settings of `configs/macaw.py`, from the same parameters;
PyTorch's is `benchmarks.torch_macaw.Loop`. Every some hundred updates both are evaluated by the evaluator of that
configuration, PyTorch's parameters as ours. A side is done when its score after adaptation, the lower one of the two
directions, is as high as wanted, or when it has trained for so long. Seconds are by the clock and of training alone:
evaluations and compilation are left out. The process runs on one core with one thread. Needs the extra `torch`.
`benchmarks.end_to_end` has the seconds from the command to a score, of ours.
"""

if __name__ == "__main__":  # Before JAX makes its threads.
  from benchmarks.measure import pin

  pin()

import importlib.util
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags, logging

from benchmarks import measure
from benchmarks.peer_versions import OURS, THEIRS
from benchmarks.update_versions import columns_of, named_arrays
from configs.macaw import get_config
from experiments.build import build
from macaw_jax.training.loop import compile_chunk, initialise, make_chunk
from macaw_jax.training.run import Run
from macaw_jax.types import MetaParams, TrainState

SEEDS = flags.DEFINE_integer("seeds", 1, "Trainings of each side, with the seeds 0, 1, ...", lower_bound=1)
SCORE = flags.DEFINE_float("score", 90.0, "The score to reach in both directions.")
LIMIT = flags.DEFINE_float("limit", 1800.0, "Seconds of training after which a side is given up.", lower_bound=0.0)
EVALUATE_EVERY = flags.DEFINE_integer("evaluate_every", 100, "Updates between evaluations.", lower_bound=1)
EPISODES = flags.DEFINE_integer("episodes", 20, "Episodes of a task in an evaluation.", lower_bound=1)
WIDTH = flags.DEFINE_integer("width", 100, "Width of the three hidden layers.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")


class Point(NamedTuple):
  """An evaluation."""

  updates: int
  seconds: float  # of training
  score: float  # of the worst direction


class Side(NamedTuple):
  """A training that can be stopped for an evaluation."""

  advance: Callable[[], None]  # as many updates as lie between two evaluations
  params: Callable[[], MetaParams]
  compile_seconds: float = 0.0  # nothing is compiled in PyTorch


def with_arrays(params: MetaParams, arrays: dict[str, np.ndarray]) -> MetaParams:
  """Parameters like these whose values are those of `named_arrays`."""
  leaves, structure = jax.tree.flatten(params)
  places = named_arrays(jax.tree.unflatten(structure, range(len(leaves))))
  values = {int(place): arrays[name] for name, place in places.items()}
  return jax.tree.unflatten(structure, [values[place] for place in range(len(leaves))])


def our_side(run: Run, state: TrainState, data: Any, seed: int) -> Side:
  """Our training, compiled."""
  key = jax.random.key(seed)
  chunk = make_chunk(run.make_algorithm(), run.source.sample, EVALUATE_EVERY.value)
  started = time.perf_counter()
  compiled = compile_chunk(chunk, state, data, key)
  seconds = time.perf_counter() - started
  newest = {"state": state}

  def advance() -> None:
    newest["state"], _ = compiled(newest["state"], data, key)
    jax.block_until_ready(newest["state"])

  return Side(advance, lambda: newest["state"].params, seconds)


def their_side(config: Any, params: MetaParams, data: Any, seed: int) -> Side:
  """PyTorch's training."""
  from benchmarks import torch_macaw

  if len(sizes := set(np.asarray(data.size).tolist())) > 1:
    raise SystemExit(f"the tasks have {sorted(sizes)} transitions; PyTorch's loop draws from as many of each")
  algorithm = config.algorithm
  settings = torch_macaw.Settings(
    tasks=len(data.size),
    batch=config.training.support_size,
    inner_steps=algorithm.adaptation_steps,
    first_order=algorithm.first_order,
    value_rate=algorithm.value_learning_rate,
    policy_rate=algorithm.policy_learning_rate,
    rule_rate=algorithm.rule_learning_rate,
  )
  learner = torch_macaw.Loop(named_arrays(params), columns_of(data), settings)
  learner.generator = np.random.default_rng(seed)

  def advance() -> None:
    for _ in range(EVALUATE_EVERY.value):
      learner.update()

  def present() -> MetaParams:
    return with_arrays(params, {name: value.detach().numpy() for name, value in learner.params.items()})

  return Side(advance, present)


def train(name: str, side: Side, score_of: Callable[[MetaParams, int], float]) -> list[Point]:
  """The evaluations of a side, up to the one that reaches the score, or the limit."""
  points = [Point(0, 0.0, score_of(side.params(), 0))]
  while points[-1].score < SCORE.value and points[-1].seconds < LIMIT.value:
    updates, seconds = points[-1].updates + EVALUATE_EVERY.value, points[-1].seconds
    seconds += measure.measure(side.advance).wall
    points.append(Point(updates, seconds, score_of(side.params(), updates)))
    print(f"{name}: {updates} updates, {seconds:.1f} s of training, score {points[-1].score:.1f}", flush=True)
  return points


def measure_seed(seed: int) -> list[dict[str, Any]]:
  """Both sides from the same parameters: a row of plain numbers for each."""
  config = get_config()
  config.algorithm.hidden_sizes = (WIDTH.value,) * 3
  config.evaluation.episodes = EPISODES.value
  run = build(config)
  key_init, key_data, key_evaluate = jax.random.split(jax.random.key(seed), 3)
  state = initialise(run.make_algorithm(), key_init)
  data = run.source.init(state.params, key_data)
  statistics = run.source.statistics(data)

  def score_of(params: MetaParams, updates: int) -> float:
    assert run.evaluate is not None
    rows = run.evaluate(params, statistics, jax.random.fold_in(key_evaluate, updates)).rows
    return min(row.scores[-1] for row in rows if row.scores is not None)

  sides = {
    THEIRS: partial(their_side, config, jax.device_get(state.params), data, seed),
    OURS: partial(our_side, run, state, data, seed),  # It gives its first state away, and so comes last.
  }
  rows = []
  for name, start in sides.items():
    side = start()
    points = train(name, side, score_of)
    last = points[-1]
    row = {"side": name, "seed": seed, "score_wanted": SCORE.value, "reached": last.score >= SCORE.value}
    row |= {"end": last._asdict(), "compile_seconds": side.compile_seconds}
    rows.append(row | {"evaluations": [point._asdict() for point in points]})
  return rows


def shown(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
  """The seeds of a side for people."""
  of_side = [row for row in rows if row["side"] == name]
  reached = [row["end"] for row in of_side if row["reached"]]
  ends = [row["end"] for row in of_side]
  return {
    "side": name,
    f"reaches {SCORE.value:g}": f"{len(reached)} of {len(of_side)}",
    "updates": measure.median_and_range([end["updates"] for end in ends], 0),
    "seconds of training": measure.median_and_range([end["seconds"] for end in ends], 1),
    "score": measure.median_and_range([end["score"] for end in ends], 1),
    "compile s": measure.median_and_range([row["compile_seconds"] for row in of_side], 1),
  }


def main(arguments: Sequence[str]) -> None:
  """Trains all, prints the table."""
  if len(arguments) > 1:
    raise app.UsageError(f"unknown argument {arguments[1]!r}")
  if importlib.util.find_spec("torch") is None:
    print("nothing to compare with: PyTorch's side needs the extra `torch`")
    return
  logging.set_verbosity(logging.WARNING)
  rows: list[dict[str, Any]] = []
  for seed in range(SEEDS.value):
    rows += measure_seed(seed)
    if OUTPUT.value:
      measure.write_results(OUTPUT.value, "time_to_score", rows)
  print("\nmedian (range) over seeds, at the score or where the training was given up\n")
  print(measure.table([shown(name, rows) for name in (THEIRS, OURS)]))


if __name__ == "__main__":
  app.run(main)
