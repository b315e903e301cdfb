import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.networks.encoders import (
  Gaussian,
  attention_pool,
  gaussian_factors,
  mean_pool,
  normalise_to_sphere,
  product_of_gaussians,
  sample_gaussian,
  transition_encoder,
)
from macaw_jax.networks.linen import as_network
from macaw_jax.networks.mlp import MLP

KEY = jax.random.key(0)
T, C, L = 3, 6, 4


# Each pool reads means, positive numbers and scores of the same context, and gives one array.
def product_mean(mean, variance, scores, mask=None):
  return product_of_gaussians(mean, variance, mask).mean


def product_variance(mean, variance, scores, mask=None):
  return product_of_gaussians(mean, variance, mask).variance


def average(mean, variance, scores, mask=None):
  return mean_pool(mean, mask)


def attention(mean, variance, scores, mask=None):
  return attention_pool(mean, scores, mask)


POOLS = [product_mean, product_variance, average, attention]
every_pool = pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool.__name__)


def context(seed=1, leading=(T,)):
  keys = jax.random.split(jax.random.key(seed), 3)
  mean = jax.random.normal(keys[0], (*leading, C, L))
  variance = jax.random.uniform(keys[1], (*leading, C, L), minval=0.1, maxval=2.0)
  return mean, variance, jax.random.normal(keys[2], (*leading, C))


def reference(mean, variance):
  mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
  total = np.sum(1.0 / variance, axis=-2)
  return np.sum(mean / variance, axis=-2) / total, 1.0 / total


def test_one_factor_is_its_own_product():
  mean, variance = jnp.array([[1.5, -2.0]]), jnp.array([[0.3, 7.0]])
  product = product_of_gaussians(mean, variance)
  np.testing.assert_allclose(product.mean, mean[0], rtol=1e-6)
  np.testing.assert_allclose(product.variance, variance[0], rtol=1e-6)


def test_product_of_two_factors_by_hand():
  # Precisions 2 and 4: variance 1/6, mean (2 * 1 + 4 * 3) / 6.
  product = product_of_gaussians(jnp.array([[1.0], [3.0]]), jnp.array([[0.5], [0.25]]))
  np.testing.assert_allclose(product.mean, [7.0 / 3.0], rtol=1e-6)
  np.testing.assert_allclose(product.variance, [1.0 / 6.0], rtol=1e-6)


@pytest.mark.parametrize("copies", [2, 1024])
def test_copies_of_a_factor_keep_its_mean_and_divide_its_variance(copies):
  product = product_of_gaussians(jnp.full((copies, 1), -0.7), jnp.full((copies, 1), 0.4))
  np.testing.assert_allclose(product.mean, [-0.7], rtol=1e-5)
  np.testing.assert_allclose(product.variance, [0.4 / copies], rtol=1e-5)


