"""PCGrad and the mean as values, by fixtures, by properties and against a direct implementation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.learners.gradient_surgery import gram_matrix, mean_gradient, pcgrad, projections

KEY = jax.random.key(0)
THREE = np.array([[1.0, 0.0], [-1.0, 1.0], [-1.0, -2.0]])
# Gradients of the two losses of the landscape at three points, and the sum of both projections.
TOY = [
  ([[-13.421832, -0.264841], [3.852015, -0.076008]], [-0.007449, -0.681432]),
  ([[-4.421660, -3.713967], [9.908099, -8.322295]], [4.539111, -14.114529]),
  ([[7.926479, 6.657836], [7.190496, -6.039648]], [15.116975, 0.618188]),
]


def directly(gradients, orders):
  """v_i of Yu et al., algorithm 1, in numpy: `[T, P]`."""
  projected = []
  for task, order in enumerate(orders):
    v = gradients[task].copy()
    for other in order:
      if other != task and (product := v @ gradients[other]) < 0:
        v -= product / (gradients[other] @ gradients[other]) * gradients[other]
    projected.append(v)
  return np.stack(projected)


def combined(surgery, gradients, key=KEY):
  return np.asarray(surgery.combine(jnp.asarray(gradients), key)[0])


def random_gradients(seed, num_tasks=5, size=4):
  return np.random.default_rng(seed).normal(size=(num_tasks, size))


@pytest.fixture(autouse=True)
def in_float64():
  with jax.enable_x64(True):
    yield


@pytest.mark.parametrize(("order", "expected"), [((0, 1, 2), (0.2, -0.1)), ((0, 2, 1), (0.2, 0.2))])
def test_the_order_of_projections_matters(order, expected):
  coefficients = projections(gram_matrix(jnp.asarray(THREE)), jnp.array([order] * 3))
  np.testing.assert_allclose((coefficients @ THREE)[0], expected, atol=1e-12)


@pytest.mark.parametrize(("gradients", "total"), TOY)
@pytest.mark.parametrize("order", ["random", "fixed"])
def test_two_tasks_of_the_landscape(gradients, total, order):
  np.testing.assert_allclose(2.0 * combined(pcgrad(order=order), gradients), total, atol=1e-5)


def test_two_tasks_that_conflict_are_orthogonal_to_each_other_and_lose_nothing():
  gradients = np.array(TOY[1][0])
  first, second = projections(gram_matrix(jnp.asarray(gradients)), jnp.array([[0, 1], [0, 1]])) @ gradients
  np.testing.assert_allclose([first @ gradients[1], second @ gradients[0]], 0.0, atol=1e-12)
  assert np.all(gradients @ combined(pcgrad(), gradients) >= 0.0)


def test_without_conflict_it_is_the_mean_bit_for_bit():
  with jax.enable_x64(False):
    gradients = {"a": jnp.abs(jax.random.normal(KEY, (7, 3))), "b": jnp.ones((7, 2, 2))}
    results = [jax.jit(surgery.combine)(gradients, KEY) for surgery in (pcgrad(), mean_gradient())]
  jax.tree.map(np.testing.assert_array_equal, *results)
  np.testing.assert_allclose(results[0][0]["a"], np.mean(gradients["a"], axis=0), rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_coefficients_of_the_gram_matrix_are_the_direct_projections(seed):
  gradients, rng = random_gradients(seed), np.random.default_rng(100 + seed)
  orders = np.stack([rng.permutation(5) for _ in range(5)])
  found = projections(gram_matrix(jnp.asarray(gradients)), jnp.asarray(orders)) @ gradients
  np.testing.assert_allclose(found, directly(gradients, orders), atol=1e-10)
  fixed = np.tile(np.arange(5), (5, 1))
  expected = directly(gradients, fixed).mean(axis=0)
  np.testing.assert_allclose(combined(pcgrad(order="fixed"), gradients), expected, atol=1e-10)


def test_all_leaves_are_one_vector():
  gradients = random_gradients(0)
  tree = {"weights": jnp.asarray(gradients[:, :3]).reshape(5, 3, 1), "bias": jnp.asarray(gradients[:, 3])}
  found, _ = pcgrad(order="fixed").combine(tree, KEY)
  expected = combined(pcgrad(order="fixed"), gradients)
  np.testing.assert_allclose([*found["weights"][:, 0], found["bias"]], expected, atol=1e-12)
  assert found["weights"].shape == (3, 1)


def test_each_task_has_a_random_order_of_its_own_and_all_orders_are_as_likely():
  """The mean over many keys is that over all orders, whose tasks may be permuted."""
  orders = [(0, *rest) for rest in itertools.permutations((1, 2))]
  every = np.mean(
    [
      directly(THREE, [a, b, c]).mean(axis=0)
      for a, b, c in itertools.product(orders, itertools.permutations((0, 2)), itertools.permutations((0, 1)))
    ],
    axis=0,
  )
  keys = jax.random.split(KEY, 4_000)
  for permuted in (THREE, THREE[[2, 0, 1]]):
    found = jax.vmap(lambda key, each=permuted: pcgrad().combine(jnp.asarray(each), key)[0])(keys)
    np.testing.assert_allclose(np.mean(found, axis=0), every, atol=0.01)
    assert len(np.unique(np.round(found, 6), axis=0)) > 2  # tasks do not share one order


@pytest.mark.parametrize("scale", [1e-6, 3.0, 1e4])
def test_it_scales_with_the_gradients(scale):
  gradients = random_gradients(1)
  np.testing.assert_allclose(combined(pcgrad(), scale * gradients), scale * combined(pcgrad(), gradients), rtol=1e-9)


def test_a_projection_does_not_depend_on_the_size_of_the_other_gradient():
  orders = jnp.tile(jnp.arange(5), (5, 1))
  gradients = random_gradients(2)
  longer = gradients.copy()
  longer[3] *= 7.0
  projected = [projections(gram_matrix(jnp.asarray(each)), orders) @ each for each in (gradients, longer)]
  others = np.array([0, 1, 2, 4])
  np.testing.assert_allclose(projected[1][others], projected[0][others], atol=1e-12)


def test_one_task_keeps_its_gradient_and_has_no_conflict():
  gradient, metrics = pcgrad().combine({"a": jnp.array([[1.0, -2.0]])}, KEY)
  np.testing.assert_array_equal(gradient["a"], [1.0, -2.0])
  assert metrics == {"conflict_rate": 0.0, "gradient_cosine": 0.0}


def test_a_gradient_of_zero_changes_no_other_and_everything_is_finite():
  gradients = np.array([[0.0, 0.0], [1.0, -1.0]])
  found, metrics = pcgrad().combine(jnp.asarray(gradients), KEY)
  np.testing.assert_array_equal(found, [0.5, -0.5])
  assert metrics == {"conflict_rate": 0.0, "gradient_cosine": 0.0}


def test_metrics_count_ordered_pairs_of_distinct_tasks():
  # Inner products: 1 and 2 have -1, 1 and 3 have -1, 2 and 3 have -1.
  _, metrics = mean_gradient().combine(jnp.asarray(THREE), KEY)
  np.testing.assert_allclose(metrics["conflict_rate"], 1.0)
  cosines = [-1 / np.sqrt(2), -1 / np.sqrt(5), -1 / np.sqrt(10)]
  np.testing.assert_allclose(metrics["gradient_cosine"], np.mean(cosines))
  _, metrics = pcgrad().combine(jnp.array([[1.0, 0.0], [-1.0, 1.0], [1.0, 1.0]]), KEY)
  np.testing.assert_allclose(metrics["conflict_rate"], 2 / 6)


def test_another_order_is_refused():
  with pytest.raises(ValueError, match="order='best' is unknown"):
    pcgrad(order="best")
