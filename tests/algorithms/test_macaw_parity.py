"""The released PyTorch code's losses and meta-gradients, reproduced in float32 and in float64."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pieces import pieces_of

from macaw_jax.algorithms import macaw, maml_awr
from macaw_jax.algorithms.macaw import RELEASED
from macaw_jax.types import MetaParams, Problem, TaskBatch, TrainState, Transition

REFERENCE = pathlib.Path(__file__).parent.parent / "reference"
FILES = sorted(path.stem for pattern in ("macaw*.npz", "maml_awr*.npz") for path in REFERENCE.glob(pattern))
NAMES = {"z": "latent", "M": "generator", "c": "generator_bias"}
BIAS_NAMES = {"W": "kernel", "b": "bias", "beta": "latent", "V": "bias_generator"}


def read_layer(file, prefix, dtype, weight_transform):
  names = NAMES if weight_transform else BIAS_NAMES
  layer = {names[key]: jnp.asarray(file[f"{prefix}/{key}"], dtype) for key in names}
  if weight_transform:
    return layer
  if layer["kernel"].ndim == 2:
    layer["kernel"] = layer["kernel"].T
  return layer


def shape_layer(layer, inputs):
  """Gives the flat generator of a weight-transform layer the shape of the weights that it generates."""
  if "generator" not in layer or layer["generator"].ndim == 0:
    return layer
  return layer | {
    "generator": layer["generator"].T.reshape(layer["generator"].shape[-1], inputs + 1, -1),
    "generator_bias": layer["generator_bias"].reshape(inputs + 1, -1),
  }


def read_net(file, kind, meta, dtype):
  """The reference's arrays under `kind` (param, grad, raw_rate, grad_raw_rate), in our tree."""
  width, depth = meta["width"], meta["depth"]

  def layer(name, inputs):
    return shape_layer(read_layer(file, f"{kind}/{name}", dtype, meta["weight_transform"]), inputs)

  sizes = [meta["observation_size"]] + [width] * depth
  trunk = {f"layer_{i}": layer(f"policy/layer{i}", sizes[i]) for i in range(depth)}
  policy = {"trunk": trunk, "output": layer(f"policy/layer{depth}", width)}
  if meta["advantage_head"]:
    inputs = (width + meta["action_size"], meta["head_hidden"])
    policy["head"] = {f"layer_{i}": layer(f"policy/head{i}", inputs[i]) for i in range(2)}
  return {"policy": policy, "value": {f"layer_{i}": layer(f"value/layer{i}", sizes[i]) for i in range(depth + 1)}}


def read_batch(file, kind, dtype):
  arrays = {name: jnp.asarray(file[f"{kind}/{name}"], dtype) for name in ("observation", "action", "reward")}
  return Transition(
    **arrays,
    next_observation=jnp.asarray(file[f"{kind}/next_observation"], dtype),
    terminal=jnp.asarray(file[f"{kind}/done"], dtype),
    last=jnp.zeros_like(arrays["reward"]),
    mc_return=jnp.asarray(file[f"{kind}/mc_return"], dtype),
    final_observation=jnp.asarray(file[f"{kind}/terminal_observation"], dtype),
    final_discount=jnp.asarray(file[f"{kind}/terminal_discount"], dtype),
  )


