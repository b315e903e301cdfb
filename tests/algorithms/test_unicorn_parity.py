"""The released code of UNICORN: every loss and gradient of one update, and its parameters after the step.

The recorded update has no actor-critic, whose losses train none of these parts: any will do beside them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from released import (
  TOLERANCE,
  KnownNoise,
  Recorded,
  assert_all_near,
  assert_near,
  from_perceptron,
  is_zero,
  learner_and_algorithm,
  loss_and_gradients,
  recorded_files,
  remembering,
  to_perceptron,
  updated,
)

from macaw_jax.actor_critics import iql
from macaw_jax.actor_critics.actor_critic import beside
from macaw_jax.algorithms import unicorn
from macaw_jax.algorithms.unicorn import RELEASED
from macaw_jax.learners.context import split_update_key
from macaw_jax.losses.likelihood import gaussian_misfit
from macaw_jax.networks.bounded_gaussian import bounded_gaussian, width_of_bounds

KEY = jax.random.key(0)
FILES = recorded_files("unicorn")
BOUND_WEIGHT = 0.01
BOUNDS = {"min_logvar": "min_log_variance", "max_logvar": "max_log_variance"}
pytestmark = [
  pytest.mark.parametrize("precision", TOLERANCE),
  pytest.mark.parametrize("name", FILES),
]


def latent_first(meta):
  """The columns of inputs [z, s, a] in the order of [s, a, z]."""
  latent, behaviour = meta["latent_size"], meta["observation_size"] + meta["action_size"]
  return np.roll(np.arange(latent + behaviour), -latent)


def to_encoder(tensors):
  """Recorded tensors as our encoder: the variance of its noise beside its network."""
  network = {name: tensor for name, tensor in tensors.items() if name != "log_variance"}
  return {"network": to_perceptron(network), "log_variance": tensors["log_variance"][0]}


def from_encoder(params):
  """The inverse of `to_encoder`."""
  return from_perceptron(params["network"]) | {"log_variance": params["log_variance"][None]}


def to_decoder(tensors, columns):
  """An ensemble of one whose layers multiply from the right, as our decoder."""
  layers = {}
  for name, tensor in tensors.items():
    if name.endswith("/W"):
      kernel = tensor[0][columns] if name == "layer0/W" else tensor[0]
      layers[name] = kernel.T
    elif name.endswith("/b"):
      layers[name] = tensor[0, 0]
  return {"network": to_perceptron(layers)} | {ours: tensors[theirs][0] for theirs, ours in BOUNDS.items()}


def from_decoder(params, columns):
  """The inverse of `to_decoder`."""
  tensors = {theirs: params[ours][None] for theirs, ours in BOUNDS.items()}
  for name, tensor in from_perceptron(params["network"]).items():
    if name.endswith("/W"):
      kernel = tensor.T[np.argsort(columns)] if name == "layer0/W" else tensor.T
      tensors[name] = kernel[None]
    else:
      tensors[name] = tensor[None, None]
  return tensors


class Update:
  """One update of the released code, as inputs of ours."""

  def __init__(self, name, precision):
    self.recorded = recorded = Recorded(name, precision)
    self.tolerance, meta = TOLERANCE[precision], recorded.meta
    self.columns = latent_first(meta)
    self.hidden_sizes = (meta["hidden_size"],) * meta["hidden_layers"]
    encoder, optimizer = RELEASED["encoder"], RELEASED["optimizer"]
    low, high = meta["variance_clip"]
    self.encoder = encoder.changed(
      latent_size=meta["latent_size"],
      hidden_sizes=self.hidden_sizes,
      metric_weight=meta["beta_encoder"],
      min_variance=low,
      max_variance=high,
    )
    arguments = RELEASED | {
      "encoder": self.encoder,
      "decoder_hidden_sizes": self.hidden_sizes,
      "actor_critic": iql(hidden_sizes=(4,)),
      "steps": (),
      "optimizer": optimizer.factory(
        encoder_learning_rate=meta["learning_rate"],
        optimizer=remembering(optax.adam),
      ),
    }
    self.learner, self.algorithm = learner_and_algorithm(unicorn, recorded.problem(), **arguments)
    initial = self.algorithm.init(KEY).params.net
    self.net = jax.tree.map(lambda leaf: leaf.astype(recorded.dtype), initial) | self.parts("param/")
    self.tasks = recorded.tasks(query="context")
    self.noise = KnownNoise([(split_update_key(KEY).latent, recorded["noise/embedding"])])

  def parts(self, kind):
    """The recorded parts under `kind`, in our trees."""
    below = lambda net: self.recorded.below(f"{kind}{net}/")  # noqa: E731
    return {
      "encoder": to_encoder(below("encoder")),
      "decoder": {name: to_decoder(below(f"decoder/{name}"), self.columns) for name in ("reward", "state")},
    }

  def tensors(self, parts):
    """Ours by the recorded names."""
    decoders = {f"decoder/{name}": from_decoder(params, self.columns) for name, params in parts["decoder"].items()}
    return {"encoder": from_encoder(parts["encoder"]), **decoders}

  def loss_and_tensors(self, loss):
    """The value of a loss, and its gradients by the recorded names."""
    with self.noise:
      value, gradients = loss_and_gradients(self.learner, loss, self.net, self.tasks, KEY)
    return value, self.tensors(gradients), gradients


@pytest.fixture
def update(name, precision):
  with jax.enable_x64(precision == "float64"):
    yield Update(name, precision)


def assert_gradients(update, tensors, loss):
  for net, found in tensors.items():
    recorded = update.recorded.below(f"grad/{loss}/{net}/")
    assert_all_near(found, recorded, update.tolerance, net)
    # Where the variance of the noise is cut, the released gradient is exactly zero.
    assert all(is_zero(found[name][np.asarray(tensor) == 0.0]) for name, tensor in recorded.items()), net


def test_prediction(update):
  recorded = update.recorded
  value, tensors, _ = update.loss_and_tensors("reconstruction_loss")
  assert_near(value, recorded["loss/reconstruction"], update.tolerance)
  for net in ("encoder", "decoder"):
    of_net = {name: found for name, found in tensors.items() if name.startswith(net)}
    assert is_zero(of_net) == (recorded.file[f"reach/reconstruction/{net}"] == 0.0), net
  assert_gradients(update, tensors, "reconstruction")


def test_metric_loss_and_the_sum_of_both(update):
  recorded, beta = update.recorded, update.recorded.meta["beta_encoder"]
  metric, _, of_metric = update.loss_and_tensors("metric_loss")
  prediction, _, of_prediction = update.loss_and_tensors("reconstruction_loss")
  assert_near(metric, beta * recorded["loss/metric_unweighted"], update.tolerance)
  assert_near(metric + prediction, recorded["loss/total"], update.tolerance)
  assert is_zero(of_metric["decoder"])
  assert_gradients(update, update.tensors(jax.tree.map(jnp.add, of_metric, of_prediction)), "total")


def test_latents_and_decoders(update):
  recorded = update.recorded
  with update.noise:
    latents = update.encoder(recorded.problem()).latents_of(update.net, update.tasks, KEY)
  assert_near(latents, recorded["out/z"], update.tolerance)
  context = update.tasks.support
  inputs = beside(jnp.concatenate([context.observation, context.action], axis=-1), recorded["out/z"])
  targets = {"state": context.next_observation - context.observation, "reward": context.reward[..., None]}
  for name, target in targets.items():
    network = bounded_gaussian(len(update.columns), target.shape[-1], update.hidden_sizes)
    params = update.net["decoder"][name]
    mean, log_variance = network.apply(params, inputs)
    assert_near(mean, recorded[f"out/{name}_mean"][0], update.tolerance)
    assert_near(log_variance, recorded[f"out/{name}_log_variance"][0], update.tolerance)
    loss = jnp.mean(gaussian_misfit(mean, log_variance, target)) + BOUND_WEIGHT * width_of_bounds(params)
    assert_near(loss, recorded[f"loss/reconstruction_{name}"], update.tolerance)


def test_the_update(update):
  recorded = update.recorded
  with update.noise:
    net, gradients, metrics = updated(update.algorithm, update.net, update.tasks, KEY)
  assert_near(metrics["reconstruction_error"], recorded["loss/reconstruction"], update.tolerance)
  # Adam's first step is the sign of a gradient, but where that is small: there rounding shows.
  for part, tensors in update.tensors(net).items():
    assert_all_near(tensors, recorded.below(f"sequential/param_after/{part}/"), update.tolerance, part)
  assert_gradients(update, update.tensors(gradients), "total")
