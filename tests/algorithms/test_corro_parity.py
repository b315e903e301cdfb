"""The released code of CORRO: every loss and gradient of its three stages, and an update of the agent in order."""

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
  from_twins,
  is_zero,
  learner_and_algorithm,
  loss_and_gradients,
  recorded_files,
  remembering,
  to_perceptron,
  to_policy,
  to_twins,
  updated,
)

from macaw_jax.actor_critics.actor_critic import split_loss_key
from macaw_jax.algorithms import corro
from macaw_jax.algorithms.corro import RELEASED, RELEASED_REWARD_NOISE
from macaw_jax.learners.context import split_update_key
from macaw_jax.networks.latent import released_networks
from macaw_jax.networks.soft_actor_critic import hard_bounds
from macaw_jax.types import LATENT, TaskBatch

KEY = jax.random.key(0)
FILES = recorded_files("corro")
# The released kinds of negatives by ours, and the noise that they are made of.
NEGATIVES = {"generative": (RELEASED, "generator"), "reward_randomize": (RELEASED_REWARD_NOISE, "reward")}
pytestmark = [
  pytest.mark.parametrize("precision", TOLERANCE),
  pytest.mark.parametrize("name", FILES),
]


class Update:
  """One update of the released code, as inputs of ours."""

  def __init__(self, name, precision, negatives):
    self.recorded = recorded = Recorded(name, precision)
    self.tolerance, meta = TOLERANCE[precision], recorded.meta
    released, self.noise_name = NEGATIVES[negatives]
    # The released critics read (s, z, a) as ours do.
    self.columns = np.arange(meta["observation_size"] + meta["latent_size"] + meta["action_size"])
    # The released decoder has the reward last, ours first.
    self.outcomes = np.roll(np.arange(1 + meta["observation_size"]), 1)
    encoder, actor_critic, optimizer = (released[part] for part in ("encoder", "actor_critic", "optimizer"))
    arguments = released | {
      "encoder": encoder.changed(
        latent_size=meta["latent_size"],
        hidden_sizes=(meta["encoder_hidden_size"],) * meta["encoder_hidden_layers"],
        num_negatives=meta["negatives"],
        queries_per_task=1,
        reward_noise=meta["reward_std"],
        contrastive_temperature=meta["infonce_temp"],
        generator_latent_size=meta["cvae_latent_size"],
        generator_hidden_sizes=(meta["cvae_hidden_size"],) * meta["cvae_hidden_layers"],
        generator_kl_weight=meta["beta"],
      ),
      "actor_critic": actor_critic.changed(
        hidden_sizes=(meta["hidden_size"],) * meta["hidden_layers"],
        tau=meta["soft_target_tau"],
        entropy_weight=meta["entropy_alpha"],
        networks=released_networks(hard_bounds(*meta["log_std_clip"])),
      ),
      "optimizer": optimizer.factory(
        agent_learning_rate=meta["learning_rate"],
        encoder_learning_rate=meta["learning_rate"],
        optimizer=remembering(optax.adam),
      ),
      "stages": (1,) * len(released["stages"]),
    }
    self.learner, self.algorithm = learner_and_algorithm(corro, recorded.problem(), **arguments)
    self.agent_begins = len(released["stages"])
    self.net, self.tasks = self.parts("param/"), recorded.tasks()
    keys, noise = split_update_key(KEY), recorded.below("noise/")
    self.of_actor_critic = [
      (split_loss_key(keys.actor_critic).next_action, noise["next_action"]),
      (split_loss_key(keys.actor_critic).action, noise["action"]),
    ]
    self.of_negatives, self.of_belief = jax.random.split(keys.encoder)

  def parts(self, kind):
    """The recorded parts under `kind`, in our trees."""
    below = lambda net: self.recorded.below(f"{kind}{net}/")  # noqa: E731
    decoder = below("generator/decoder")
    decoder |= {f"out/{letter}": decoder[f"out/{letter}"][self.outcomes] for letter in "Wb"}
    parts = {
      "encoder": to_perceptron(below("encoder")),
      "aggregator": {"weights": below("aggregator/score")["W"][0]},
      "generator": {"recognise": to_perceptron(below("generator/encoder")), "decode": to_perceptron(decoder)},
      "critic": to_twins(below("qf1"), below("qf2"), self.columns),
      "target_critic": to_twins(below("target_qf1"), below("target_qf2"), self.columns),
      "policy": to_policy(below("policy")),
      "known_latents": self.zeros(self.recorded.meta["tasks"], self.recorded.meta["latent_size"]),
    }
    return {part: params for part, params in parts.items() if part in self.learner.init | self.learner.targets}

  def tensors(self, parts):
    """Ours by the recorded names."""
    tensors = {"encoder": from_perceptron(parts["encoder"]), "policy": from_policy(parts["policy"])}
    tensors["aggregator"] = {"score/W": parts["aggregator"]["weights"][None]}
    for part, names in (("critic", ("qf1", "qf2")), ("target_critic", ("target_qf1", "target_qf2"))):
      if part in parts:
        tensors |= dict(zip(names, from_twins(parts[part], self.columns), strict=True))
    if "generator" in parts:
      decoder = from_perceptron(parts["generator"]["decode"])
      decoder |= {f"out/{letter}": decoder[f"out/{letter}"][np.argsort(self.outcomes)] for letter in "Wb"}
      both = {"encoder": from_perceptron(parts["generator"]["recognise"]), "decoder": decoder}
      tensors["generator"] = {f"{net}/{name}": value for net, named in both.items() for name, value in named.items()}
    return tensors

  def pairs(self):
    """Each recorded query as a task whose support is the query and its key."""
    query, key = self.recorded.transitions("query"), self.recorded.transitions("key")
    pairs = jax.tree.map(lambda *rows: jnp.stack(rows, axis=1), query, key)
    return TaskBatch(pairs, pairs, jnp.arange(len(query.reward)))

  def zeros(self, *shape):
    """In the precision of the file."""
    return jnp.zeros(shape, self.recorded.dtype)

  def assert_gradients(self, gradients, loss, kinds):
    """Ours of one loss against those recorded under `kinds`, each of which reaches parts of its own."""
    for net, tensors in self.tensors(gradients).items():
      kind = next((kind for kind in kinds if self.recorded.file[f"reach/{kind}/{net}"] != 0.0), None)
      if kind is None:
        assert is_zero(tensors), (loss, net)
      else:
        assert_all_near(tensors, self.recorded.below(f"grad/{kind}/{net}/"), self.tolerance, net)


