"""The released code of PEARL: every loss and gradient of one update, and its parameters after the steps in order."""

import jax
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
  from_twins,
  is_zero,
  latent_last,
  learner_and_algorithm,
  loss_and_gradients,
  recorded_files,
  remembering,
  to_perceptron,
  to_policy,
  to_twins,
  updated,
)

from macaw_jax.actor_critics.actor_critic import latent_policy, split_loss_key
from macaw_jax.algorithms import pearl
from macaw_jax.algorithms.pearl import RELEASED
from macaw_jax.learners.context import split_update_key
from macaw_jax.losses.soft_actor_critic import squash
from macaw_jax.networks.encoders import product_of_gaussians

KEY = jax.random.key(0)
FILES = recorded_files("pearl")
# The released losses by ours.
LOSSES = {"kl_loss": "kl", "critic_loss": "critic", "value_loss": "value", "policy_loss": "policy"}
pytestmark = [
  pytest.mark.parametrize("precision", TOLERANCE),
  pytest.mark.parametrize("name", FILES),
]


class Update:
  """One update of the released code, as inputs of ours."""

  def __init__(self, name, precision):
    self.recorded = recorded = Recorded(name, precision)
    self.tolerance, self.columns, meta = TOLERANCE[precision], latent_last(recorded), recorded.meta
    sizes = {"hidden_sizes": (meta["hidden_size"],) * meta["hidden_layers"]}
    encoder, actor_critic, optimizer = (RELEASED[part] for part in ("encoder", "actor_critic", "optimizer"))
    self.arguments = RELEASED | {
      "encoder": encoder.changed(
        latent_size=meta["latent_size"],
        hidden_sizes=(meta["encoder_hidden_size"],) * meta["hidden_layers"],
        next_observation=meta["use_next_obs_in_context"],
        kl_weight=meta["kl_lambda"],
      ),
      "actor_critic": actor_critic.changed(**sizes, tau=meta["soft_target_tau"], reward_scale=meta["reward_scale"]),
      "optimizer": optimizer.factory(
        agent_learning_rate=meta["learning_rate"],
        encoder_learning_rate=meta["learning_rate"],
        optimizer=remembering(optax.adam),
      ),
    }
    self.learner, self.algorithm = learner_and_algorithm(pearl, recorded.problem(), **self.arguments)
    self.net, self.tasks = self.parts("param/"), recorded.tasks()
    keys = split_update_key(KEY)
    self.noise = KnownNoise(
      [
        (keys.latent, recorded["noise/z"]),
        (split_loss_key(keys.actor_critic).action, recorded["noise/action"]),
      ]
    )

  def parts(self, kind):
    """The recorded parts under `kind`, in our trees."""
    below = lambda net: self.recorded.below(f"{kind}{net}/")  # noqa: E731
    return {
      "encoder": to_perceptron(below("encoder")),
      "critic": to_twins(below("qf1"), below("qf2"), self.columns),
      "value": to_perceptron(below("vf")),
      "target_value": to_perceptron(below("target_vf")),
      "policy": to_policy(below("policy")),
    }

  def tensors(self, parts):
    """Ours by the recorded names."""
    first, second = from_twins(parts["critic"], self.columns)
    others = {"vf": "value", "target_vf": "target_value", "encoder": "encoder"}
    return {
      "qf1": first,
      "qf2": second,
      "policy": from_policy(parts["policy"]),
      **{name: from_perceptron(parts[part]) for name, part in others.items() if part in parts},
    }


@pytest.fixture
def update(name, precision):
  with jax.enable_x64(precision == "float64"):
    yield Update(name, precision)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_gradients(update, loss):
  recorded, known = update.recorded, LOSSES[loss]
  with update.noise:
    value, gradients = loss_and_gradients(update.learner, loss, update.net, update.tasks, KEY)
  assert_near(value, recorded[f"loss/{known}" + ("_weighted" if known == "kl" else "")], update.tolerance)
  for net, tensors in update.tensors(gradients).items():
    if recorded.file[f"reach/{known}/{net}"] == 0.0:
      assert is_zero(tensors), net
    else:
      assert_all_near(tensors, recorded.below(f"grad/{known}/{net}/"), update.tolerance, net)


def test_latents(update):
  recorded = update.recorded
  with update.noise:
    changes, _ = update.learner.encoder.apply(update.net, {}, update.tasks.support, split_update_key(KEY).latent)
  assert_near(changes["latent"], recorded["out/z"], update.tolerance)
  product = product_of_gaussians(recorded["product/mean"], recorded["product/variance"])
  assert_near(product.mean, recorded["product/out_mean"], update.tolerance)
  assert_near(product.variance, recorded["product/out_variance"], update.tolerance)


def test_the_update_in_the_released_order(update):
  recorded = update.recorded
  with update.noise:
    net, gradients, metrics = updated(update.algorithm, update.net, update.tasks, KEY)
  for loss in ("value", "policy"):
    assert_near(metrics[f"{loss}_loss"], recorded[f"sequential/loss/{loss}"], update.tolerance)
  # Adam's first step is the sign of a gradient, but where that is small: there rounding shows.
  for part, tensors in update.tensors(net).items():
    assert_all_near(tensors, recorded.below(f"sequential/param_after/{part}/"), update.tolerance, part)
  named = update.tensors(gradients)
  for part, of in (("vf", "value"), ("policy", "policy")):
    assert_all_near(named[part], recorded.below(f"sequential/grad/{of}/{part}/"), update.tolerance, part)
  assert_all_near(named["encoder"], recorded.below("grad/total/encoder/"), update.tolerance, "encoder")


def test_the_policy_where_its_range_ends(update):
  recorded, meta = update.recorded, update.recorded.meta
  sizes = (meta["hidden_size"],) * meta["hidden_layers"]
  networks = RELEASED["actor_critic"].settings["networks"]
  policy = latent_policy(recorded.problem(), meta["latent_size"], sizes, networks)
  mean, log_std = policy.apply(update.net["policy"], recorded["policy_far/input"])
  assert_near(mean, recorded["policy_far/out_mean"], update.tolerance)
  assert_near(log_std, recorded["policy_far/out_log_std"], update.tolerance)
  assert log_std.min() == -20.0 or log_std.max() == 2.0
  action, log_prob = squash(mean, log_std, recorded["policy_far/noise"], margin=networks.density_margin)
  assert_near(action, recorded["policy_far/out_action"], update.tolerance)
  # In float32 the released code's own number is rounding there, and ours is not.
  assert_near(log_prob, np.asarray(recorded.file["f64/policy_far/out_log_prob"]), update.tolerance)
