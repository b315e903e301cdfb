import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.losses import embeddings as losses
from macaw_jax.losses.values import squared_error
from macaw_jax.networks.encoders import Gaussian

KEY = jax.random.key(0)
PAIR = jnp.array([[0.6, 0.8], [0.0, 0.0]])  # Squared norm of the difference 1, mean of squares 0.5.
SAME, DIFFERENT = jnp.array([3, 3]), jnp.array([3, 4])


# Beliefs


def test_kl_by_hand():
  # (0.25 + 1 - 1 - log 0.25 + 2 + 4 - 1 - log 2) / 2, and log 0.25 + log 2 = -log 2.
  gaussian = Gaussian(jnp.array([1.0, -2.0]), jnp.array([0.25, 2.0]))
  np.testing.assert_allclose(losses.kl_to_standard_normal(*gaussian), (5.25 + np.log(2.0)) / 2.0, rtol=1e-6)


def test_kl_of_the_standard_normal_is_zero_and_of_all_others_positive():
  assert losses.kl_to_standard_normal(jnp.zeros(5), jnp.ones(5)) == 0.0
  mean, variance = jax.random.normal(KEY, (50, 5)), jax.random.uniform(KEY, (50, 5), minval=0.1, maxval=3.0)
  assert np.all(losses.kl_to_standard_normal(mean, variance) > 0.0)


def test_kl_is_one_number_for_each_belief():
  mean, variance = jax.random.normal(KEY, (3, 4, 2)), jnp.full((3, 4, 2), 0.5)
  whole = losses.kl_to_standard_normal(mean, variance)
  assert whole.shape == (3, 4)
  np.testing.assert_allclose(whole[1, 2], losses.kl_to_standard_normal(mean[1, 2], variance[1, 2]), rtol=1e-6)
  # Summed over tasks, as PEARL does, twice the tasks are twice the loss.
  twice = losses.kl_to_standard_normal(jnp.tile(mean, (2, 1, 1)), jnp.tile(variance, (2, 1, 1)))
  np.testing.assert_allclose(jnp.sum(twice), 2.0 * jnp.sum(whole), rtol=1e-6)


def test_generator_loss_is_zero_for_a_perfect_decoder_and_an_empty_latent():
  outcome = jax.random.normal(KEY, (8, 3))
  belief = Gaussian(jnp.zeros((8, 2)), jnp.ones((8, 2)))
  loss = squared_error(outcome, outcome) + 0.2 * jnp.mean(losses.kl_to_standard_normal(*belief))
  assert loss == 0.0


# Metric learning

PAPER = {"weight": 2.0, "repulsion": 0.25, "epsilon": 0.05}  # its equation for L = 2, with an epsilon of 0.1


METRICS = [losses.pairwise_metric, losses.released_metric]


@pytest.mark.parametrize(
  ("metric", "labels", "options", "expected"),
  [
    (losses.pairwise_metric, DIFFERENT, {}, 16.66667),  # 10 / (0.5 + 0.1)
    (losses.pairwise_metric, DIFFERENT, {"weight": 1.0}, 1.666667),
    (losses.released_metric, DIFFERENT, {"weight": 1.0}, 1.665002),  # over 1.001 pairs
    (losses.released_metric, DIFFERENT, {}, 16.65002),
    (losses.pairwise_metric, DIFFERENT, {"weight": 1.0, "repulsion": 3.0, "epsilon": 0.5}, 3.0),  # 3 / (0.5 + 0.5)
    (losses.released_metric, DIFFERENT, {"weight": 1.001, "repulsion": 3.0, "epsilon": 0.5}, 3.0),
    (losses.pairwise_metric, DIFFERENT, PAPER, 0.909091),  # 1 / (1 + 0.1)
    (losses.pairwise_metric, SAME, {}, 5.0),
    (losses.pairwise_metric, SAME, PAPER, 1.0),
    (losses.released_metric, SAME, {"weight": 1.001}, 0.707814),  # sqrt(0.501)
    (losses.released_metric, SAME, {"weight": 1.0}, 0.707107),
  ],
)
def test_metric_of_one_pair_by_hand(metric, labels, options, expected):
  np.testing.assert_allclose(metric(PAIR, labels, **options), expected, rtol=1e-6)


