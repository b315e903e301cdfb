"""The losses of encoders, by value: which rows they compare, and which they leave alone."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_context_batches import KEY, ROWS, TASKS, tasks

from macaw_jax.algorithms.contextual import SCALE
from macaw_jax.losses.embeddings import pairwise_metric, released_metric
from macaw_jax.types import LATENT

HALF = ROWS // 2
OTHER = tasks(seed=2)


def redrawn(tree, seed=0, size=0.7):
  """The same tree of random numbers: encoders start with outputs near zero, and nothing would be seen of them."""
  leaves, treedef = jax.tree.flatten(tree)
  keys = jax.random.split(jax.random.key(seed), len(leaves))
  return jax.tree.unflatten(
    treedef, [size * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
  )


@pytest.fixture
def agent(learner_of):
  """`(name, trained, **settings) -> (net, losses, infer)`: with `trained` parts redrawn, and rows read as they are.

  A loss is `(net, tasks) -> number`, and `infer` is `(net, context) -> latents`.
  """

  def build(name, *trained, **settings):
    learner, algorithm = learner_of(name, **settings)
    net = algorithm.init(KEY).params.net
    assert net[SCALE].count == 0

    def infer(net, rows):
      return learner.encoder.apply(net, {}, rows, KEY)[0][LATENT]

    losses = {name: lambda net, tasks, loss=loss: loss(net, tasks, KEY)[0] for name, loss in learner.losses.items()}
    return net | {part: redrawn(net[part]) for part in trained}, losses, infer

  return build


def rows_of(transitions, rows):
  return jax.tree.map(lambda leaf: leaf[:, rows], transitions)


def with_rows_of(transitions, others, rows):
  """The transitions, with these rows of every task from others."""
  return jax.tree.map(
    lambda leaf, other: leaf.at[:, jnp.array(rows)].set(other[:, jnp.array(rows)]), transitions, others
  )


def of_task(batch, index):
  return jax.tree.map(lambda leaf: leaf[index : index + 1], batch)


def embeddings(infer, net, transitions):
  """Of each transition [T, C, ...] alone: [T, C, L]."""
  single = jax.tree.map(lambda leaf: leaf.reshape(-1, 1, *leaf.shape[2:]), transitions)
  return infer(net, single).reshape(*transitions.reward.shape, -1)


def size_of_outcomes(transitions):
  """The error of a prediction that is zero."""
  change = transitions.next_observation - transitions.observation
  return jnp.mean(transitions.reward**2) + jnp.mean(change**2)


def test_the_metric_loss_compares_the_halves_of_every_support(agent):
  net, losses, infer = agent(
    "focal", "encoder", encoder={"metric_weight": 3.0, "repulsion": 2.0, "repulsion_offset": 0.3}
  )
  batch = tasks()
  halves = [infer(net, rows_of(batch.support, rows)) for rows in (slice(HALF), slice(HALF, ROWS))]
  labels = jnp.array([0, 1, 2, 0, 1, 2])
  expected = pairwise_metric(jnp.concatenate(halves), labels, weight=3.0, repulsion=2.0, epsilon=0.3)
  np.testing.assert_allclose(losses["metric_loss"](net, batch), expected, rtol=1e-5)


@pytest.mark.parametrize(("num_contexts", "ends"), [(1, (0, 8)), (2, (0, 4, 8)), (3, (0, 2, 5, 8))])
def test_the_metric_loss_compares_as_many_contexts_of_a_support_as_wanted(agent, num_contexts, ends):
  settings = {"contexts_per_task": num_contexts, "metric": released_metric}
  net, losses, infer = agent("focal", "encoder", encoder=settings)
  batch = tasks()
  latents = [infer(net, rows_of(batch.support, slice(*pair))) for pair in itertools.pairwise(ends)]
  labels = jnp.tile(batch.task_index, num_contexts)
  expected = released_metric(jnp.concatenate(latents), labels)
  np.testing.assert_allclose(losses["metric_loss"](net, batch), expected, rtol=1e-5)


def test_without_repulsion_the_metric_loss_is_how_far_the_halves_of_a_task_lie_apart(agent):
  net, losses, infer = agent("focal", "encoder", encoder={"metric_weight": 3.0, "repulsion": 0.0})
  batch = tasks()
  first, second = (infer(net, rows_of(batch.support, rows)) for rows in (slice(HALF), slice(HALF, ROWS)))
  loss = losses["metric_loss"]
  np.testing.assert_allclose(loss(net, batch), 3.0 * jnp.mean((first - second) ** 2), rtol=1e-5)
  assert loss(net, batch) > 0.01
  # Second halves that went to the next task.
  swapped = with_rows_of(
    batch.support, jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), batch.support), range(HALF, ROWS)
  )
  expected = 3.0 * jnp.mean((first - jnp.roll(second, 1, axis=0)) ** 2)
  np.testing.assert_allclose(loss(net, batch._replace(support=swapped)), expected, rtol=1e-5)
  assert abs(expected - loss(net, batch)) > 0.01


def test_the_divergence_of_pearl_is_that_of_the_belief_from_the_support_alone(agent):
  net, losses, _ = agent("pearl_offline", "encoder")
  batch, loss = tasks(), losses["kl_loss"]
  assert loss(net, batch) == loss(net, batch._replace(query=OTHER.query))
  assert loss(net, batch) != loss(net, batch._replace(support=OTHER.support))


@pytest.mark.parametrize(
  ("factory", "name", "network", "arguments"),
  [
    ("unicorn", "reconstruction_loss", "decoder", {"reconstruction_weight": 1.0}),
    ("corro", "generator_loss", "generator", {"encoder": {"negatives": "generator"}}),
  ],
)
def test_outcomes_are_predicted_of_the_query(agent, factory, name, network, arguments):
  net, losses, _ = agent(factory, "encoder", **arguments)
  net[network] = jax.tree.map(jnp.zeros_like, net[network])  # predicts zero; the generator's belief is its prior
  for batch in (tasks(), tasks()._replace(query=OTHER.query)):
    np.testing.assert_allclose(losses[name](net, batch), size_of_outcomes(batch.query), rtol=1e-5)
    assert abs(size_of_outcomes(batch.query) - size_of_outcomes(batch.support)) > 0.01


def test_unicorn_predicts_from_behaviour_and_the_latent_of_the_support(agent):
  net, losses, infer = agent("unicorn", "encoder", "decoder")
  batch, loss = tasks(), losses["reconstruction_loss"]
  reordered = jax.tree.map(lambda leaf: leaf[:, ::-1], batch.support)
  np.testing.assert_allclose(infer(net, reordered), infer(net, batch.support), atol=1e-6)
  np.testing.assert_allclose(loss(net, batch._replace(support=reordered)), loss(net, batch), rtol=1e-5)
  elsewhere = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), batch.support)
  assert abs(loss(net, batch._replace(support=elsewhere)) - loss(net, batch)) > 0.01


def test_relabelled_contexts_must_be_read_as_the_task_of_their_rewards(agent):
  net, losses, infer = agent(
    "unicorn", "encoder", "decoder", triplet_weight=2.0, triplet_margin=5.0, encoder={"metric_weight": 0.0}
  )
  rows, loss = tasks().support, losses["triplet_loss"]
  other = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), rows)
  latents = infer(net, rows)
  behaviour = jnp.concatenate([other.observation, other.action], axis=-1)
  inputs = jnp.concatenate([behaviour, jnp.repeat(latents[:, None], ROWS, axis=1)], axis=-1)
  hidden, layers = inputs, net["decoder"]
  for name in sorted(layers):
    hidden = (jax.nn.relu(hidden) if name != "layer_0" else hidden) @ layers[name]["kernel"] + layers[name]["bias"]
  anchor = infer(net, other._replace(reward=hidden[..., 0]))
  to_positive, to_negative = (jnp.mean((anchor - end) ** 2, axis=-1) for end in (latents, infer(net, other)))
  np.testing.assert_allclose(loss(net, tasks()), 2.0 * jnp.mean(to_positive - to_negative + 5.0), rtol=1e-5)
  assert jnp.std(to_positive - to_negative) > 0.01
  assert loss(net, tasks()) == loss(net, tasks()._replace(query=OTHER.query))


def test_the_information_of_csro_is_within_a_task_and_averaged_over_tasks(agent):
  net, losses, _ = agent("csro", "encoder", "behaviour_model")
  batch, loss = tasks(), losses["information_loss"]
  alone = [loss(net, of_task(batch, index)) for index in range(TASKS)]
  np.testing.assert_allclose(loss(net, batch), np.mean(alone), rtol=1e-4)
  assert np.std(alone) > 0.01


def test_the_behaviour_model_of_csro_is_scored_on_the_embedding_of_every_transition(agent):
  net, losses, infer = agent("csro", "encoder")
  net["behaviour_model"] = jax.tree.map(jnp.zeros_like, net["behaviour_model"])  # N(0, I) for every behaviour
  squares = jnp.sum(embeddings(infer, net, tasks().support) ** 2 + jnp.log(2 * jnp.pi), axis=-1)
  np.testing.assert_allclose(losses["behaviour_model_loss"](net, tasks()), 0.5 * jnp.mean(squares), rtol=1e-5)


def contrast_with_copies(queries, positives, *, count, temperature):
  """InfoNCE whose negatives are embedded as the query itself is."""
  likeness = jnp.exp(jnp.sum(queries * positives, axis=-1) / temperature)
  return jnp.mean(-jnp.log(likeness / (likeness + count * jnp.exp(1.0 / temperature))))


CONTRAST = {"queries_per_task": 2, "num_negatives": 3, "contrastive_temperature": 0.5}


@pytest.mark.parametrize("negatives", ["reward_noise", "generator"])
def test_negatives_have_the_state_and_the_action_of_their_query(agent, negatives):
  net, losses, infer = agent("corro", "encoder", encoder={"negatives": negatives, **CONTRAST})
  kernel = net["encoder"]["layer_0"]["kernel"]
  blind = kernel.at[5:].set(0.0)  # to reward and change: all that it reads of a negative is the query's
  net["encoder"] = net["encoder"] | {"layer_0": net["encoder"]["layer_0"] | {"kernel": blind}}
  found = embeddings(infer, net, tasks().support)
  expected = contrast_with_copies(found[:, :2], found[:, HALF : HALF + 2], count=3, temperature=0.5)
  np.testing.assert_allclose(losses["contrastive_loss"](net, tasks()), expected, rtol=1e-5)


def test_positives_are_other_transitions_of_the_task(agent):
  net, losses, infer = agent("corro", "encoder", encoder={"reward_noise": 1e-9, **CONTRAST})
  batch, loss = tasks(), losses["contrastive_loss"]
  found = embeddings(infer, net, batch.support)
  expected = contrast_with_copies(found[:, :2], found[:, HALF : HALF + 2], count=3, temperature=0.5)
  np.testing.assert_allclose(loss(net, batch), expected, rtol=1e-5)

  def with_other(rows):
    return loss(net, batch._replace(support=with_rows_of(batch.support, OTHER.support, rows)))

  queries, positives, left_alone = (0, 1), (HALF, HALF + 1), (2, 3, HALF + 2, HALF + 3)
  assert abs(with_other(queries) - loss(net, batch)) > 0.01
  assert abs(with_other(positives) - loss(net, batch)) > 0.01
  assert with_other(left_alone) == loss(net, batch) == loss(net, batch._replace(query=OTHER.query))


def test_outcomes_tell_negatives_from_their_query(agent):
  net, losses, _ = agent("corro", "encoder", encoder=CONTRAST)
  _, quiet, _ = agent("corro", encoder={"reward_noise": 1e-9, **CONTRAST})
  assert losses["contrastive_loss"](net, tasks()) < quiet["contrastive_loss"](net, tasks()) - 0.01
