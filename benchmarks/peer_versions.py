"""The methods that `benchmarks.peers` times: each as its authors built it in PyTorch, beside ours of the same numbers.

Ours are the registered sets `<method>_released`. Both sides get the same parameters under the names of the PyTorch
version, and where gradients are compared the same batch and noise, drawn from the key of our update.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import programs, update_versions
from benchmarks.measure import repeated
from benchmarks.random_data import half_cheetah_problem, random_dataset
from benchmarks.update_versions import OURS, Program, Version
from macaw_jax.actor_critics.actor_critic import ActorCritic, split_loss_key
from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.hyperparameters import Part
from macaw_jax.learners.context import split_update_key
from macaw_jax.training.loop import compile_chunk, initialise, make_chunk
from macaw_jax.types import Algorithm, Array, Params, Problem, TaskBatch, Trajectory

if TYPE_CHECKING:
  from benchmarks.torch_context import Rows

THEIRS = "pytorch"
UPDATE_KEY = 1
DISCRIMINATOR_STEPS = 3
QUERIES_PER_TASK, NEGATIVES = 4, 16
SCORE_BIAS = "aggregator/score/b"  # not there in ours: a softmax does not see it

Sizes = Mapping[str, int]
Arrays = dict[str, np.ndarray]


class Peer(NamedTuple):
  """A method on both sides."""

  versions: dict[str, Version]  # ours and theirs
  tasks: TaskBatch  # on which their gradients are compared


def recorded_descent(rate: float | optax.Schedule) -> optax.GradientTransformation:
  """Plain gradient steps that keep the last gradient: where steps follow each other, later ones see the earlier."""
  return optax.chain(optax.trace(decay=0.0), optax.scale_by_learning_rate(rate))


def narrowed(settings: Mapping[str, Any], width: int) -> dict[str, Any]:
  """Settings in which all hidden layers have this width, in parts too."""

  def changed(name: str, value: Any) -> Any:
    if name.endswith("hidden_sizes"):
      return (width,) * len(value)
    return value.changed(**narrowed(value.settings, width)) if isinstance(value, Part) else value

  return {name: changed(name, value) for name, value in settings.items()}


def released(name: str, problem: Problem, width: int | None, changes: Mapping[str, Any], **optimizer: Any) -> Algorithm:
  """Our repetition of a released code, with all hidden layers of a width if one is given, and a changed optimiser.

  Changes of the optimiser's own settings stand under `optimizer` among the changes.
  """
  factory: Any = ALGORITHMS[f"{name}_released"]
  settings: dict[str, Any] = dict(factory.keywords) if width is None else narrowed(factory.keywords, width)
  stepping = settings["optimizer"].changed(**{**changes.get("optimizer", {}), **optimizer})
  return factory(problem, **settings | dict(changes) | {"optimizer": stepping})


# Parameters and gradients of ours under the names of the PyTorch versions


def perceptron(name: str, params: Params) -> Arrays:
  """The layers of an `MLP`."""
  arrays: Arrays = {}
  for index in range(len(params)):
    layer = "out" if index == len(params) - 1 else f"layer{index}"
    kernel, bias = (params[f"layer_{index}"][key] for key in ("kernel", "bias"))
    arrays |= {f"{name}/{layer}/W": np.asarray(kernel).T.copy(), f"{name}/{layer}/b": np.array(bias)}
  return arrays


def policy(params: Params) -> Arrays:
  """The two heads of a policy, which are one layer of ours."""
  arrays = perceptron("policy", params)
  for letter in "Wb":
    both = arrays[f"policy/out/{letter}"]
    arrays[f"policy/out/{letter}"], arrays[f"policy/log_std/{letter}"] = np.split(both, 2)
  return arrays


def latent_behind_action(arrays: Arrays, problem: Problem) -> Arrays:
  """Networks of [o, z, a] as networks of [o, a, z]."""

  def moved(weights: np.ndarray) -> np.ndarray:
    latent_size = weights.shape[1] - problem.observation_size - problem.action_size
    of_state, of_latent, of_action = np.split(weights, np.cumsum([problem.observation_size, latent_size]), axis=1)
    return np.concatenate([of_state, of_action, of_latent], axis=1)

  return {name: moved(array) if name.endswith("/layer0/W") else array for name, array in arrays.items()}


def of_soft_actor_critic(net: Mapping[str, Params], problem: Problem) -> Arrays:
  """The parts that PEARL, FOCAL and CSRO have, those of them that are there."""
  arrays = policy(net["policy"]) | perceptron("encoder", net["encoder"])
  for part, name in {"value": "vf", "target_value": "target_vf", "behaviour_model": "behaviour_model"}.items():
    arrays |= perceptron(name, net[part]) if part in net else {}
  of_actions = twins(net["critic"])
  if "discriminator" in net:
    of_actions |= perceptron("discriminator", net["discriminator"])
  return arrays | latent_behind_action(of_actions, problem)


def twins(params: Params) -> Arrays:
  """Two critics, which are one part of ours."""
  first, second = (jax.tree.map(lambda leaf, index=index: leaf[index], params) for index in range(2))
  return perceptron("qf1", first) | perceptron("qf2", second)


def with_outputs_in_order(arrays: Arrays, name: str, order: Sequence[int]) -> Arrays:
  """The network whose outputs are those outputs of its own."""
  return arrays | {f"{name}/out/{letter}": arrays[f"{name}/out/{letter}"][list(order)] for letter in "Wb"}


def of_unicorn(net: Mapping[str, Params], problem: Problem) -> Arrays:
  """Encoder and decoders, which are ensembles of one there, read [z, o, a], and multiply from the right."""
  arrays = perceptron("encoder", net["encoder"]["network"])
  arrays["encoder/log_variance"] = np.array(net["encoder"]["log_variance"])[None]
  behaviour_size = problem.observation_size + problem.action_size
  for name, params in net["decoder"].items():
    prefix = f"decoder/{name}"
    for key, array in perceptron(prefix, params["network"]).items():
      if key.endswith("/layer0/W"):
        array = np.roll(array, -behaviour_size, axis=1)
      arrays[key] = array.T[None] if key.endswith("/W") else array[None, None]
    for bound in ("min", "max"):
      arrays[f"{prefix}/{bound}_logvar"] = np.array(params[f"{bound}_log_variance"])[None]
  return arrays


def of_corro(net: Mapping[str, Params], problem: Problem) -> Arrays:
  """All parts."""
  arrays = policy(net["policy"]) | perceptron("encoder", net["encoder"]) | twins(net["critic"])
  arrays["aggregator/score/W"] = np.array(net["aggregator"]["weights"])[None]
  arrays |= perceptron("generator/encoder", net["generator"]["recognise"])
  decoder = perceptron("generator/decoder", net["generator"]["decode"])
  # The reward is the last of its outputs, and the first of ours.
  return arrays | with_outputs_in_order(decoder, "generator/decoder", [*range(1, problem.observation_size + 1), 0])


# Context-based methods

Named = Callable[[Mapping[str, Params], Problem], Arrays]


class TorchLearner(NamedTuple):
  """A method in PyTorch.

  gradients: `(context, batches, task indices, key)`: those that step the parameters in an update on these rows, with
             the noise that the key stands for in ours
  update:    an update on tasks, rows and noise of its own
  """

  gradients: Callable[["Rows", list["Rows"], np.ndarray, Array], Arrays]
  update: Callable[["Sampler", Sizes], Any]


class Context(NamedTuple):
  """A context-based method.

  named:   our parts, or their gradients, as PyTorch's arrays
  learner: `(arrays, optimiser) -> learner` in PyTorch; Adam if no optimiser is given
  shares:  how many batches of rows an update reads
  changes: of the settings of ours
  """

  named: Named
  learner: Callable[..., TorchLearner]
  shares: int = 1
  changes: Mapping[str, Any] = MappingProxyType({})


class Sampler:
  """Rows drawn with replacement, task by task, as the released replay buffers do."""

  def __init__(self, dataset: Any) -> None:
    names = ("observation", "action", "reward", "next_observation", "terminal")
    self.columns = {name: np.array(getattr(dataset, name)) for name in names}
    self.generator = np.random.default_rng(0)

  def tasks(self, number: int) -> np.ndarray:
    """Different tasks."""
    return self.generator.choice(len(self.columns["reward"]), number, replace=False)

  def rows(self, tasks: np.ndarray, size: int) -> "Rows":
    """Rows of each task: `[T, size, ...]`."""
    import torch

    from benchmarks.torch_context import Rows

    of_tasks = []
    for task in tasks:
      chosen = self.generator.integers(0, self.columns["reward"].shape[1], size)
      of_tasks.append({name: torch.from_numpy(column[task, chosen]) for name, column in self.columns.items()})
    return Rows(**{name: torch.stack([of_task[name] for of_task in of_tasks]) for name in self.columns})


def torch_rows(transitions: Any) -> "Rows":
  """Transitions of ours for PyTorch."""
  import torch

  from benchmarks.torch_context import Rows

  return Rows(**{name: torch.tensor(np.array(getattr(transitions, name))) for name in Rows._fields})


def tensor(array: Array) -> Any:
  """Noise of ours for PyTorch."""
  import torch

  return torch.tensor(np.array(array))


def pearl(arrays: Arrays, optimizer: Any = None) -> TorchLearner:
  """PEARL in PyTorch."""
  import torch

  from benchmarks import torch_context

  agent = torch_context.Pearl(arrays, torch_context.Settings(), optimizer)
  latent_size = agent.encoder.out.out_features // 2

  def gradients(context: "Rows", batches: list["Rows"], tasks: np.ndarray, key: Array) -> Arrays:
    found = agent.record()
    keys = split_update_key(key)
    noise = {"z": tensor(jax.random.normal(keys.latent, (len(tasks), latent_size)))}
    agent.update(context, batches[0], noise | action_noise(key, batches[0]))
    return found

  def update(sampler: Sampler, sizes: Sizes) -> None:
    tasks = sampler.tasks(sizes["tasks"])
    context, batch = sampler.rows(tasks, sizes["context"]), sampler.rows(tasks, sizes["rows"])
    agent.update(context, batch, {"z": torch.randn(len(tasks), latent_size), "action": torch.randn(batch.action.shape)})

  return TorchLearner(gradients, update)


def focal_or_csro(name: str, arrays: Arrays, optimizer: Any = None) -> TorchLearner:
  """FOCAL or CSRO in PyTorch, with the numbers of the half-cheetah's velocities."""
  import torch

  from benchmarks import torch_context

  settings = torch_context.Settings(log_std_clip=(-20.0, 0.0), club_loss_weight=10.0)
  agent = {"focal": torch_context.Focal, "csro": torch_context.Csro}[name](arrays, settings, optimizer)

  def gradients(context: "Rows", batches: list["Rows"], tasks: np.ndarray, key: Array) -> Arrays:
    found = agent.record()
    keys = split_loss_key(split_update_key(key).actor_critic)
    noise = action_noise(key, batches[0])
    noise["interpolation"] = tensor(jax.random.uniform(keys.interpolation, (*batches[0].reward.shape, 1))).squeeze(-1)
    agent.update(context, tasks, batches, [noise] * len(batches))
    return found

  def update(sampler: Sampler, sizes: Sizes) -> None:
    tasks = sampler.tasks(sizes["tasks"])
    batches = [sampler.rows(tasks, sizes["rows"]) for _ in range(DISCRIMINATOR_STEPS)]
    noises = [{"action": torch.randn(b.action.shape), "interpolation": torch.rand(b.reward.shape)} for b in batches]
    agent.update(sampler.rows(tasks, sizes["context"]), tasks, batches, noises)

  return TorchLearner(gradients, update)