def test_product_of_a_whole_batch_is_that_of_its_precisions():
  mean, variance, _ = context(leading=(2, T))
  product = product_of_gaussians(mean, variance)
  expected_mean, expected_variance = reference(mean, variance)
  np.testing.assert_allclose(product.mean, expected_mean, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(product.variance, expected_variance, rtol=1e-5)


def test_product_of_two_contexts_is_the_product_of_their_products():
  mean, variance, _ = context()
  halves = [product_of_gaussians(mean[:, rows], variance[:, rows]) for rows in (slice(0, 2), slice(2, C))]
  joined = product_of_gaussians(*(jnp.stack(field, axis=-2) for field in zip(*halves, strict=True)))
  whole = product_of_gaussians(mean, variance)
  np.testing.assert_allclose(joined.mean, whole.mean, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(joined.variance, whole.variance, rtol=1e-5)


def test_product_is_narrower_than_every_factor():
  mean, variance, _ = context()
  assert np.all(product_of_gaussians(mean, variance).variance < jnp.min(variance, axis=-2))


def test_product_of_the_most_certain_factors_stays_finite():
  mean = jnp.full((1024, 1), 5.0)
  product = product_of_gaussians(mean, jnp.full((1024, 1), 1e-7))
  np.testing.assert_allclose(product.mean, [5.0], rtol=1e-5)
  np.testing.assert_allclose(product.variance, [1e-7 / 1024], rtol=1e-5)


@every_pool
def test_order_of_transitions_does_not_matter(pool):
  rows = context()
  order = np.array([3, 0, 5, 1, 4, 2])
  permuted = [array[:, order] for array in rows]
  np.testing.assert_allclose(pool(*permuted), pool(*rows), rtol=1e-5, atol=1e-6)


@every_pool
@pytest.mark.parametrize("content", [0.0, -1.0, 1e30, np.inf, -np.inf, np.nan])
def test_masked_rows_of_any_content_change_nothing(pool, content):
  mean, variance, scores = context()
  mask = jnp.arange(C) < 4
  mask = jnp.stack([mask, mask[::-1], jnp.ones(C, bool)])
  hidden = [jnp.where(mask[..., None], mean, content), jnp.where(mask[..., None], variance, content)]
  actual = pool(*hidden, jnp.where(mask, scores, content), mask)
  for task, present in enumerate(np.asarray(mask)):
    expected = pool(mean[task, present], variance[task, present], scores[task, present])
    np.testing.assert_allclose(actual[task], expected, rtol=1e-5, atol=1e-6)


@every_pool
@pytest.mark.parametrize("content", [0.0, np.inf, np.nan])
@pytest.mark.parametrize("shown", [0, 4])
def test_gradients_are_finite_and_exactly_zero_at_masked_rows(pool, content, shown):
  mask = jnp.arange(C) < shown
  mean, variance, scores = context(leading=())
  rows = (jnp.where(mask[:, None], mean, content), jnp.where(mask[:, None], variance, content))
  gradients = jax.grad(lambda rows: jnp.sum(jnp.sin(pool(*rows, mask))))((*rows, jnp.where(mask, scores, content)))
  for gradient in gradients:
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[shown:], 0.0)
  assert any(np.any(gradient != 0.0) for gradient in gradients) == (shown > 0)


@every_pool
def test_a_mask_may_be_numbers(pool):
  rows = context()
  mask = jnp.broadcast_to(jnp.arange(C) < 3, (T, C))
  np.testing.assert_array_equal(pool(*rows, mask.astype(jnp.float32)), pool(*rows, mask))


@every_pool
def test_empty_context_gives_the_default(pool):
  default = 1.0 if pool is product_variance else 0.0
  mean, variance, scores = context()
  np.testing.assert_array_equal(pool(mean, variance, scores, jnp.zeros((T, C), bool)), np.full((T, L), default))
  np.testing.assert_array_equal(pool(mean[:, :0], variance[:, :0], scores[:, :0]), np.full((T, L), default))


@every_pool
def test_pools_give_the_same_under_jit_and_vmap(pool):
  rows = context()
  mask = jnp.arange(C) < jnp.array([0, 3, C])[:, None]
  expected = pool(*rows, mask)
  np.testing.assert_allclose(jax.jit(pool)(*rows, mask), expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(jax.vmap(pool)(*rows, mask), expected, rtol=1e-5, atol=1e-6)


@every_pool
def test_mask_that_would_broadcast_is_refused(pool):
  with pytest.raises(AssertionError):
    pool(*context(), jnp.ones(C, bool))


def test_mean_pool_by_hand():
  embeddings = jnp.array([[1.0, 2.0], [3.0, -2.0], [100.0, 100.0]])
  np.testing.assert_allclose(mean_pool(embeddings, jnp.array([1, 1, 0])), [2.0, 0.0])


def test_mean_of_identical_embeddings_is_that_embedding():
  embedding = jnp.array([0.25, -0.5])
  np.testing.assert_array_equal(mean_pool(jnp.tile(embedding, (4, 1))), embedding)


def test_attention_by_hand():
  # exp(log 3) : exp(0) = 3 : 1.
  pooled = attention_pool(jnp.array([[4.0, 0.0], [0.0, 8.0]]), jnp.array([jnp.log(3.0), 0.0]))
  np.testing.assert_allclose(pooled, [3.0, 2.0], rtol=1e-6)


def test_attention_to_one_transition_is_that_transition():
  embeddings, _, scores = context()
  np.testing.assert_array_equal(attention_pool(embeddings[:, :1], scores[:, :1]), embeddings[:, 0])


def test_equal_scores_are_mean_pooling_and_a_constant_changes_nothing():
  embeddings, _, scores = context()
  equal = attention_pool(embeddings, jnp.full((T, C), 3.0))
  np.testing.assert_allclose(equal, mean_pool(embeddings), rtol=1e-5, atol=1e-6)
  shifted = attention_pool(embeddings, scores + 10.0)
  np.testing.assert_allclose(shifted, attention_pool(embeddings, scores), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_attention_to_large_scores_does_not_overflow(size):
  embeddings, _, _ = context(leading=())
  scores = jnp.full(C, size).at[2].add(1e3)
  np.testing.assert_allclose(attention_pool(embeddings, scores), embeddings[2], rtol=1e-6)


def test_normalised_embeddings_lie_on_the_sphere_and_their_pools_in_the_ball():
  embeddings, _, scores = context()
  embeddings = normalise_to_sphere(1e-3 * embeddings)
  np.testing.assert_allclose(jnp.linalg.norm(embeddings, axis=-1), np.ones((T, C)), rtol=1e-5)
  assert np.all(jnp.linalg.norm(attention_pool(embeddings, scores), axis=-1) <= 1.0)


def test_normalisation_keeps_the_direction_and_zero_has_a_finite_gradient():
  np.testing.assert_allclose(normalise_to_sphere(jnp.array([3.0, -4.0])), [0.6, -0.8], rtol=1e-6)
  np.testing.assert_allclose(normalise_to_sphere(jnp.array([3e-9, -4e-9])), [0.6, -0.8], rtol=1e-6)
  np.testing.assert_allclose(normalise_to_sphere(jnp.array([3e-14, -4e-14])), [0.03, -0.04], rtol=1e-6)
  np.testing.assert_array_equal(normalise_to_sphere(jnp.zeros(3)), np.zeros(3))
  for size in (0.0, 1e-30, 1e-12, 1e-6, 1.0):
    assert np.isfinite(jax.jacobian(normalise_to_sphere)(jnp.array([size, 0.0]))).all()


def test_samples_have_the_mean_and_variance_of_the_gaussian():
  gaussian = Gaussian(
    jnp.broadcast_to(jnp.array([1.0, -2.0]), (20_000, 2)), jnp.broadcast_to(jnp.array([4.0, 0.25]), (20_000, 2))
  )
  samples = sample_gaussian(gaussian, KEY)
  # Four standard errors: 2 / sqrt(20000) for the mean, variance sqrt(2 / 20000) for the variance.
  np.testing.assert_allclose(jnp.mean(samples, axis=0), [1.0, -2.0], atol=0.06)
  np.testing.assert_allclose(jnp.var(samples, axis=0), [4.0, 0.25], rtol=0.04)


def test_samples_carry_gradients_to_mean_and_variance():
  gaussian = Gaussian(jnp.zeros(3), jnp.full(3, 4.0))
  noise = sample_gaussian(Gaussian(jnp.zeros(3), jnp.ones(3)), KEY)
  gradient = jax.grad(lambda gaussian: jnp.sum(sample_gaussian(gaussian, KEY)))(gaussian)
  np.testing.assert_allclose(gradient.mean, np.ones(3))
  # d sqrt(v) / dv = 1/4 at v = 4.
  np.testing.assert_allclose(gradient.variance, 0.25 * noise, rtol=1e-5)


def test_factors_by_hand():
  mean, variance = gaussian_factors(jnp.array([1.0, 2.0, 0.0, jnp.log(jnp.e - 1.0)]))
  np.testing.assert_array_equal(mean, [1.0, 2.0])
  # softplus(0) = log 2 and softplus(log(e - 1)) = 1.
  np.testing.assert_allclose(variance, [0.6931472, 1.0], rtol=1e-6)


def test_variance_of_a_factor_has_a_lower_bound():
  def product_variance(raw):
    return product_of_gaussians(*gaussian_factors(jnp.array([[0.0, raw]]))).variance[0]

  np.testing.assert_allclose(product_variance(-1e4), 1e-7)
  assert jax.grad(product_variance)(-1e4) == 0.0


def test_odd_outputs_are_refused():
  with pytest.raises(ValueError, match=r"outputs of shape \(6, 5\) must hold as many means as variances"):
    gaussian_factors(jnp.zeros((6, 5)))


def test_encoder_starts_near_zero_and_its_factors_near_log_two():
  encoder = transition_encoder(7, 2 * L, (32, 32))
  outputs = encoder.apply(encoder.init(KEY), jax.random.normal(jax.random.key(3), (T, C, 7)))
  assert outputs.shape == (T, C, 2 * L)
  mean, variance = gaussian_factors(outputs)
  assert np.std(outputs) > 0.0
  np.testing.assert_allclose(mean, np.zeros((T, C, L)), atol=0.1)
  np.testing.assert_allclose(variance, np.full((T, C, L), 0.6931), atol=0.05)


def test_last_layer_starts_uniform_and_the_hidden_ones_as_ever():
  params = transition_encoder(7, 500, (32, 64)).init(KEY)
  for values in (params["layer_2"]["kernel"], params["layer_2"]["bias"]):
    assert np.all(np.abs(values) <= 3e-3)
    assert np.min(values) < -2.9e-3
    assert np.max(values) > 2.9e-3
    # The standard deviation of U(-b, b) is b / sqrt(3).
    np.testing.assert_allclose(np.std(values), 3e-3 / np.sqrt(3.0), rtol=0.1)
  plain = as_network(MLP((32, 64, 500)), 7).init(KEY)
  for name in ("layer_0", "layer_1"):
    jax.tree.map(np.testing.assert_array_equal, params[name], plain[name])


def test_encoder_without_hidden_layers_is_its_last_layer():
  encoder = transition_encoder(7, 3, ())
  params, inputs = encoder.init(KEY), jnp.ones((2, 7))
  expected = jnp.sum(params["layer_0"]["kernel"], axis=0) + params["layer_0"]["bias"]
  np.testing.assert_allclose(encoder.apply(params, inputs), np.tile(expected, (2, 1)), rtol=1e-5)


def test_layers_without_an_output_layer_are_all_alike():
  given = as_network(MLP((5, 3), output_layer=nn.Dense), 7).init(KEY)
  jax.tree.map(np.testing.assert_array_equal, as_network(MLP((5, 3)), 7).init(KEY), given)


def test_embedding_of_a_context_of_equal_transitions_is_that_of_one_and_bounded():
  encoder = transition_encoder(7, L, (16,))
  params = jax.tree.map(lambda leaf: 100.0 * leaf, encoder.init(KEY))
  row = jax.random.normal(KEY, (7,))
  embedding = jnp.tanh(encoder.apply(params, row))
  np.testing.assert_allclose(mean_pool(jnp.tile(embedding, (C, 1))), embedding, rtol=1e-6)
  assert np.all(np.abs(embedding) <= 1.0)


def test_belief_carries_finite_gradients_to_the_encoder():
  encoder = transition_encoder(7, 2 * L, (16,))
  rows = jax.random.normal(KEY, (T, C, 7))

  def loss(params):
    belief = product_of_gaussians(*gaussian_factors(encoder.apply(params, rows)))
    return jnp.mean(jnp.square(sample_gaussian(belief, KEY) - 1.0))

  for gradient in jax.tree.leaves(jax.jit(jax.grad(loss))(encoder.init(KEY))):
    assert np.isfinite(gradient).all()
    assert np.any(gradient != 0.0)