def test_metric_of_several_pairs_is_the_mean_over_each_kind():
  latents = jnp.array([[0.0], [1.0], [3.0], [7.0]])
  # Same task: (0, 3), distance 49, and (1, 2), distance 4. Different: 1, 9, 36, 16.
  attraction = (49.0 + 4.0) / 2.0
  repulsion = (1 / 1.1 + 1 / 9.1 + 1 / 36.1 + 1 / 16.1) / 4.0
  loss = losses.pairwise_metric(latents, jnp.array([0, 1, 1, 0]), weight=1.0)
  np.testing.assert_allclose(loss, attraction + repulsion, rtol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_without_pairs_of_a_kind_its_term_is_exactly_zero(metric):
  latents = jax.random.normal(KEY, (6, 3))
  assert metric(latents, jnp.arange(6), repulsion=0.0) == 0.0
  alike = [metric(latents, jnp.zeros(6, int), repulsion=beta) for beta in (0.0, 1e6)]
  assert alike[0] == alike[1] > 0.0
  assert metric(latents[:1], jnp.zeros(1, int)) == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_metric_does_not_depend_on_order_or_origin(metric):
  latents, labels = jax.random.normal(KEY, (6, 3)), jnp.array([0, 1, 1, 2, 0, 3])
  loss = metric(latents, labels)
  order = np.array([4, 2, 5, 0, 1, 3])
  np.testing.assert_allclose(metric(latents[order], labels[order]), loss, rtol=1e-5)
  np.testing.assert_allclose(metric(latents + 2.0, labels), loss, rtol=1e-4)


def test_descent_parts_different_tasks_and_joins_equal_ones():
  apart = jax.grad(losses.pairwise_metric)(PAIR, DIFFERENT)
  direction = PAIR[0] - PAIR[1]
  cosine = jnp.dot(apart[0], direction) / jnp.linalg.norm(apart[0])
  np.testing.assert_allclose(cosine, -1.0, rtol=1e-5)
  np.testing.assert_allclose(apart[1], -apart[0], rtol=1e-6)
  together = jax.grad(losses.pairwise_metric)(PAIR, SAME)
  # 10 d/dz of mean (z_1 - z_2)^2 = 10 (z_1 - z_2).
  np.testing.assert_allclose(together, [10.0 * direction, -10.0 * direction], rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_metric_has_a_gradient_of_zero_where_embeddings_agree(metric):
  gradient = jax.grad(metric)(jnp.ones((4, 3)), jnp.array([0, 0, 1, 2]))
  np.testing.assert_array_equal(gradient, np.zeros((4, 3)))


def test_metric_gives_the_same_under_jit_and_vmap_with_traced_hyper_parameters():
  latents, labels = jax.random.normal(KEY, (3, 6, 4)), jnp.array([[0, 0, 1, 1, 2, 3]] * 3)
  options = {"repulsion": 2.0, "epsilon": 0.3, "weight": 4.0}
  expected = [losses.pairwise_metric(*rows, **options) for rows in zip(latents, labels, strict=True)]
  traced = jax.jit(jax.vmap(lambda z, y, options: losses.pairwise_metric(z, y, **options), (0, 0, None)))
  np.testing.assert_allclose(traced(latents, labels, options), expected, rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_a_potential_without_a_bound_is_refused(metric):
  with pytest.raises(ValueError, match=r"epsilon=0\.0"):
    metric(PAIR, SAME, epsilon=0.0)


@pytest.mark.parametrize("metric", METRICS)
def test_as_many_labels_as_embeddings_are_needed(metric):
  with pytest.raises(AssertionError):
    metric(PAIR, jnp.zeros(3, int))


# Contrast

QUERY = jnp.array([1.0, 0.0])
NEGATIVES = jnp.array([[0.0, 1.0], [-1.0, 0.0]])


def unit(key, *shape):
  vectors = jax.random.normal(key, shape)
  return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)


def contrast(seed=1):
  keys = jax.random.split(jax.random.key(seed), 3)
  return unit(keys[0], 5, 4), unit(keys[1], 5, 4), unit(keys[2], 5, 16, 4)


@pytest.mark.parametrize(
  ("temperature", "expected"),
  [
    (1.0, 0.407606),  # log(1 + e^-1 + e^-2)
    (0.1, 4.540096e-5),  # log(1 + e^-10 + e^-20)
    (0.01, 3.720076e-44),
  ],
)
def test_info_nce_by_hand(temperature, expected):
  loss = losses.info_nce(QUERY, QUERY, NEGATIVES, temperature=temperature)
  # The last is below the smallest normal float32, and may be flushed to zero.
  np.testing.assert_allclose(loss, expected, rtol=2e-6, atol=1e-38)


def test_info_nce_of_equal_embeddings_is_the_log_of_their_number():
  rows = unit(KEY, 5, 4)
  loss = losses.info_nce(rows, rows, jnp.repeat(rows[:, None], 16, axis=1), temperature=0.1)
  np.testing.assert_allclose(loss, 2.833213, rtol=1e-5)


def test_info_nce_is_the_cross_entropy_averaged_over_queries():
  query, positive, negatives = contrast()
  expected = []
  for q, k, others in zip(*(np.asarray(array, np.float64) for array in contrast()), strict=True):
    logits = np.array([q @ k, *(others @ q)]) / 0.3
    expected.append(-np.log(np.exp(logits[0]) / np.exp(logits).sum()))
  np.testing.assert_allclose(losses.info_nce(query, positive, negatives, temperature=0.3), np.mean(expected), rtol=1e-5)
  assert min(expected) > 0.0


def test_info_nce_falls_as_a_negative_leaves_and_rises_as_the_positive_does():
  def at(positive_angle, negative_angle):
    point = lambda angle: jnp.array([jnp.cos(angle), jnp.sin(angle)])  # noqa: E731
    return losses.info_nce(QUERY, point(positive_angle), jnp.stack([point(negative_angle)]), temperature=0.5)

  assert at(0.5, 1.0) > at(0.5, 1.5) > at(0.5, 3.0)
  assert at(0.1, 1.0) < at(0.5, 1.0) < at(2.0, 1.0)


def test_info_nce_ignores_a_common_rotation_and_the_order_of_negatives():
  query, positive, negatives = contrast()
  loss = losses.info_nce(query, positive, negatives, temperature=0.1)
  rotation, _ = jnp.linalg.qr(jax.random.normal(KEY, (4, 4)))
  rotated = losses.info_nce(query @ rotation, positive @ rotation, negatives @ rotation, temperature=0.1)
  np.testing.assert_allclose(rotated, loss, rtol=1e-4)
  np.testing.assert_allclose(losses.info_nce(query, positive, negatives[:, ::-1], temperature=0.1), loss, rtol=1e-5)


def test_info_nce_trains_query_positive_and_negatives():
  gradients = jax.jit(jax.grad(lambda *rows: losses.info_nce(*rows, temperature=0.1), (0, 1, 2)))(*contrast())
  for gradient in gradients:
    assert np.isfinite(gradient).all()
    assert np.any(gradient != 0.0)


def test_contrast_of_other_shapes_or_temperatures_is_refused():
  query, positive, negatives = contrast()
  with pytest.raises(AssertionError):
    losses.info_nce(query, positive, negatives[0], temperature=0.1)
  with pytest.raises(ValueError, match=r"temperature=0.0 must be positive"):
    losses.info_nce(query, positive, negatives, temperature=0.0)


# Mutual information


def correlated(correlation, num=20_000):
  """Latents of unit variance, the mean of their true conditional, and its log variance."""
  condition, noise = jax.random.normal(KEY, (2, num, 1))
  log_variance = jnp.log(1.0 - jnp.square(correlation))
  latents = correlation * condition + jnp.exp(0.5 * log_variance) * noise
  return correlation * condition, jnp.full((num, 1), log_variance), latents


def test_triplet_by_hand():
  # Distances 1 and 4 of the first, 4 and 1 of the second: max(0, 1 - 4 + 2) = 0 and 4 - 1 + 2 = 5.
  anchor = jnp.zeros((2, 2))
  positive, negative = jnp.array([[1.0, 1.0], [2.0, -2.0]]), jnp.array([[-2.0, 2.0], [1.0, 1.0]])
  np.testing.assert_allclose(losses.triplet_loss(anchor, positive, negative, margin=2.0), 2.5, rtol=1e-6)
  np.testing.assert_allclose(losses.triplet_loss(anchor, positive, negative, margin=4.0), 4.0, rtol=1e-6)
  slope = jax.grad(lambda positive: losses.triplet_loss(anchor, positive, negative, margin=2.0))(positive)
  np.testing.assert_allclose(slope, [[0.0, 0.0], [1.0, -1.0]], rtol=1e-6)


def test_likelihood_by_hand():
  # log N(1; 0, 1) = -(log 2 pi + 1) / 2 and log N(2; 0, 4) = -(log 2 pi + log 4 + 1) / 2, for one row.
  nll = losses.gaussian_negative_log_likelihood(
    jnp.zeros((1, 2)), jnp.log(jnp.array([[1.0, 4.0]])), jnp.array([[1.0, 2.0]])
  )
  np.testing.assert_allclose(nll, np.log(2 * np.pi) + np.log(2.0) + 1.0, rtol=1e-6)


def test_likelihood_sums_coordinates_averages_rows_and_is_least_at_the_truth():
  mean, log_variance, latents = (jnp.reshape(array, (100, 10, 20)) for array in correlated(0.8))
  whole = losses.gaussian_negative_log_likelihood(mean, log_variance, latents)
  rows = [losses.gaussian_negative_log_likelihood(mean[i], log_variance[i], latents[i]) for i in range(100)]
  np.testing.assert_allclose(whole, np.mean(rows), rtol=1e-5)
  # The entropy of each of 20 coordinates is log(2 pi e 0.36) / 2.
  np.testing.assert_allclose(whole, 10.0 * np.log(2 * np.pi * np.e * 0.36), rtol=0.02)
  assert losses.gaussian_negative_log_likelihood(mean + 0.1, log_variance, latents) > whole
  assert losses.gaussian_negative_log_likelihood(mean, log_variance + 0.2, latents) > whole
  assert losses.gaussian_negative_log_likelihood(mean, log_variance - 0.2, latents) > whole


def test_club_by_hand():
  # Variances 1. z_1 at its mean 0, z_2 = 2 one off its mean 1. Squares to own mean 0, 1; over all pairs (0 + 4) / 2 and
  # (1 + 1) / 2. Half the mean of 2 - 0 and 1 - 1.
  bound = losses.club_upper_bound(jnp.array([[0.0], [1.0]]), jnp.zeros((2, 1)), jnp.array([[0.0], [2.0]]))
  np.testing.assert_allclose(bound, 0.5, rtol=1e-6)


def test_club_is_the_double_sum_over_all_pairs():
  keys = jax.random.split(KEY, 3)
  inputs = [scale * jax.random.normal(key, (12, 3)) for key, scale in zip(keys, (1.0, 0.7, 2.0), strict=True)]
  mean, log_variance, latents = (np.asarray(array, np.float64) for array in inputs)

  def log_density(i, j):
    squares = np.square(latents[j] - mean[i]) / np.exp(log_variance[i])
    return -0.5 * np.sum(squares + log_variance[i] + np.log(2 * np.pi))

  own = np.mean([log_density(i, i) for i in range(12)])
  pairs = np.mean([log_density(i, j) for i in range(12) for j in range(12)])
  np.testing.assert_allclose(losses.club_upper_bound(*inputs), own - pairs, rtol=1e-4)
  np.testing.assert_allclose(jax.jit(losses.club_upper_bound)(*inputs), own - pairs, rtol=1e-4)


@pytest.mark.parametrize("correlation", [0.3, 0.6, 0.9])
def test_club_with_the_true_conditional_is_above_the_mutual_information(correlation):
  bound = losses.club_upper_bound(*correlated(correlation))
  information = -0.5 * np.log(1.0 - correlation**2)
  assert bound > information
  # The expectation: half of (1 + rho^2) - (1 - rho^2), over 1 - rho^2.
  np.testing.assert_allclose(bound, correlation**2 / (1.0 - correlation**2), rtol=0.06)


def test_club_of_independent_latents_is_about_zero():
  _, log_variance, latents = correlated(0.0)
  unrelated = jax.random.normal(jax.random.key(5), latents.shape)
  np.testing.assert_allclose(losses.club_upper_bound(unrelated, log_variance, latents), 0.0, atol=0.05)


def test_club_stays_exact_far_from_the_origin():
  mean, log_variance, latents = correlated(0.6, num=200)
  expected = losses.club_upper_bound(mean, log_variance, latents)
  shifted = losses.club_upper_bound(mean + 1000.0, log_variance, latents + 1000.0)
  np.testing.assert_allclose(shifted, expected, rtol=1e-3)


def test_minimising_club_moves_latents_away_from_what_predicts_them():
  mean, log_variance, latents = correlated(0.9, num=500)
  gradient = jax.grad(losses.club_upper_bound, 2)(mean, log_variance, latents)
  assert np.isfinite(gradient).all()
  before = losses.club_upper_bound(mean, log_variance, latents)
  assert losses.club_upper_bound(mean, log_variance, latents - 10.0 * gradient) < before


def test_latents_of_another_number_are_refused():
  with pytest.raises(AssertionError):
    losses.club_upper_bound(jnp.zeros((4, 2)), jnp.zeros((4, 2)), jnp.zeros((1, 2)))