def unicorn(arrays: Arrays, optimizer: Any = None) -> TorchLearner:
  """UNICORN's encoder and decoders in PyTorch."""
  import torch

  from benchmarks import torch_context

  agent = torch_context.Unicorn(arrays, torch_context.Settings(), optimizer)
  latent_size = agent.encoder.out.out_features

  def gradients(context: "Rows", batches: list["Rows"], tasks: np.ndarray, key: Array) -> Arrays:
    found = agent.record()
    noise = jax.random.normal(split_update_key(key).latent, (*context.reward.shape, latent_size))
    agent.update(context, tasks, {"embedding": tensor(noise)})
    return found

  def update(sampler: Sampler, sizes: Sizes) -> None:
    tasks = sampler.tasks(sizes["tasks"])
    context = sampler.rows(tasks, sizes["context"])
    agent.update(context, tasks, {"embedding": torch.randn(*context.reward.shape, latent_size)})

  return TorchLearner(gradients, update)


def corro(arrays: Arrays, optimizer: Any = None) -> TorchLearner:
  """An update of each of CORRO's three stages in PyTorch: generator, encoder, agent."""
  import torch

  from benchmarks import torch_context

  bias = {SCORE_BIAS: np.zeros(1, np.float32)}
  agent = torch_context.Corro(arrays | bias, torch_context.Settings(), optimizer)
  code_size = agent.inference.out.out_features // 2

  def contrast(query: "Rows", key: "Rows", noise: Any) -> None:
    agent.update_encoder(query.flat(), key.flat(), {"generator": noise})

  def gradients(context: "Rows", batches: list["Rows"], tasks: np.ndarray, key: Array) -> Arrays:
    found = agent.record()
    batch, half, keys = batches[0], context.reward.shape[1] // 2, split_update_key(key)
    of_negatives, of_belief = jax.random.split(keys.encoder)
    belief = tensor(jax.random.normal(of_belief, (*batch.reward.shape, code_size)))
    agent.update_generator(batch.flat(), {"generator_belief": belief.flatten(0, 1)})
    query, positive = (context.between(begin, begin + QUERIES_PER_TASK) for begin in (0, half))
    negatives = tensor(jax.random.normal(of_negatives, (len(tasks), QUERIES_PER_TASK, NEGATIVES, code_size)))
    contrast(query, positive, negatives.flatten(0, 1))
    agent.update_agent(context, batch, action_noise(key, batch, next_action=True))
    del found[SCORE_BIAS]
    return found

  def update(sampler: Sampler, sizes: Sizes) -> None:
    tasks = sampler.tasks(sizes["tasks"])
    context, batch = sampler.rows(tasks, sizes["context"]), sampler.rows(tasks, sizes["rows"])
    agent.update_generator(batch.flat(), {"generator_belief": torch.randn(batch.reward.numel(), code_size)})
    query, positive = (sampler.rows(tasks, QUERIES_PER_TASK) for _ in range(2))
    contrast(query, positive, torch.randn(query.reward.numel(), NEGATIVES, code_size))
    noise = {name: torch.randn(batch.action.shape) for name in ("action", "next_action")}
    agent.update_agent(context, batch, noise)

  return TorchLearner(gradients, update)


