"""The versions of a meta-update of MACAW that `benchmarks.update_step` times, behind one interface."""

import functools
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.measure import repeated
from benchmarks.random_data import half_cheetah_problem, random_dataset
from macaw_jax.adaptation import chain
from macaw_jax.adaptation.gradient_step import split_rows
from macaw_jax.algorithms.macaw import ADVANTAGE_COEFFICIENT, macaw
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.sampling import sample_tasks
from macaw_jax.hyperparameters import inverse_softplus
from macaw_jax.learners.gradient import RULE, MakeOptimizer, init_parts, meta_learner, optimize_parts
from macaw_jax.networks.policy import act_with, gaussian_policy
from macaw_jax.networks.value import value_network
from macaw_jax.objectives import (
  add,
  advantage,
  advantage_regression,
  advantage_weighted_regression,
  monte_carlo,
  scale,
  value_regression,
)
from macaw_jax.training.loop import Chunk, compile_chunk, make_chunk
from macaw_jax.types import (
  Adaptation,
  Algorithm,
  Array,
  Key,
  LossFn,
  MetaParams,
  Metrics,
  Params,
  TaskBatch,
  TrainState,
  Transition,
)

OURS = "macaw_jax"
LEARNING_RATES = {"value": 3e-4, "policy": 3e-4, RULE: 1e-3}
STEP_SIZE, ADVANTAGE_WEIGHT = 0.01, 0.01
TOLERANCE = 1e-2
INIT_KEY, RUN_KEY = 0, 1


class Sizes(NamedTuple):
  """The sizes that the cost of an update depends on."""

  tasks: int = 5
  batch: int = 256
  width: int = 100
  inner_steps: int = 1
  layer: str = "weight_transform"
  first_order: bool = False


class Program(NamedTuple):
  """Updates ready to be timed."""

  run: Callable[[], None]  # returns when they are done
  compile_seconds: float | None


class Version(NamedTuple):
  """One way to compute an update."""

  gradient: Callable[[TaskBatch], dict[str, np.ndarray]]  # at the initial parameters, as `named_arrays`
  prepare: Callable[[int], Program]  # from the number of updates in a call


Build = Callable[[Sizes, Dataset], Version]
MakeAlgorithm = Callable[[Sizes, MakeOptimizer], Algorithm]


def make_dataset(sizes: Sizes) -> Dataset:
  """Random data of every task, enough for support and query."""
  return random_dataset(sizes.tasks, max(2_000, 2 * sizes.batch))


def sample(sizes: Sizes, dataset: Dataset, key: Key) -> TaskBatch:
  """Batches of one update."""
  return sample_tasks(dataset, key, num_tasks=sizes.tasks, support_size=sizes.batch, query_size=sizes.batch)


def our_macaw(sizes: Sizes, optimizer: MakeOptimizer) -> Algorithm:
  """MACAW as a user gets it."""
  return macaw(
    half_cheetah_problem(sizes.tasks),
    hidden_sizes=(sizes.width,) * 3,
    layer=sizes.layer,
    adaptation_steps=sizes.inner_steps,
    first_order=sizes.first_order,
    advantage_coefficient=ADVANTAGE_WEIGHT,
    inner_value_step_size=STEP_SIZE,
    inner_policy_step_size=STEP_SIZE,
    value_learning_rate=LEARNING_RATES["value"],
    policy_learning_rate=LEARNING_RATES["policy"],
    rule_learning_rate=LEARNING_RATES[RULE],
    optimizer=optimizer,
  )


def copying_gradient_step(loss: LossFn, *, on: str, sizes: Sizes, learned: Mapping[str, float | Array]) -> Adaptation:
  """Gradient steps on the parameters themselves: mapped over tasks, every task has its own copy of each generator."""
  held = jax.lax.stop_gradient if sizes.first_order else lambda gradient: gradient

  def init(net: dict[str, Params]) -> Params:
    return {
      "learned": {name: jnp.full((), value, float) for name, value in learned.items()},
      "raw_step_size": jax.tree.map(lambda _: jnp.full((), inverse_softplus(STEP_SIZE), float), net[on]),
    }

  def apply(net: dict[str, Params], rule: Params, support: Transition, key: Key) -> tuple[dict[str, Params], Metrics]:
    adapted = net[on]
    step_sizes = jax.tree.map(jax.nn.softplus, rule["raw_step_size"])
    for batch in split_rows(support, sizes.inner_steps):

      def step_loss(params: Params, batch: Transition = batch) -> Array:
        return loss(net | rule["learned"] | {on: params}, batch, key)[0]

      gradients = jax.grad(step_loss)(adapted)
      adapted = jax.tree.map(lambda p, a, g: p - a * held(g), adapted, step_sizes, gradients)
    return {on: adapted}, {}

  return Adaptation(init, apply)


