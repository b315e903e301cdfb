"""Recorded updates of released codes, as parts, batches, keys and gradients of ours.

A recorded file holds the inputs of one update and what the released code made of them (tests/reference/README.md).
"""

import json
import pathlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from macaw_jax.algorithms import contextual
from macaw_jax.learners.context import context_learner, train_only
from macaw_jax.types import MetaParams, Problem, TaskBatch, TrainState, Transition

REFERENCE = pathlib.Path(__file__).parent / "reference"
# Of losses, gradients and steps, norm over norm.
TOLERANCE = {"float32": 2e-5, "float64": 1e-9}


def recorded_files(algorithm):
  """The names of all recorded files of an algorithm."""
  return sorted(path.stem for path in REFERENCE.glob(f"{algorithm}*.npz"))


class Recorded:
  """A file, read in one precision: with float64, the numbers that the released code computed in it."""

  def __init__(self, name, precision):
    self.file = np.load(REFERENCE / f"{name}.npz", allow_pickle=False)
    self.meta = json.loads(str(self.file["meta"]))
    self.dtype = jnp.dtype(precision)

  def __getitem__(self, key):
    double = f"f64/{key}"
    known = double if self.dtype == jnp.float64 and double in self.file else key
    array = self.file[known]
    return jnp.asarray(array, self.dtype) if array.dtype.kind == "f" else jnp.asarray(array)

  def below(self, prefix):
    """The arrays whose keys start with a prefix, by the rest of the key."""
    return {key.removeprefix(prefix): self[key] for key in self.file.files if key.startswith(prefix)}

  def problem(self, num_tasks=None):
    """Sizes and discount."""
    meta = self.meta
    return Problem(
      meta["observation_size"], meta["action_size"], num_tasks or meta["tasks"], meta.get("discount", 0.99)
    )

  def transitions(self, kind):
    """The rows under `context`, `batch` and the like."""
    arrays = {name: self[f"{kind}/{name}"] for name in ("observation", "action", "reward", "next_observation")}
    zeros = jnp.zeros_like(arrays["reward"])
    terminal = self[f"{kind}/terminal"] if f"{kind}/terminal" in self.file else zeros
    return Transition(
      **arrays,
      terminal=terminal,
      last=zeros,
      mc_return=zeros,
      final_observation=arrays["observation"],
      final_discount=zeros,
    )

  def tasks(self, query="batch"):
    """Contexts and rows of the tasks, with their labels where the file has some."""
    labels = self.file["labels"] if "labels" in self.file else np.arange(self.meta["tasks"])
    return TaskBatch(self.transitions("context"), self.transitions(query), jnp.asarray(labels, jnp.int32))


def to_perceptron(tensors):
  """`{"layer0/W": ..., "out/b": ...}` as the parameters of an `MLP`."""
  hidden = sorted(name.removesuffix("/W") for name in tensors if name.startswith("layer") and name.endswith("/W"))
  layers = [*hidden, "out"]
  return {
    f"layer_{index}": {"kernel": tensors[f"{name}/W"].T, "bias": tensors[f"{name}/b"]}
    for index, name in enumerate(layers)
  }


def from_perceptron(params):
  """The inverse of `to_perceptron`."""
  names = [f"layer{index}" for index in range(len(params) - 1)] + ["out"]
  return {
    f"{name}/{letter}": value
    for name, layer in zip(names, (params[f"layer_{index}"] for index in range(len(params))), strict=True)
    for letter, value in (("W", layer["kernel"].T), ("b", layer["bias"]))
  }


def to_policy(tensors):
  """Two heads, mean and log standard deviation, as one last layer."""
  both = {f"out/{letter}": jnp.concatenate([tensors[f"out/{letter}"], tensors[f"log_std/{letter}"]]) for letter in "Wb"}
  return to_perceptron(tensors | both)


def from_policy(params):
  """The inverse of `to_policy`."""
  tensors = from_perceptron(params)
  for letter in "Wb":
    tensors[f"out/{letter}"], tensors[f"log_std/{letter}"] = jnp.split(tensors[f"out/{letter}"], 2)
  return tensors


def latent_last(recorded):
  """The columns of inputs [s, a, z] in the order of [s, z, a]."""
  meta = recorded.meta
  sizes = (meta["observation_size"], meta["action_size"], meta["latent_size"])
  of_state, of_action, of_latent = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
  return np.concatenate([of_state, of_latent, of_action])