def action_noise(key: Array, batch: "Rows", *, next_action: bool = False) -> dict[str, Any]:
  """The noise of actions that the key of an update stands for in ours."""
  keys = split_loss_key(split_update_key(key).actor_critic)
  wanted = {"action": keys.action} | ({"next_action": keys.next_action} if next_action else {})
  return {name: tensor(jax.random.normal(of_name, batch.action.shape)) for name, of_name in wanted.items()}


def no_actor_critic(problem: Problem, latent_size: int) -> ActorCritic:
  """Leaves an encoder alone."""
  return ActorCritic(init={}, losses={}, trains={}, targets={}, act=cannot_act, tau=0.0)


def cannot_act(params: Any, timestep: Any, key: Any) -> Array:
  """How an agent without an actor-critic would act. Raises NotImplementedError."""
  raise NotImplementedError("only its update is measured")


def context_peer(method: str, sizes: Sizes, width: int | None) -> Peer:
  """A context-based method, on random data of the half-cheetah's sizes."""
  recipe = CONTEXT[method]
  rows = recipe.shares * sizes.get("rows", 1)
  dataset = random_dataset(sizes["tasks"], max(2_000, sizes["context"] + rows))
  problem = half_cheetah_problem(sizes["tasks"])
  make = partial(released, method, problem, width, recipe.changes)
  batches = programs.sampled(make, sizes["tasks"], sizes["context"], rows)
  key = jax.random.key(UPDATE_KEY)

  def first_arrays() -> Arrays:
    return recipe.named(jax.jit(make().init)(jax.random.key(update_versions.INIT_KEY)).params.net, problem)

  def our_gradient(tasks: TaskBatch) -> Arrays:
    algorithm = make(optimizer=recorded_descent)
    state = jax.jit(algorithm.init)(jax.random.key(update_versions.INIT_KEY))
    state, _ = jax.jit(algorithm.update)(state, tasks, key)
    kept = {part: of_part.inner_state[0] for part, of_part in state.opt_state.inner_states.items()}
    traces = {part: of_part.trace[part] for part, of_part in kept.items() if isinstance(of_part, optax.TraceState)}
    return recipe.named(traces, problem)

  def our_updates(updates: int) -> Program:
    program = programs.updates_of_one(batches, dataset, updates)
    return Program(program.run, program.compile_seconds)

  def their_gradient(tasks: TaskBatch) -> Arrays:
    import torch

    learner = recipe.learner(first_arrays(), lambda parameters, rate: torch.optim.SGD(parameters, lr=rate))
    batches = torch_rows(tasks.query).shares(recipe.shares)
    return learner.gradients(torch_rows(tasks.support), batches, np.asarray(tasks.task_index), key)

  def their_updates(updates: int) -> Program:
    learner, sampler = recipe.learner(first_arrays()), Sampler(dataset)

    def run() -> None:
      for _ in range(updates):
        learner.update(sampler, sizes)

    return Program(run, None)

  tasks = jax.jit(batches.sample)(dataset, key)
  return Peer({OURS: Version(our_gradient, our_updates), THEIRS: Version(their_gradient, their_updates)}, tasks)