@pytest.fixture(params=NEGATIVES)
def negatives(request):
  """A released kind of negatives."""
  return request.param


@pytest.fixture
def update(name, precision, negatives):
  with jax.enable_x64(precision == "float64"):
    yield Update(name, precision, negatives)


def test_the_contrast_of_queries_and_keys(update, negatives):
  recorded, kind = update.recorded, f"contrastive_{negatives}"
  with KnownNoise([(update.of_negatives, recorded[f"noise/{update.noise_name}"])]):
    value, gradients = loss_and_gradients(update.learner, "contrastive_loss", update.net, update.pairs(), KEY)
  assert_near(value, recorded[f"loss/{kind}"], update.tolerance)
  update.assert_gradients(gradients, "contrastive_loss", [kind])


def test_the_generator(name, precision):
  with jax.enable_x64(precision == "float64"):
    update = Update(name, precision, "generative")
    recorded = update.recorded
    rows = jax.tree.map(lambda leaf: leaf[None], recorded.transitions("generator"))
    tasks = TaskBatch(rows, rows, jnp.zeros(1, jnp.int32))
    with KnownNoise([(update.of_belief, recorded["noise/generator_belief"])]):
      value, gradients = loss_and_gradients(update.learner, "generator_loss", update.net, tasks, KEY)
      _, metrics = update.learner.losses["generator_loss"](update.net, tasks, KEY)
    assert_near(value, recorded["loss/generator"], update.tolerance)
    assert_near(metrics["generator_kl"], recorded["loss/generator_kl"], update.tolerance)
    error = recorded["loss/generator_next_observation"] + recorded["loss/generator_reward"]
    assert_near(metrics["generator_error"], error, update.tolerance)
    update.assert_gradients(gradients, "generator_loss", ["generator"])


def test_embeddings_and_latents(update):
  recorded = update.recorded

  def read(context):
    return update.learner.encoder.apply(update.net, {}, context, KEY)[0][LATENT]

  assert_near(read(update.tasks.support), recorded["out/z"], update.tolerance)
  for rows in ("query", "key"):  # a context of one row is its embedding
    alone = jax.tree.map(lambda leaf: leaf[:, None], recorded.transitions(rows))
    assert_near(read(alone), recorded[f"out/{rows}_embedding"], update.tolerance)


def test_critics_and_policy(update):
  recorded = update.recorded
  known = {"critic_loss": recorded["loss/critic1"] + recorded["loss/critic2"], "policy_loss": recorded["loss/policy"]}
  with KnownNoise(update.of_actor_critic):
    for loss, expected in known.items():
      value, gradients = loss_and_gradients(update.learner, loss, update.net, update.tasks, KEY)
      assert_near(value, expected, update.tolerance)
      update.assert_gradients(gradients, loss, [loss.removesuffix("_loss")])


def test_the_update_in_the_released_order(update):
  recorded, meta = update.recorded, update.recorded.meta
  # The losses of the other stages step nothing here.
  latents = [meta["cvae_latent_size"]] * (update.noise_name == "generator")
  other = [
    (update.of_negatives, update.zeros(meta["tasks"], 1, meta["negatives"], *latents)),
    (update.of_belief, update.zeros(meta["tasks"], meta["batch"], meta["cvae_latent_size"])),
  ]
  with KnownNoise([*update.of_actor_critic, *other]):
    net, gradients, metrics = updated(update.algorithm, update.net, update.tasks, KEY, update.agent_begins)
  assert_near(metrics["policy_loss"], recorded["sequential/loss/policy"], update.tolerance)
  after, named = update.tensors(net), update.tensors(gradients)
  # Adam's first step is the sign of a gradient, but where that is small: there rounding shows.
  for part in ("aggregator", "qf1", "qf2", "target_qf1", "target_qf2", "policy"):
    assert_all_near(after[part], recorded.below(f"sequential/param_after/{part}/"), update.tolerance, part)
  assert_all_near(named["policy"], recorded.below("sequential/grad/policy/policy/"), update.tolerance, "policy")
  for part in ("aggregator", "qf1", "qf2"):
    assert_all_near(named[part], recorded.below(f"grad/critic/{part}/"), update.tolerance, part)
