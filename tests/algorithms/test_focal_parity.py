"""The released codes of FOCAL and of CSRO, its fork: every loss and gradient of one update, and the steps in order."""

import functools

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
  from_policy,
  from_reordered,
  from_twins,
  is_zero,
  latent_last,
  learner_and_algorithm,
  loss_and_gradients,
  recorded_files,
  remembering,
  to_perceptron,
  to_policy,
  to_reordered,
  to_twins,
  updated,
)

from macaw_jax.actor_critics.actor_critic import latent_policy, split_loss_key
from macaw_jax.actor_critics.behaviour_regularised import penalise_score
from macaw_jax.algorithms import csro, focal
from macaw_jax.algorithms.contextual import KNOWN_LATENTS
from macaw_jax.algorithms.csro import RELEASED as CSRO_RELEASED
from macaw_jax.algorithms.focal import RELEASED as FOCAL_RELEASED
from macaw_jax.learners.context import split_update_key
from macaw_jax.losses.behaviour_regularisation import dual_kl, dual_wasserstein
from macaw_jax.types import LATENT

KEY = jax.random.key(0)
CSRO_FILES = recorded_files("csro")
FILES = recorded_files("focal") + CSRO_FILES
DIVERGENCES = {"kl": dual_kl, "w": dual_wasserstein}
# The released losses, each ours without its last word.
LOSSES = ("metric", "discriminator", "critic", "value", "policy", "multiplier")
CSRO_LOSSES = ("behaviour_model", "information")
PARTS = {"encoder": "encoder", "vf": "value", "target_vf": "target_value", "behaviour_model": "behaviour_model"}
pytestmark = pytest.mark.parametrize("precision", TOLERANCE)