class Step:
  """One outer step of the reference, as inputs of ours."""

  def __init__(self, name, dtype):
    self.file = np.load(REFERENCE / f"{name}.npz", allow_pickle=False)
    self.meta = meta = json.loads(str(self.file["meta"]))
    self.dtype = dtype
    self.problem = Problem(meta["observation_size"], meta["action_size"], meta["num_train_tasks"], meta["discount"])
    self.arguments = RELEASED | {
      "hidden_sizes": (meta["width"],) * meta["depth"],
      "layer": "weight_transform" if meta["weight_transform"] else "bias_transform",
      "adaptation_steps": meta["inner_steps"],
      "inner_value_target": "bootstrapped" if meta["inner_bootstrap"] else "monte_carlo",
      "standard_deviation": meta["action_std"],
      "max_weight": meta["weight_clip"],
      "temperature": meta["temperature"],
    }
    rates = read_net(self.file, "raw_rate", meta, dtype)
    rules = [{"learned": {}, "raw_step_size": rates[part]} for part in ("value", "policy")]
    if meta["advantage_head"]:
      rules[1]["learned"] = {"raw_advantage_coefficient": jnp.asarray(self.file["raw_advantage_coefficient"], dtype)}
    self.params = MetaParams(read_net(self.file, "param", meta, dtype), tuple(rules))
    support, query = read_batch(self.file, "support", dtype), read_batch(self.file, "query", dtype)
    self.tasks = TaskBatch(support, query, jnp.arange(meta["num_sampled_tasks"]))

  def expected_gradient(self):
    """Of the mean over sampled tasks, where the reference divides their sum by the number of training tasks."""
    rates = read_net(self.file, "grad_raw_rate", self.meta, self.dtype)
    rules = [{"learned": {}, "raw_step_size": rates[part]} for part in ("value", "policy")]
    if self.meta["advantage_head"]:
      coefficient = jnp.asarray(self.file["grad_raw_advantage_coefficient"], self.dtype)
      rules[1]["learned"] = {"raw_advantage_coefficient": coefficient}
    gradient = MetaParams(read_net(self.file, "grad", self.meta, self.dtype), tuple(rules))
    factor = self.meta["num_train_tasks"] / self.meta["num_sampled_tasks"]
    return jax.tree.map(lambda x: factor * x, gradient)


def record_gradient(learning_rate):
  """An optimiser that leaves the parameters and keeps the gradient as its state."""
  del learning_rate
  import optax

  def update(gradient, state, params=None):
    del state, params
    return jax.tree.map(jnp.zeros_like, gradient), gradient

  return optax.GradientTransformation(lambda params: params, update)


def meta_gradient(step):
  """The meta-gradient that the algorithm's own update hands to its optimisers."""
  factory = macaw if step.meta["advantage_head"] else maml_awr
  algorithm = factory(step.problem, optimizer=record_gradient, **step.arguments)
  opt_state = jax.eval_shape(algorithm.init, jax.random.key(0)).opt_state
  opt_state = jax.tree.map(lambda x: jnp.zeros(x.shape, step.dtype), opt_state)
  state = TrainState(step.params, opt_state, jnp.zeros((), jnp.int32))
  state, _ = jax.jit(algorithm.update)(state, step.tasks, jax.random.key(1))
  masked = {part: masked_state.inner_state for part, masked_state in state.opt_state.inner_states.items()}
  return MetaParams({part: masked[part].net[part] for part in ("policy", "value")}, masked["rule"].rule)


def losses(step):
  """Inner losses [T, K] and outer losses [T] of both networks."""
  parts = pieces_of(macaw if step.meta["advantage_head"] else maml_awr, step.problem, **step.arguments)

  def task_losses(support, query):
    changes, metrics = parts.adaptation.apply(step.params.net, step.params.rule, support, jax.random.key(0))
    adapted = step.params.net | changes
    _, outer_metrics = parts.outer_loss(adapted, query, jax.random.key(0))
    outer = {f"outer_{part}": outer_metrics[f"{part}_loss"] for part in ("value", "policy")}
    inner = {
      f"inner_{part}": jnp.stack([metrics[f"inner_{part}_loss_{k}"] for k in range(step.meta["inner_steps"])])
      for part in ("value", "policy")
    }
    return outer | inner

  return jax.jit(jax.vmap(task_losses))(step.tasks.support, step.tasks.query)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", FILES)
def test_losses_and_meta_gradients_match_the_released_code(name, precision):
  with jax.enable_x64(precision == "float64"):
    step = Step(name, jnp.dtype(precision))
    for key, loss in losses(step).items():
      np.testing.assert_allclose(loss, step.file[f"loss/{key}"], rtol=1e-5, err_msg=key)

    expected = jax.tree_util.tree_leaves_with_path(step.expected_gradient())
    actual = jax.tree.leaves(meta_gradient(step))
    assert len(expected) == len(actual) > 20
    tolerance = {"float32": 1e-3, "float64": 1e-4}[precision]
    for (path, reference), gradient in zip(expected, actual, strict=True):
      error = np.linalg.norm(gradient - reference)
      assert error <= tolerance * np.linalg.norm(reference), (jax.tree_util.keystr(path), error)


def test_every_reference_file_is_read():
  assert len(FILES) >= 5