def to_reordered(tensors, columns):
  """The network whose inputs are those columns of its own."""
  return to_perceptron(tensors | {"layer0/W": tensors["layer0/W"][:, columns]})


def from_reordered(params, columns):
  """The inverse of `to_reordered`."""
  tensors = from_perceptron(params)
  return tensors | {"layer0/W": tensors["layer0/W"][:, np.argsort(columns)]}


def to_twins(first, second, columns):
  """Two critics as one part."""
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(to_reordered(one, columns) for one in (first, second)))


def from_twins(params, columns):
  """The inverse of `to_twins`."""
  return tuple(
    from_reordered(jax.tree.map(lambda leaf, index=index: leaf[index], params), columns) for index in range(2)
  )


class KnownNoise:
  """Draws that stand for those of `jax.random`, by their keys; another concrete key is a fault of the test.

  Flax asks initial values for their shapes under a trace, where the key is none that an update draws from.
  """

  def __init__(self, draws):
    self.draws = {self._name(key): noise for key, noise in draws}
    self.patches = [mock.patch.object(jax.random, name, self._drawing(name)) for name in ("normal", "uniform")]

  @staticmethod
  def _name(key):
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())

  def _drawing(self, name):
    original = getattr(jax.random, name)

    def draw(key, shape=(), *arguments, **settings):
      if isinstance(key, jax.core.Tracer):
        return original(key, shape, *arguments, **settings)
      noise = self.draws[self._name(key)]
      return noise.reshape(shape)

    return draw

  def __enter__(self):
    for patch in self.patches:
      patch.start()

  def __exit__(self, *_):
    for patch in self.patches:
      patch.stop()


def learner_and_algorithm(factory, problem, **arguments):
  """The `ContextLearner` that a factory makes, and its algorithm."""
  with mock.patch.object(contextual, "context_learner", wraps=context_learner) as made:
    algorithm = factory(problem, **arguments)
  return made.call_args.args[0], algorithm


def loss_and_gradients(learner, name, net, tasks, key):
  """The value of a loss, and its gradient by every part as the table of the learner lets it through."""

  def loss(net):
    return learner.losses[name](train_only(net, learner.trains[name]), tasks, key)[0]

  return jax.value_and_grad(loss)(net)


def remembering(optimizer):
  """The optimiser, which keeps the gradient that it was given last."""

  def make(learning_rate):
    inner = optimizer(learning_rate)
    step = jax.jit(inner.update)  # operation by operation it would compile hundreds of programs

    def init(params):
      return inner.init(params), jax.tree.map(jnp.zeros_like, params)

    def update(gradient, state, params=None):
      updates, moved = step(gradient, state[0], params)
      return updates, (moved, gradient)

    return optax.GradientTransformation(init, update)

  return make


def updated(algorithm, net, tasks, key, number=0):
  """The parts after the update of that number from zero moments, the gradients that stepped them, and the metrics."""
  opt_state = jax.eval_shape(algorithm.init, key).opt_state
  opt_state = jax.tree.map(
    lambda leaf: jnp.zeros(leaf.shape, leaf.dtype if leaf.dtype == jnp.int32 else jax.tree.leaves(net)[0].dtype),
    opt_state,
  )
  state = TrainState(MetaParams(net, {}), opt_state, jnp.asarray(number, jnp.int32))
  state, metrics = algorithm.update(state, tasks, key)
  gradients = {
    part: kept.inner_state[1][part]
    for part, kept in state.opt_state.inner_states.items()
    if isinstance(kept.inner_state, tuple) and len(kept.inner_state) == 2 and isinstance(kept.inner_state[1], dict)
  }
  return state.params.net, gradients, metrics


def assert_near(actual, expected, tolerance, what=""):
  """Relative, norm over norm."""
  error = np.linalg.norm(np.asarray(actual) - np.asarray(expected))
  assert np.shape(actual) == np.shape(expected), what
  assert error <= tolerance * np.linalg.norm(expected), (what, error / np.linalg.norm(expected))


def assert_all_near(actual, expected, tolerance, what=""):
  """Every tensor of two dicts of the same names."""
  assert expected, what
  assert actual.keys() == expected.keys(), what
  for name, tensor in expected.items():
    assert_near(actual[name], tensor, tolerance, f"{what}/{name}")


def is_zero(tree):
  """Whether every number of a tree is exactly zero."""
  return all(not np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(tree))