CONTEXT = {
  "pearl": Context(of_soft_actor_critic, pearl),
  "focal": Context(of_soft_actor_critic, partial(focal_or_csro, "focal"), DISCRIMINATOR_STEPS),
  "csro": Context(of_soft_actor_critic, partial(focal_or_csro, "csro"), DISCRIMINATOR_STEPS),
  # What the released code does beside them is not known well enough.
  "unicorn": Context(
    of_unicorn,
    unicorn,
    changes={"actor_critic": no_actor_critic, "steps": (), "optimizer": {"learning_rates": {}}},
  ),
  # An update of each stage on both sides: ours computes all three in any stage.
  "corro": Context(of_corro, corro, changes={"stages": ()}),
}


# Gradient-based methods


def macaw_peer(sizes: Sizes, width: int | None) -> Peer:
  """MACAW with its defaults; the released structure is `benchmarks.torch_macaw.Loop`."""
  of_macaw = update_versions.Sizes(sizes["tasks"], sizes["rows"])
  of_macaw = of_macaw._replace(width=width or of_macaw.width)
  dataset = update_versions.make_dataset(of_macaw)
  versions, _ = update_versions.build_versions([OURS, "torch_loop"], of_macaw, dataset)
  tasks = jax.jit(partial(update_versions.sample, of_macaw))(dataset, jax.random.key(UPDATE_KEY))
  return Peer({OURS: versions[OURS], THEIRS: versions["torch_loop"]}, tasks)