def copying_macaw(sizes: Sizes, optimizer: MakeOptimizer) -> Algorithm:
  """The same objective with the plain inner step."""
  problem = half_cheetah_problem(sizes.tasks)
  hidden = (sizes.width,) * 3
  policy = gaussian_policy(
    problem.observation_size, problem.action_size, hidden, layer=sizes.layer, advantage_head=True
  )
  value = value_network(problem.observation_size, hidden, layer=sizes.layer)
  advantages = advantage(value, monte_carlo())
  value_loss = value_regression(value, monte_carlo())
  policy_loss = advantage_weighted_regression(policy, advantages)
  inner_policy_loss = add(
    policy_loss,
    scale(lambda params: jax.nn.softplus(params[ADVANTAGE_COEFFICIENT]), advantage_regression(policy, advantages)),
  )
  learned = {ADVANTAGE_COEFFICIENT: inverse_softplus(ADVANTAGE_WEIGHT)}
  return meta_learner(
    init_net=init_parts({"policy": policy.init, "value": value.init}),
    adaptation=chain(
      copying_gradient_step(value_loss, on="value", sizes=sizes, learned={}),
      copying_gradient_step(inner_policy_loss, on="policy", sizes=sizes, learned=learned),
    ),
    outer_loss=add(value_loss, policy_loss),
    optimizer=optimize_parts({part: optimizer(rate) for part, rate in LEARNING_RATES.items()}),
    act=act_with(policy),
  )


def named_arrays(params: MetaParams) -> dict[str, np.ndarray]:
  """Parameters or their gradients under the names of `benchmarks.torch_macaw`."""
  arrays: dict[str, np.ndarray] = {}
  for part, rule in zip(("value", "policy"), params.rule, strict=True):
    for prefix, tree in (("", params.net[part]), ("step_size.", rule["raw_step_size"])):
      for index, layer in enumerate(layers_in_order(tree)):
        arrays |= {f"{prefix}{part}.{index}.{name}": np.asarray(array) for name, array in layer.items()}
  return arrays | {"advantage_coefficient": np.asarray(params.rule[1]["learned"][ADVANTAGE_COEFFICIENT])}


def layers_in_order(net: Params) -> list[Params]:
  """The layers of a value network or policy from input to output, those of the advantage head last."""
  if "trunk" in net:
    return [*layers_in_order(net["trunk"]), net["output"], *layers_in_order(net["head"])]
  return [net[f"layer_{index}"] for index in range(len(net))]


def compile_plainly(chunk: Chunk[TrainState], state: TrainState, dataset: Dataset, key: Key) -> Chunk[TrainState]:
  """A chunk as `jax.jit` compiles it."""
  return jax.jit(chunk, donate_argnums=0).lower(state, dataset, key).compile()


def jax_version(
  make_algorithm: MakeAlgorithm, compile_chunk: Callable[..., Chunk[TrainState]], sizes: Sizes, dataset: Dataset
) -> Version:
  """A version in JAX, compiled with its sampling into one call."""

  @functools.cache
  def recorder() -> tuple[Callable[..., Any], Any]:
    # Momentum without memory: an optimiser whose state is the last gradient.
    algorithm = make_algorithm(sizes, lambda rate: optax.trace(decay=0.0))
    return jax.jit(algorithm.update), jax.jit(algorithm.init)(jax.random.key(INIT_KEY))

  def gradient(tasks: TaskBatch) -> dict[str, np.ndarray]:
    update, state = recorder()
    state, _ = update(state, tasks, jax.random.key(RUN_KEY))
    traces = {part: masked.inner_state.trace for part, masked in state.opt_state.inner_states.items()}
    net = {part: trace.net[part] for part, trace in traces.items() if part != RULE}
    return named_arrays(MetaParams(net, traces[RULE].rule))

  def prepare(updates: int) -> Program:
    algorithm = make_algorithm(sizes, optax.adam)
    key = jax.random.key(RUN_KEY)
    state = jax.jit(algorithm.init)(jax.random.key(INIT_KEY))
    chunk = make_chunk(algorithm, functools.partial(sample, sizes), updates)
    start = time.perf_counter()
    compiled = compile_chunk(chunk, state, dataset, key)
    compile_seconds = time.perf_counter() - start

    return Program(repeated(lambda state: compiled(state, dataset, key), state), compile_seconds)

  return Version(gradient, prepare)


