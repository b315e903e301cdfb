"""UNICORN's parts as values: when latents have noise, whose outcomes are predicted, and by which decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_context_batches import KEY, PROBLEM, ROWS, tasks

from macaw_jax.actor_critics import iql
from macaw_jax.algorithms import metric_encoder, noisy_encoder, unicorn
from macaw_jax.algorithms.contextual import KNOWN_LATENTS, Reading
from macaw_jax.algorithms.decoders import gaussian_decoders, squared_error_decoder
from macaw_jax.networks.bounded_gaussian import soft_bounds
from macaw_jax.types import LATENT

OTHER = tasks(seed=2)
SMALL = {"hidden_sizes": (6,), "inputs": "raw"}


def noisy_net(encoder):
  """Parameters whose embeddings are far from zero."""
  params = encoder.init["encoder"](KEY)
  params["network"]["layer_1"]["kernel"] *= 300.0
  return {"encoder": params | {"log_variance": jnp.array([-9.0, -1.0, 9.0])}}


def test_latents_of_training_have_noise_before_the_tanh_and_those_of_a_new_task_have_none():
  encoder = noisy_encoder(latent_size=3, min_variance=0.2, max_variance=5.0, **SMALL)(PROBLEM)
  net, batch = noisy_net(encoder), tasks()
  embeddings = encoder.embed(net, encoder.reading.rows(net, batch.support))
  read, _ = encoder.adaptation.apply(net, {}, batch.support, KEY)
  np.testing.assert_allclose(read[LATENT], embeddings.mean(axis=1), rtol=1e-6)
  again, _ = encoder.adaptation.apply(net, {}, batch.support, jax.random.key(1))
  np.testing.assert_array_equal(read[LATENT], again[LATENT])

  # The mean of many draws is that of tanh(e + s x) by quadrature, with variances cut to [0.2, 5].
  draws = jax.vmap(lambda key: encoder.latents_of(net, batch, key))(jax.random.split(KEY, 4000))
  nodes, weights = np.polynomial.hermite_e.hermegauss(60)
  deviations = np.sqrt([0.2, np.exp(-1.0), 5.0])
  squashed = np.tanh(np.arctanh(np.asarray(embeddings, np.float64))[..., None] + deviations[:, None] * nodes)
  expected = (squashed @ (weights / weights.sum())).mean(axis=1)
  np.testing.assert_allclose(draws.mean(axis=0), expected, atol=0.02)
  assert np.max(np.abs(expected - read[LATENT])) > 0.05


def test_where_the_variance_is_cut_it_has_no_gradient():
  encoder = noisy_encoder(latent_size=3, **SMALL)(PROBLEM)
  net = noisy_net(encoder)
  gradient = jax.grad(lambda net: encoder.losses["metric_loss"](net, tasks(), KEY)[0])(net)["encoder"]["log_variance"]
  assert gradient[0] == gradient[2] == 0.0 != gradient[1]


def test_the_latents_to_start_from_have_no_noise():
  algorithm = unicorn(PROBLEM, encoder=noisy_encoder(**SMALL), actor_critic=iql(hidden_sizes=(6,)))
  state, _ = algorithm.update(algorithm.init(KEY), tasks(), KEY)
  read = jax.vmap(lambda support: algorithm.adapt(state.params, support, KEY)[LATENT])(tasks().support)
  np.testing.assert_allclose(state.params.net[KNOWN_LATENTS][tasks().task_index], read, atol=1e-6)


def test_two_supports_of_one_task_attract():
  encoder = noisy_encoder(latent_size=3, repulsion=0.0, metric_weight=2.0, **SMALL)(PROBLEM)
  net, batch = noisy_net(encoder), tasks()
  loss = encoder.losses["metric_loss"]
  assert loss(net, batch, KEY)[0] == 0.0
  twice = batch._replace(task_index=jnp.array([3, 0, 3]))
  latents = encoder.latents_of(net, batch, KEY)
  expected = 2.0 * np.sqrt(np.mean((latents[0] - latents[2]) ** 2) + 1e-3) / 1.001
  np.testing.assert_allclose(loss(net, twice, KEY)[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
  "wrong",
  [
    *({name: value} for name in ("metric_weight", "repulsion") for value in (-1.0, np.nan)),
    *({name: value} for name in ("repulsion_offset", "min_variance", "max_variance") for value in (0.0, np.nan)),
    {"max_variance": 0.05},
    {"hidden_sizes": ()},
    {"latent_size": 0},
  ],
)
def test_settings_that_make_no_sense_are_refused_by_name(wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    noisy_encoder(**wrong)


def test_other_inputs_than_two_are_refused():
  with pytest.raises(ValueError, match="inputs"):
    noisy_encoder(inputs="best")(PROBLEM)


def reconstruction(learner_and_net, batch):
  learner, net = learner_and_net
  return float(learner.losses["reconstruction_loss"](net, batch, KEY)[0])


@pytest.mark.parametrize(
  ("predicts", "read", "unread"), [("query", "query", "support"), ("context", "support", "query")]
)
def test_outcomes_are_those_of_the_query_or_of_the_context(learner_of, predicts, read, unread):
  learner, algorithm = learner_of("unicorn", predicts=predicts)
  net = algorithm.init(KEY).params.net
  # A decoder that predicts zero sees nothing of the latent.
  case = learner, net | {"decoder": jax.tree.map(jnp.zeros_like, net["decoder"])}
  assert reconstruction(case, tasks()) == reconstruction(case, tasks()._replace(**{unread: getattr(OTHER, unread)}))
  assert reconstruction(case, tasks()) != reconstruction(case, tasks()._replace(**{read: getattr(OTHER, read)}))


def test_rows_that_do_not_count_are_not_predicted(learner_of):
  learner, algorithm = learner_of("unicorn", predicts="context")
  case = learner, algorithm.init(KEY).params.net
  batch, valid = tasks(), 5
  masked = batch.support._replace(mask=jnp.broadcast_to(jnp.arange(ROWS) < valid, (3, ROWS)).astype(float))
  alone = jax.tree.map(lambda leaf: leaf[:, :valid], batch.support)
  expected = reconstruction(case, batch._replace(support=alone))
  np.testing.assert_allclose(reconstruction(case, batch._replace(support=masked)), expected, rtol=1e-5)
  assert abs(expected - reconstruction(case, batch)) > 0.01


@pytest.mark.parametrize("next_observation", [True, False])
def test_gaussian_decoders_by_hand(next_observation):
  """Networks of zeros: means and log variances before the bounds are zero."""
  reading = Reading(PROBLEM, next_observation)
  decoder = gaussian_decoders(bound_weight=0.1)(reading, 4, (6,))
  params = decoder.init(KEY)
  assert params.keys() == ({"reward", "state"} if next_observation else {"reward"})
  params = {name: of | {"network": jax.tree.map(jnp.zeros_like, of["network"])} for name, of in params.items()}
  inputs, outcomes = (
    jnp.ones((2, 9)),
    jnp.array([[3.0, 1.0, 2.0, -1.0], [0.0, 0.0, 0.0, 0.0]])[:, : reading.outcome_size],
  )
  np.testing.assert_array_equal(decoder.predict(params, inputs), jnp.zeros_like(outcomes))
  log_variance = float(soft_bounds(jnp.zeros(()), jnp.array(-10.0), jnp.array(0.5)))
  size = 3 if next_observation else 0
  errors = np.array([9.0 + (2.0 if next_observation else 0.0), 0.0])  # 3^2, and the mean of 1, 4 and 1
  expected = errors * np.exp(-log_variance) + (2 if next_observation else 1) * log_variance + 0.1 * 10.5 * (1 + size)
  np.testing.assert_allclose(decoder.errors(params, inputs, outcomes), expected, rtol=1e-5)


def test_a_gaussian_decoder_of_another_weight_is_refused():
  with pytest.raises(ValueError, match="bound_weight"):
    gaussian_decoders(bound_weight=-1.0)


def test_decoders_go_with_either_encoder():
  for encoder in (metric_encoder(hidden_sizes=(6,)), noisy_encoder(**SMALL)):
    for decoder in (squared_error_decoder, gaussian_decoders()):
      algorithm = unicorn(PROBLEM, encoder=encoder, decoder=decoder, actor_critic=iql(hidden_sizes=(6,)))
      shapes = jax.eval_shape(algorithm.update, algorithm.init(KEY), tasks(), KEY)
      assert shapes[1]["reconstruction_error"].shape == ()