def random_episodes(sizes: Sizes, problem: Problem) -> TaskBatch:
  """Episodes of random length, before adaptation and after."""
  shape = (sizes["tasks"], sizes["episodes"], sizes["steps"])

  def draw(key: Array) -> Trajectory:
    keys = jax.random.split(key, 5)
    length = jax.random.randint(keys[0], (*shape[:2], 1), max(1, shape[2] // 2), shape[2] + 1)
    mask = (jnp.arange(shape[2]) < length).astype(float)
    observation, following, action = (
      jax.random.normal(key, (*shape, size)) * mask[..., None]
      for key, size in zip(keys[1:4], (problem.observation_size,) * 2 + (problem.action_size,), strict=True)
    )
    reward = jax.random.normal(keys[4], shape) * mask
    return Trajectory(observation, action, following, mask, reward)

  support, query = (draw(key) for key in jax.random.split(jax.random.key(0)))
  return TaskBatch(jax.tree.map(lambda leaf: leaf[:, None], support), query, jnp.arange(shape[0]))


def norml_arrays(tree: Mapping[str, Params], rule: Mapping[str, Params]) -> Arrays:
  """NoRML's parameters, whose matrices stand as ours do."""
  arrays: Arrays = {}
  for name, params in {"policy": tree["policy"], "offset": rule["offset"], "rate": rule["step_size"]}.items():
    layers = perceptron(name, params["network"]) | {f"{name}/log_std": np.array(params["log_std"])}
    arrays |= {key: array.T.copy() for key, array in layers.items()}
  return arrays | {key: array.T.copy() for key, array in perceptron("advantage", tree["advantage"]).items()}


def norml_peer(sizes: Sizes, width: int | None) -> Peer:
  """NoRML on the point agent's sizes, episodes given: what is timed is adaptation and the step, not the collection."""
  problem = Problem(observation_size=2, action_size=2, num_tasks=sizes["tasks"], discount=0.9, horizon=sizes["steps"])
  hidden = {} if width is None else dict.fromkeys(("hidden_sizes", "advantage_hidden_sizes"), (width, width))
  make = partial(ALGORITHMS["norml_released"], problem, **hidden)
  tasks, key = random_episodes(sizes, problem), jax.random.key(UPDATE_KEY)

  def first(algorithm: Algorithm) -> Any:
    return initialise(algorithm, jax.random.key(update_versions.INIT_KEY))

  def learner(optimizer: Any = None) -> Any:
    from benchmarks import torch_norml

    params = first(make()).params
    return torch_norml.Norml(norml_arrays(params.net, params.rule), torch_norml.Settings(), optimizer)

  def episodes(of_tasks: Trajectory) -> list[Any]:
    from benchmarks import torch_norml

    columns = {name: np.array(getattr(of_tasks, name)) for name in torch_norml.Episodes._fields}
    return [
      torch_norml.Episodes(**{name: column[task] for name, column in columns.items()}) for task in range(sizes["tasks"])
    ]

  def split(tasks: TaskBatch) -> tuple[list[Any], list[Any]]:
    return episodes(jax.tree.map(lambda leaf: leaf[:, 0], tasks.support)), episodes(tasks.query)

  def our_gradient(tasks: TaskBatch) -> Arrays:
    algorithm = make(optimizer=recorded_descent)
    state, _ = jax.jit(algorithm.update)(first(algorithm), tasks, key)
    trace = state.opt_state[0].trace
    # The rates stay as they are, as most of the released configurations have it.
    return {name: array for name, array in norml_arrays(trace.net, trace.rule).items() if not name.startswith("rate/")}

  def our_updates(updates: int) -> Program:
    algorithm = make()
    state = first(algorithm)
    chunk = make_chunk(algorithm, lambda tasks, key: tasks, updates)
    started = time.perf_counter()
    compiled = compile_chunk(chunk, state, tasks, key)
    seconds = time.perf_counter() - started
    return Program(repeated(lambda state: compiled(state, tasks, key), state), seconds)

  def their_gradient(tasks: TaskBatch) -> Arrays:
    theirs = learner()
    theirs.update(*split(tasks))
    return theirs.gradients()

  def their_updates(updates: int) -> Program:
    theirs, (supports, queries) = learner(), split(tasks)

    def run() -> None:
      for _ in range(updates):
        theirs.update(supports, queries)

    return Program(run, None)

  return Peer({OURS: Version(our_gradient, our_updates), THEIRS: Version(their_gradient, their_updates)}, tasks)


def largest_difference(gradient: Arrays, reference: Arrays) -> tuple[float, str]:
  """The largest difference of a tensor and its name, relative to the tensor's norm in `reference`.

  A tensor that nearly cancels counts with a thousandth of the norm of all tensors of its network. Raises ValueError
  for other tensors.
  """
  if gradient.keys() != reference.keys():
    raise ValueError(f"gradients of different tensors: {sorted(gradient.keys() ^ reference.keys())}")
  norms = {name: float(np.linalg.norm(array)) for name, array in reference.items()}
  of_network: dict[str, float] = {}
  for name, norm in norms.items():
    network = network_of(name)
    of_network[network] = float(np.hypot(of_network.get(network, 0.0), norm))

  def difference(name: str) -> float:
    # What a loss does not depend on has a gradient of exactly zero.
    scale = max(norms[name], 1e-3 * of_network[network_of(name)]) or 1.0
    return float(np.linalg.norm(gradient[name] - reference[name])) / scale

  names = list(reference)
  differences = [difference(name) for name in names]
  largest = int(np.argmax(differences))  # That of the first that is no number, where there is one.
  return differences[largest], names[largest]


def network_of(name: str) -> str:
  """The network that a tensor belongs to: `qf1/out/W` or `value.0.kernel`."""
  return name.replace("/", ".").split(".")[0]


class Method(NamedTuple):
  """A method and the sizes of an update in its released configuration."""

  sizes: Sizes
  build: Callable[[Sizes, int | None], Peer]


METHODS = {
  "macaw": Method({"tasks": 5, "rows": 256}, macaw_peer),
  "pearl": Method({"tasks": 16, "context": 100, "rows": 256}, partial(context_peer, "pearl")),
  **{
    name: Method({"tasks": 16, "context": 100, "rows": 256}, partial(context_peer, name)) for name in ("focal", "csro")
  },
  "unicorn": Method({"tasks": 16, "context": 100}, partial(context_peer, "unicorn")),
  "corro": Method({"tasks": 16, "context": 200, "rows": 256}, partial(context_peer, "corro")),
  "norml": Method({"tasks": 10, "episodes": 25, "steps": 10}, norml_peer),
}