def columns_of(data: Dataset | Transition) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The data of PyTorch's versions, copied: JAX's arrays are read-only."""
  return np.array(data.observation), np.array(data.action), np.array(data.mc_return)


def torch_version(kind: str, sizes: Sizes, dataset: Dataset) -> Version:
  """A version in PyTorch, from our initial parameters. Raises `CannotCompileError` if its compiler gives up.

  It runs on the accelerator if JAX does.
  """
  import torch

  from benchmarks import torch_macaw

  on_gpu = jax.default_backend() == "gpu"

  params = jax.jit(our_macaw(sizes, optax.adam).init)(jax.random.key(INIT_KEY)).params
  settings = torch_macaw.Settings(
    tasks=sizes.tasks,
    batch=sizes.batch,
    inner_steps=sizes.inner_steps,
    first_order=sizes.first_order,
    value_rate=LEARNING_RATES["value"],
    policy_rate=LEARNING_RATES["policy"],
    rule_rate=LEARNING_RATES[RULE],
    device="cuda" if on_gpu else "cpu",
  )
  data = columns_of(dataset)
  learner: torch_macaw.Loop | torch_macaw.Factored
  if kind == "loop":
    learner = torch_macaw.Loop(named_arrays(params), data, settings)
  else:
    learner = torch_macaw.Factored(named_arrays(params), data, settings, compiled=kind == "compiled")

  def gradient(tasks: TaskBatch) -> dict[str, np.ndarray]:
    return learner.gradient(columns_of(tasks.support), columns_of(tasks.query))

  def prepare(updates: int) -> Program:
    def run() -> None:
      for _ in range(updates):
        learner.update()
      if on_gpu:
        torch.cuda.synchronize()

    return Program(run, learner.compile_seconds)

  return Version(gradient, prepare)


VERSIONS: dict[str, Build] = {
  OURS: functools.partial(jax_version, our_macaw, compile_chunk),
  "jax_copying": functools.partial(jax_version, copying_macaw, compile_plainly),
  "torch_loop": functools.partial(torch_version, "loop"),
  "torch_factored": functools.partial(torch_version, "factored"),
  "torch_compiled": functools.partial(torch_version, "compiled"),
}
NEEDS_TORCH = [name for name in VERSIONS if name.startswith("torch_")]


def build_versions(names: Sequence[str], sizes: Sizes, dataset: Dataset) -> tuple[dict[str, Version], dict[str, str]]:
  """The versions that can be built, and why the others cannot."""
  versions, failures = {}, {}
  for name in names:
    try:
      versions[name] = VERSIONS[name](sizes, dataset)
    except Exception as error:
      if type(error).__name__ != "CannotCompileError":  # Its class needs PyTorch.
        raise
      failures[name] = str(error)
  return versions, failures


def relative_difference(gradient: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> float:
  """The largest difference of a tensor, relative to its norm in `reference`. Raises ValueError for other tensors."""
  if gradient.keys() != reference.keys():
    raise ValueError(f"gradients of different tensors: {sorted(gradient.keys() ^ reference.keys())}")

  def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    # A head's own step sizes have a gradient of exactly zero with one inner step.
    return float(np.linalg.norm(ours - theirs)) / (float(np.linalg.norm(ours)) or 1.0)

  differences = [difference(np.asarray(reference[name]), np.asarray(gradient[name])) for name in reference]
  return float(np.max(differences))  # Not a number where one of them is none, which `max` passes over.


def compare(versions: Mapping[str, Version], tasks: TaskBatch) -> dict[str, float]:
  """Each version's largest relative difference of a meta-gradient tensor from ours. Exits if one is too large."""
  reference = versions[OURS].gradient(tasks)
  differences = {}
  for name, version in versions.items():
    differences[name] = relative_difference(version.gradient(tasks), reference)
    print(f"largest relative difference of a meta-gradient tensor, {name}: {differences[name]:.1e}", flush=True)
    if not differences[name] <= TOLERANCE:
      raise SystemExit(f"{name} computes another meta-gradient than {OURS}: {differences[name]:.1e} > {TOLERANCE}")
  return differences


def resident_bytes(field: str) -> int:
  """`VmRSS`, the resident set of this process, or `VmHWM`, its peak, in bytes (Linux)."""
  (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
  return int(line.split()[1]) * 1024


def peak_bytes(name: str, sizes: Sizes, updates: int) -> int:
  """Bytes that updates need beyond what the process held before the version was built; for a process of its own."""
  dataset = jax.block_until_ready(make_dataset(sizes))
  if name in NEEDS_TORCH:
    import benchmarks.torch_macaw  # noqa: F401
  before = resident_bytes("VmRSS")
  program = VERSIONS[name](sizes, dataset).prepare(updates)
  program.run()
  Path("/proc/self/clear_refs").write_text("5")  # The peak starts anew: compilers are not the update.
  program.run()
  return resident_bytes("VmHWM") - before


def measure_memory(name: str, sizes: Sizes) -> float:
  """`peak_bytes` in MB, from a fresh process."""
  with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
    return pool.submit(peak_bytes, name, sizes, 3).result() / 1e6
