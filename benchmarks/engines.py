"""Both engines on every family: speed, and how far their states are apart after ten control steps.

python -m benchmarks.engines
python -m benchmarks.engines --families=ant_dir,walker_params --episodes=256

Every family steps N episodes of different tasks under random actions: native MuJoCo on the host's threads, MJX (or an
analytic family's own function) in one compiled scan. Steps a second are control steps of all episodes together, the
median over the repeats; compile time stands apart. Apart is the largest difference of any qpos or qvel between the
engines after ten control steps from the same starts under the same actions: MJX in the float32 that it runs in, and
in float64, which shows whether both compute the same thing. Families of one body are measured once.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from absl import app, flags, logging

from benchmarks.episodes import some_tasks
from benchmarks.measure import write_results
from macaw_jax import envs
from macaw_jax.envs.family import AnalyticDynamics, MujocoDynamics, Physics, Task, TaskFamily, as_commanded
from macaw_jax.envs.mjx_engine import on_mjx
from macaw_jax.envs.native import NativeSimulator

FAMILIES = flags.DEFINE_list("families", None, "Names of families; all if not given.")
EPISODES = flags.DEFINE_integer("episodes", 32, "Episodes that are stepped together.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 3, "Timed calls.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")

COLUMNS = (
  *("family", "observation", "horizon", "native steps/s", "compiled steps/s", "ratio", "compile s"),
  *("apart float32", "apart float64"),
)
STEPS = 10  # control steps of a timed call; contacts blow up any difference after more of them
# Of the float64 program, which is not timed.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class Measurement(NamedTuple):
  """The rows of one kind of physics; none where an engine does not run it."""

  native_rate: float | None  # control steps a second
  compiled_rate: float
  compile_seconds: float
  apart_float32: float | None
  apart_float64: float | None


def random_actions(family: TaskFamily, num_steps: int, num_episodes: int) -> chex.Array:
  """Uniform actions, [H, N, A]."""
  shape = (num_steps, num_episodes, family.action_size)
  return np.random.RandomState(0).uniform(-1.0, 1.0, shape).astype(np.float32)


def measure(family: TaskFamily) -> Measurement:
  """Both engines on a family's physics, from the same starts under the same actions."""
  family = family._replace(actuate=as_commanded)  # physics alone
  tasks = some_tasks(family, EPISODES.value)
  actions = random_actions(family, STEPS, EPISODES.value)
  starts = jax.vmap(family.reset)(tasks, jax.random.split(jax.random.key(0), EPISODES.value))
  if isinstance(family.dynamics, AnalyticDynamics):
    program, compile_seconds = compile_episodes(family.dynamics, tasks, starts, actions)
    return Measurement(None, rate(lambda: program(tasks, starts, actions)), compile_seconds, None, None)

  assert isinstance(family.dynamics, MujocoDynamics)
  simulator = NativeSimulator(family.dynamics)
  models = simulator.models(tasks)
  physics = simulator.start(models, starts)

  def native() -> Physics:
    state = physics
    for action in actions:
      state = simulator.step(models, state, np.asarray(action))
    return state

  end = native()
  on_accelerator = on_mjx(family).dynamics
  assert isinstance(on_accelerator, AnalyticDynamics)
  single = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), physics)
  program, compile_seconds = compile_episodes(on_accelerator, tasks, single, actions)
  with jax.enable_x64(True):
    in_double = on_mjx(family).dynamics
    assert isinstance(in_double, AnalyticDynamics)
    double_program, _ = compile_episodes(in_double, tasks, physics, actions, QUICK)
    apart_float64 = apart(end, double_program(tasks, physics, actions))
  return Measurement(
    native_rate=rate(native),
    compiled_rate=rate(lambda: program(tasks, single, actions)),
    compile_seconds=compile_seconds,
    apart_float32=apart(end, program(tasks, single, actions)),
    apart_float64=apart_float64,
  )


def compile_episodes(
  dynamics: AnalyticDynamics, tasks: Task, starts: Any, actions: chex.Array, options: dict[str, Any] | None = None
) -> tuple[Callable[..., Any], float]:
  """The program `(tasks, starts, actions) -> states after the last action`, and the seconds that its making took."""

  def episodes(tasks: Task, starts: Any, actions: chex.Array) -> Any:
    step = jax.vmap(dynamics.step)
    end, _ = jax.lax.scan(lambda states, action: (step(tasks, states, action), None), starts, actions)
    return end

  start = time.perf_counter()
  program = jax.jit(episodes).lower(tasks, starts, actions).compile(compiler_options=options)
  return program, time.perf_counter() - start


def rate(call: Callable[[], Any]) -> float:
  """Control steps a second of a call that takes `STEPS` in every episode: the median over the repeats."""
  seconds = []
  for _ in range(1 + REPEATS.value):
    start = time.perf_counter()
    jax.block_until_ready(call())
    seconds.append(time.perf_counter() - start)
  return STEPS * EPISODES.value / statistics.median(seconds[1:])


def apart(a: Physics, b: Physics) -> float:
  """The largest difference of a position or a velocity."""
  return max(float(np.max(np.abs(x - np.asarray(y)))) for x, y in ((a.qpos, b.qpos), (a.qvel, b.qvel)))


def row(family: TaskFamily, measured: Measurement) -> str:
  """A line of the table."""
  native, compiled = measured.native_rate, measured.compiled_rate
  cells = [
    family.name,
    str(family.observation_size),
    str(family.horizon),
    "-" if native is None else f"{native:,.0f}",
    f"{compiled:,.0f}",
    "-" if native is None else f"{compiled / native:.3g}",
    f"{measured.compile_seconds:.1f}",
    *("-" if value is None else f"{value:.1e}" for value in (measured.apart_float32, measured.apart_float64)),
  ]
  return f"| {' | '.join(cells)} |"


def main(argv: list[str]) -> None:
  """The command."""
  if argv[1:]:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  logging.set_verbosity(logging.WARNING)
  device = jax.devices()[0]
  print(f"{EPISODES.value} episodes, {STEPS} steps, median of {REPEATS.value}; compiled for {device.device_kind}")
  print(f"| {' | '.join(COLUMNS)} |")
  print("|---" * len(COLUMNS) + "|")
  known: dict[Any, Measurement] = {}
  rows = []
  for name in FAMILIES.value or sorted(envs.FAMILIES):
    family = envs.make(name)
    # Bodies are known by their model and what tasks change in it; an analytic family stands for itself.
    key = family.dynamics if isinstance(family.dynamics, MujocoDynamics) else name
    if key not in known:
      known[key] = measure(family)
    print(row(family, known[key]), flush=True)
    rows.append({"family": family.name, "episodes": EPISODES.value, **known[key]._asdict()})
  if OUTPUT.value:
    write_results(OUTPUT.value, "engines", rows)


if __name__ == "__main__":
  app.run(main)