class Update:
  """One update of a released code, as inputs of ours."""

  def __init__(self, name, precision):
    self.recorded = recorded = Recorded(name, precision)
    self.tolerance, self.columns, self.meta = TOLERANCE[precision], latent_last(recorded), recorded.meta
    self.is_csro = name in CSRO_FILES
    factory, released = (csro, CSRO_RELEASED) if self.is_csro else (focal, FOCAL_RELEASED)
    self.arguments = released | self.parts_of_the_agent(released) | (self.of_csro() if self.is_csro else {})
    self.learner, self.algorithm = learner_and_algorithm(factory, recorded.problem(), **self.arguments)
    self.net, self.tasks = self.parts("param/"), recorded.tasks()
    keys = split_loss_key(split_update_key(KEY).actor_critic)
    self.noise = KnownNoise(
      [(keys.action, recorded["noise/action"]), (keys.interpolation, recorded["noise/interpolation"])]
    )

  def parts_of_the_agent(self, released):
    """Encoder, actor-critic, optimisers and steps with the recorded sizes and numbers."""
    meta = self.meta
    encoder, actor_critic, optimizer = (released[part] for part in ("encoder", "actor_critic", "optimizer"))
    return {
      "encoder": encoder.changed(
        latent_size=meta["latent_size"],
        hidden_sizes=(meta["encoder_hidden_size"],) * meta["hidden_layers"],
        next_observation=meta["use_next_obs_in_context"],
        metric_weight=meta["z_loss_weight"],
      ),
      "actor_critic": actor_critic.changed(
        hidden_sizes=(meta["hidden_size"],) * meta["hidden_layers"],
        tau=meta["soft_target_tau"],
        reward_scale=meta["reward_scale"],
        behaviour_penalty=meta["alpha_init"],
        divergence_target=meta["target_divergence"],
        max_penalty=meta["alpha_max"],
        penalty_rate=meta["alpha_lr"],
        value_penalty=meta["use_value_penalty"],
        divergence=DIVERGENCES[meta["divergence_name"]],
        discriminator_penalty=functools.partial(penalise_score, weight=meta["gradient_penalty_weight"]),
      ),
      "optimizer": optimizer.factory(
        agent_learning_rate=meta["policy_lr"],
        encoder_learning_rate=meta["policy_lr"],
        learning_rates={"discriminator": meta["c_lr"]},
        optimizer=remembering(optax.adam),
      ),
      "steps": tuple(step for step in released["steps"] if step.share < meta["c_iter"]),
    }

  def of_csro(self):
    """The terms of CSRO beside those of FOCAL: means over the coordinates, the information without its half."""
    meta = self.meta
    return {
      "information_weight": 2.0 * meta["club_loss_weight"] / meta["latent_size"],
      "behaviour_model_weight": meta["club_model_loss_weight"] / meta["latent_size"],
      "behaviour_model_hidden_sizes": (meta["encoder_hidden_size"],) * meta["hidden_layers"],
    }

  def parts(self, kind):
    """The recorded parts under `kind`, in our trees."""
    below = lambda net: self.recorded.below(f"{kind}{net}/")  # noqa: E731
    parts = {ours: to_perceptron(below(net)) for net, ours in PARTS.items() if self.is_csro or net != "behaviour_model"}
    return parts | {
      "critic": to_twins(below("qf1"), below("qf2"), self.columns),
      "discriminator": to_reordered(below("discriminator"), self.columns),
      "policy": to_policy(below("policy")),
      "multiplier": jnp.asarray(self.meta["alpha_init"], self.recorded.dtype),
      KNOWN_LATENTS: jnp.zeros((self.meta["tasks"], self.meta["latent_size"]), self.recorded.dtype),
    }

  def tensors(self, parts):
    """Ours by the recorded names."""
    first, second = from_twins(parts["critic"], self.columns)
    return {
      "qf1": first,
      "qf2": second,
      "policy": from_policy(parts["policy"]),
      "discriminator": from_reordered(parts["discriminator"], self.columns),
      **{net: from_perceptron(parts[ours]) for net, ours in PARTS.items() if ours in parts},
    }

  def constant(self, loss):
    """The part of our loss that the recorded one leaves out: the constant of a Gaussian's likelihood."""
    return 0.5 * self.meta["club_model_loss_weight"] * np.log(2.0 * np.pi) if loss == "behaviour_model" else 0.0

  def assert_reached(self, gradients, loss):
    """Gradients are the recorded ones, and exactly zero where the released code lets none through."""
    recorded = self.recorded
    for net, tensors in self.tensors(gradients).items():
      if loss == "multiplier" or recorded.file[f"reach/{loss}/{net}"] == 0.0:
        assert is_zero(tensors), net
      else:
        assert_all_near(tensors, recorded.below(f"grad/{loss}/{net}/"), self.tolerance, net)
    assert is_zero(gradients["multiplier"]) == (loss != "multiplier")


@pytest.fixture
def update(name, precision):
  with jax.enable_x64(precision == "float64"):
    yield Update(name, precision)


@pytest.mark.parametrize(
  ("name", "loss"),
  [(name, loss) for name in FILES for loss in (*LOSSES, *(CSRO_LOSSES if name in CSRO_FILES else ()))],
)
def test_losses_and_gradients(update, loss):
  with update.noise:
    value, gradients = loss_and_gradients(update.learner, f"{loss}_loss", update.net, update.tasks, KEY)
  assert_near(value - update.constant(loss), update.recorded[f"loss/{loss}"], update.tolerance)
  update.assert_reached(gradients, loss)


@pytest.mark.parametrize("name", FILES)
def test_the_metric_loss_of_tasks_that_all_differ(update):
  recorded, weight = update.recorded, update.meta["z_loss_weight"]
  distinct = update.tasks._replace(task_index=jnp.arange(update.meta["tasks"]))
  value, gradients = loss_and_gradients(update.learner, "metric_loss", update.net, distinct, KEY)
  assert_near(value / weight, recorded["loss/metric_unweighted_distinct"], update.tolerance)
  found = {tensor: gradient / weight for tensor, gradient in from_perceptron(gradients["encoder"]).items()}
  assert_all_near(found, recorded.below("grad/metric_unweighted_distinct/encoder/"), update.tolerance)


