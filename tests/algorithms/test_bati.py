"""BATI: its loss by hand, its table, and the latent of a new task where it is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import small_agent
from small_context_batches import KEY, PROBLEM, TASKS, one, tasks

from macaw_jax.algorithms.bati import LOG_VARIANCE_BOUND, likelihood_encoder
from macaw_jax.losses.embeddings import kl_to_standard_normal
from macaw_jax.types import LATENT

BEHAVIOUR, LATENT_SIZE, OUTCOME = 5, 2, 4  # of (s, a), z and (r, s' - s)
OTHER = tasks(seed=2)


def outcomes(transitions):
  """(r, s' - s), [..., 4]."""
  change = transitions.next_observation - transitions.observation
  return jnp.concatenate([transitions.reward[..., None], change], axis=-1)


def weighed(values):
  """The first coordinate, and the mean of the others."""
  return values[..., 0] + values[..., 1:].mean(axis=-1)


def linear_model(of_behaviour, of_latent, log_variance):
  """A network of one hidden layer that predicts mean x of_behaviour + z of_latent with one variance.

  Its rectifiers never close: eight is added before them, and taken away after.
  """
  inputs = BEHAVIOUR + LATENT_SIZE
  weights = jnp.concatenate([of_behaviour, of_latent])  # [7, 4]
  raw = jnp.arctanh(log_variance / LOG_VARIANCE_BOUND)
  return {
    "layer_0": {"kernel": jnp.eye(inputs), "bias": jnp.full(inputs, 8.0)},
    "layer_1": {
      "kernel": jnp.concatenate([weights, jnp.zeros_like(weights)], axis=1),
      "bias": jnp.concatenate([-8.0 * weights.sum(axis=0), jnp.full(OUTCOME, raw)]),
    },
  }


@pytest.fixture
def linear():
  """An agent with a linear model and a wide table: its parameters, and the latent of a context in closed form."""
  settings = {"latent_size": LATENT_SIZE, "descent_steps": 300}
  algorithm = small_agent(PROBLEM, "bati", sizes=(BEHAVIOUR + LATENT_SIZE,), encoder=settings)
  key_behaviour, key_latent = jax.random.split(KEY)
  of_behaviour = 0.3 * jax.random.normal(key_behaviour, (BEHAVIOUR, OUTCOME))
  of_latent = 0.2 * jax.random.normal(key_latent, (LATENT_SIZE, OUTCOME))
  params = algorithm.init(KEY).params
  means = jnp.array([[3.0, 1.0], [-3.0, 2.0], [1.0, -3.0], [-1.0, 3.0], [-2.0, -2.0]])
  model, table = linear_model(of_behaviour, of_latent, -0.5), params.net["table"] | {"mean": means}

  def closed_form(support, counted):
    """n C W C' z = C W sum of residuals, C [2, 4] the rows of the latent, W the weights of the outcomes."""
    behaviour = jnp.concatenate([support.observation, support.action], axis=-1)[:counted]
    residual = (outcomes(support)[:counted] - behaviour @ of_behaviour).sum(axis=0)
    weighed = of_latent @ jnp.diag(jnp.array([1.0, 1 / 3, 1 / 3, 1 / 3]))
    return jnp.linalg.solve(counted * weighed @ of_latent.T, weighed @ residual)

  return algorithm, params._replace(net=params.net | {"outcome_model": model, "table": table}), closed_form


def test_a_new_task_s_latent_is_that_of_maximum_likelihood(linear):
  algorithm, params, closed_form = linear
  supports = tasks().support
  found = jax.jit(jax.vmap(algorithm.adapt, in_axes=(None, 0, None)))(params, supports, KEY)[LATENT]
  for task in range(TASKS):
    np.testing.assert_allclose(found[task], closed_form(one(supports, task), 8), atol=5e-3)
  assert np.min(np.std(found, axis=0)) > 0.1  # they differ, and none is one of the table's
  assert np.min(np.linalg.norm(params.net["table"]["mean"][:, None] - found, axis=-1)) > 0.5


def test_it_stays_among_the_latents_that_the_policy_knows(linear):
  """Outcomes that no training task comes near: the corner of the table's box that is nearest in likelihood."""
  algorithm, params, _ = linear
  weights = params.net["outcome_model"]["layer_1"]["kernel"][BEHAVIOUR:, :OUTCOME]
  support = one(tasks().support)
  for corner in ([3.0, 3.0], [-3.0, -3.0]):
    beyond = 100.0 * jnp.linalg.pinv(weights.T @ weights) @ weights.T @ jnp.array(corner)
    moved = support._replace(next_observation=support.observation + beyond[1:], reward=jnp.full(8, beyond[0]))
    latent = algorithm.adapt(params, moved, KEY)[LATENT]
    assert np.all(np.abs(latent) <= 3.0)
    assert np.any(np.abs(latent) == 3.0)


def test_rows_that_do_not_count_are_no_evidence(linear):
  algorithm, params, closed_form = linear
  support = one(tasks().support)
  masked = support._replace(mask=(jnp.arange(8) < 5).astype(float))
  found = jax.jit(algorithm.adapt)(params, masked, KEY)[LATENT]
  np.testing.assert_allclose(found, closed_form(support, 5), atol=5e-3)
  assert np.max(np.abs(closed_form(support, 8) - closed_form(support, 5))) > 0.05


def test_without_a_row_that_counts_the_latent_is_that_of_a_training_task(linear):
  algorithm, params, _ = linear
  support = one(tasks().support)
  found = algorithm.adapt(params, support._replace(mask=jnp.zeros(8)), KEY)[LATENT]
  assert np.any(np.all(found == params.net["table"]["mean"], axis=-1))


def test_what_a_policy_does_is_no_evidence_only_what_comes_of_it(linear):
  """Other states and actions with the outcomes that the model expects of them: the same latent."""
  algorithm, params, _ = linear
  support, other = one(tasks().support), one(OTHER.support)
  model = params.net["outcome_model"]["layer_1"]["kernel"][:BEHAVIOUR, :OUTCOME]
  behaviour = [jnp.concatenate([rows.observation, rows.action], axis=-1) for rows in (support, other)]
  expected = outcomes(support) + (behaviour[1] - behaviour[0]) @ model
  moved = other._replace(reward=expected[:, 0], next_observation=other.observation + expected[:, 1:])
  latents = [algorithm.adapt(params, rows, KEY)[LATENT] for rows in (support, moved, other)]
  np.testing.assert_allclose(latents[0], latents[1], atol=5e-3)
  assert np.max(np.abs(latents[0] - latents[2])) > 0.05


def losses_of(learner_of, **encoder):
  learner, algorithm = learner_of("bati", encoder=encoder)
  return learner, algorithm.init(KEY).params.net


def test_the_loss_is_the_surprise_of_the_support_at_the_outcomes(learner_of):
  learner, net = losses_of(learner_of)
  net["outcome_model"] = jax.tree.map(jnp.zeros_like, net["outcome_model"])  # N(0, 1) for every outcome
  loss = learner.losses["outcome_loss"]
  expected = 0.5 * (weighed(outcomes(tasks().support) ** 2) + 2 * jnp.log(2 * jnp.pi))
  np.testing.assert_allclose(loss(net, tasks(), KEY)[0], expected.mean(), rtol=1e-5)
  mask = (jnp.arange(8) < 3) * jnp.ones((TASKS, 1))
  masked = tasks()._replace(support=tasks().support._replace(mask=mask))
  np.testing.assert_allclose(loss(net, masked, KEY)[0], expected[:, :3].mean(), rtol=1e-5)


def test_without_next_observations_the_outcome_is_the_reward_alone(learner_of):
  learner, net = losses_of(learner_of, next_observation=False)
  net["outcome_model"] = jax.tree.map(jnp.zeros_like, net["outcome_model"])
  expected = 0.5 * (jnp.mean(tasks().support.reward ** 2) + jnp.log(2 * jnp.pi))
  np.testing.assert_allclose(learner.losses["outcome_loss"](net, tasks(), KEY)[0], expected, rtol=1e-5)


def test_log_variances_are_bounded(learner_of):
  learner, net = losses_of(learner_of)
  exact = tasks()._replace(support=jax.tree.map(jnp.zeros_like, tasks().support))
  net["outcome_model"] = jax.tree.map(jnp.zeros_like, net["outcome_model"])
  net["outcome_model"]["layer_1"]["bias"] = jnp.array([0.0] * OUTCOME + [-1e3] * OUTCOME)
  found = learner.losses["outcome_loss"](net, exact, KEY)[0]
  np.testing.assert_allclose(found, -LOG_VARIANCE_BOUND + jnp.log(2 * jnp.pi), rtol=1e-5)


def test_the_divergence_is_of_the_tasks_of_the_batch_from_the_standard_normal(learner_of):
  learner, net = losses_of(learner_of, kl_weight=0.2)
  rows = tasks().task_index
  expected = kl_to_standard_normal(net["table"]["mean"][rows], jnp.exp(net["table"]["log_variance"][rows])).mean()
  loss, metrics = learner.losses["kl_loss"](net, tasks(), KEY)
  np.testing.assert_allclose(loss, 0.2 * expected, rtol=1e-5)
  np.testing.assert_allclose(metrics["kl"], expected, rtol=1e-5)


def test_the_actor_critic_sees_the_table_s_latents_and_no_support(learner_of):
  learner, net = losses_of(learner_of)
  batch = tasks()
  for name in ("critic_loss", "value_loss", "policy_loss"):
    loss = learner.losses[name]
    assert loss(net, batch, KEY)[0] == loss(net, batch._replace(support=OTHER.support), KEY)[0]
    assert loss(net, batch, KEY)[0] != loss(net, batch._replace(task_index=jnp.array([1, 0, 2])), KEY)[0]
    unseen = net | {"table": jax.tree.map(lambda leaf: leaf.at[jnp.array([1, 4])].add(1.0), net["table"])}
    assert loss(net, batch, KEY)[0] == loss(unseen, batch, KEY)[0]


def test_latents_of_training_are_drawn_from_the_distributions_of_the_tasks():
  encoder = likelihood_encoder(latent_size=LATENT_SIZE)(PROBLEM)
  means, deviations = 1.0 * jnp.arange(10).reshape(5, 2), jnp.linspace(0.1, 2.0, 10).reshape(5, 2)
  net = {"table": {"mean": means, "log_variance": 2.0 * jnp.log(deviations)}}
  draws = jax.vmap(lambda key: encoder.latents_of(net, tasks(), key))(jax.random.split(KEY, 4000))  # [4000, T, L]
  rows = tasks().task_index
  np.testing.assert_allclose(draws.mean(axis=0), means[rows], atol=0.1)
  np.testing.assert_allclose(draws.std(axis=0), deviations[rows], rtol=0.05)


def test_tasks_that_are_not_in_a_batch_stay_as_they_are():
  algorithm = small_agent(PROBLEM, "bati")
  state = algorithm.init(KEY)
  after, _ = algorithm.update(state, tasks(), KEY)
  for leaf, before in zip(*(jax.tree.leaves(s.params.net["table"]) for s in (after, state)), strict=True):
    np.testing.assert_array_equal(leaf[jnp.array([1, 4])], before[jnp.array([1, 4])])
    assert np.all(np.any(leaf[jnp.array([3, 0, 2])] != before[jnp.array([3, 0, 2])], axis=-1))


def test_the_prior_is_the_latent_of_a_training_task():
  algorithm = small_agent(PROBLEM, "bati")
  params = algorithm.init(KEY).params
  draws = jax.vmap(lambda key: algorithm.prior(params, key)[LATENT])(jax.random.split(KEY, 200))
  assert {tuple(np.asarray(draw)) for draw in draws} == {tuple(np.asarray(row)) for row in params.net["table"]["mean"]}