@pytest.mark.parametrize("name", FILES)
def test_latents(update):
  recorded = update.recorded
  encoder = update.arguments["encoder"](recorded.problem())
  embeddings = encoder.embed(update.net, encoder.reading.rows(update.net, update.tasks.support))
  assert_near(embeddings, recorded["out/embedding"], update.tolerance)
  changes, _ = encoder.adaptation.apply(update.net, {}, update.tasks.support, KEY)
  assert_near(changes[LATENT], recorded["out/z"], update.tolerance)


@pytest.mark.parametrize("name", FILES)
def test_divergence_penalties_and_multiplier(update):
  recorded = update.recorded
  scores = recorded["divergence/score_policy"], recorded["divergence/score_data"]
  # Where a score is far below zero, the released code's own number in float32 is rounding, and ours is not.
  assert_near(dual_kl(*scores), np.asarray(recorded.file["f64/divergence/out_kl"]), update.tolerance)
  assert_near(dual_wasserstein(*scores), recorded["divergence/out_w"], update.tolerance)
  with update.noise:
    found = {
      name: metric
      for loss in ("policy", "discriminator")
      for name, metric in update.learner.losses[f"{loss}_loss"](update.net, update.tasks, KEY)[1].items()
    }
  assert_near(found["divergence"], recorded["loss/divergence_mean"], update.tolerance)
  assert_near(found["gradient_penalty"], recorded["loss/gradient_penalty"], update.tolerance)
  assert_near(found["penalty_factor"], recorded["out/alpha_read"], update.tolerance)
  with update.noise:
    _, gradients = loss_and_gradients(update.learner, "multiplier_loss", update.net, update.tasks, KEY)
  after = update.net["multiplier"] - update.meta["alpha_lr"] * gradients["multiplier"]
  assert_near(after, recorded["out/alpha_after"], update.tolerance)


@pytest.mark.parametrize("name", FILES)
def test_the_update_in_the_released_order(update):
  recorded = update.recorded
  with update.noise:
    net, gradients, metrics = updated(update.algorithm, update.net, update.tasks, KEY)
  for loss in ("critic", "value", "policy"):
    assert_near(metrics[f"{loss}_loss"], recorded[f"sequential/loss/{loss}"], update.tolerance)
  assert_near(net["multiplier"], recorded["sequential/alpha_after"], update.tolerance)
  # Adam's first step is the sign of a gradient, but where that is small: there rounding shows.
  after = recorded.below("sequential/param_after/")
  for part, tensors in update.tensors(net).items():
    if part != "policy" or update.is_csro:
      found = {f"{part}/{tensor}": value for tensor, value in tensors.items()}
      assert_all_near(found, {key: after[key] for key in after if key.startswith(f"{part}/")}, update.tolerance)
  named = update.tensors(net | gradients)
  assert_all_near(named["vf"], recorded.below("sequential/grad/value/vf/"), update.tolerance, "vf")
  if update.is_csro:
    # The released FOCAL has no gradient of the policy to compare with: it runs through weights that moved meanwhile.
    assert_all_near(named["policy"], recorded.below("sequential/grad/policy/policy/"), update.tolerance, "policy")
    information = update.arguments["information_weight"] * metrics["behaviour_information"]
    assert_near(information, recorded["sequential/loss/information"], update.tolerance)
  else:
    assert_all_near(named["encoder"], recorded.below("grad/metric/encoder/"), update.tolerance, "encoder")


@pytest.mark.parametrize("name", FILES)
def test_the_policy_where_its_range_ends(update):
  recorded, meta = update.recorded, update.meta
  sizes = (meta["hidden_size"],) * meta["hidden_layers"]
  networks = update.arguments["actor_critic"].settings["networks"]
  policy = latent_policy(recorded.problem(), meta["latent_size"], sizes, networks)
  mean, log_std = policy.apply(update.net["policy"], recorded["policy_far/input"])
  assert_near(mean, recorded["policy_far/out_mean"], update.tolerance)
  assert_near(log_std, recorded["policy_far/out_log_std"], update.tolerance)
  assert log_std.min() == meta["log_std_clip"][0] or log_std.max() == meta["log_std_clip"][1]
