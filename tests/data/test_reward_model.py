"""The reward model against numpy by other ways of writing it, on numbers that are hard, and on the data of a point."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from point_goals import linear_model, point_dataset
from scipy.optimize import nnls
from scipy.special import logsumexp, softmax
from scipy.stats import norm

from macaw_jax.data import reward_model
from macaw_jax.data.reward_model import (
  BROAD,
  COVERAGE,
  EVIDENCE,
  LENGTH,
  LOCALITY,
  NOISES,
  TAIL,
  UNLIKELY,
  Posterior,
  Rows,
  Scale,
  changes,
  coverage,
  empty_model,
  features,
  fit_reward_model,
  infer,
  misfit,
  predict,
  proportions,
  rewards,
)

T, D, F, I, B = 3, 2, 5, 4, 9  # noqa: E741
EVEN = (1.0 - TAIL) / (1.0 + COVERAGE)  # how far any row is covered where the classifier knows nothing


@pytest.fixture
def double():
  """Everything in float64."""
  with jax.enable_x64(True):
    yield


def scaled_model(seed=0, noise=None):
  """A model by hand whose inputs and outcomes are scaled, with random numbers everywhere but in its classifier."""
  random = np.random.default_rng(seed)
  spread = np.tril(random.normal(size=(D, F, F))) / F
  model = linear_model(
    random.normal(size=(T, D, F)),
    noise=random.uniform(0.05, 0.5, (T, D)) if noise is None else noise,
    spread=spread,
    skip=random.normal(size=(I, F - 1)) / 2.0,
  )
  return model._replace(
    input_scale=Scale(jnp.asarray(random.normal(size=I)), jnp.asarray(random.uniform(0.5, 2.0, I))),
    outcome_scale=Scale(jnp.asarray(random.normal(size=D)), jnp.asarray(random.uniform(0.5, 2.0, D))),
  )


def random_rows(seed=1):
  """The first six are nearly alike, and have outcomes of their own."""
  random = np.random.default_rng(seed)
  inputs = random.normal(size=(B, I))
  inputs[1:6] = inputs[0] + 0.01 * inputs[1:6]
  return Rows(jnp.asarray(inputs), jnp.asarray(random.normal(size=(B, D))))


def noisy_rows(model, deviation, seed=1):
  """Outcomes of task 1 with noise of a standard deviation, in units of all outcomes'."""
  inputs, noise = random_rows(seed)
  return Rows(inputs, predict(model, inputs, model.vectors[1]) + deviation * noise * model.outcome_scale.std)


def standardised(model, rows):
  """Features `[B, F]` and outcomes `[B, D]` in numpy."""
  inputs = np.clip((rows.inputs - model.input_scale.mean) / model.input_scale.std, -10.0, 10.0)
  phi = np.concatenate([inputs @ np.asarray(model.trunk.skip), np.ones((len(inputs), 1))], axis=1)
  return phi, np.asarray((rows.outcomes - model.outcome_scale.mean) / model.outcome_scale.std)


def weights_by_loops(model, phi, mask, more=0.0):
  """For how many rows each counts: the variance over tasks of what tells two rows apart, pair by pair."""
  spread, noise = np.asarray(model.spread), np.mean(model.noise)
  covariances = spread @ spread.swapaxes(1, 2)
  weights = []
  for row, counts in zip(phi, mask, strict=True):
    alike = 0.0
    for other, also_counts in zip(phi, mask, strict=True):
      variance = np.mean([(row - other) @ covariance @ (row - other) for covariance in covariances])
      alike += also_counts * np.exp(-0.5 * variance / LENGTH**2)
    # The mean of alike rows has the noise of a few, and of all of them what is more.
    variance_of_mean = noise / min(EVIDENCE, alike) + more / alike if alike > EVIDENCE else (noise + more) / alike
    weights.append(counts * (noise + more) / variance_of_mean / alike)
  return np.array(weights)


def posterior_in_row_space(model, rows, mask):
  """Probabilities of tasks, means and covariances: each Gaussian conditioned on the outcomes of the rows that count.

  And the noise beyond the model's under which the rows are the likeliest.
  """
  phi, outcomes = standardised(model, rows)
  vectors = np.asarray(model.vectors)
  weights = weights_by_loops(model, phi, mask)
  assert weights[5] < 0.8 < weights[8]  # some rows count for less than one
  local = [LOCALITY**2 * factor @ factor.T for factor in np.asarray(model.spread)]

  def known_and_unknown(task, more):
    known, unknown = np.full(len(phi), EVEN), np.full(len(phi), 1.0 - EVEN)
    for d in range(D):
      variance = model.noise[task, d] + more + np.array([row @ local[d] @ row for row in phi])
      known *= norm.pdf(outcomes[:, d], phi @ vectors[task, d], np.sqrt(variance))
      unknown *= norm.pdf(outcomes[:, d], 0.0, BROAD)
    return known, unknown

  def evidence(more, weights):
    return np.array([weights @ np.log(sum(known_and_unknown(task, more))) for task in range(T)])

  judged = [logsumexp(evidence(more, weights)) - UNLIKELY * place for place, more in enumerate(NOISES)]
  more = NOISES[int(np.argmax(judged))]
  weights = weights_by_loops(model, phi, mask, more)
  counts = weights > 0.0
  means, covariances = np.zeros((T, D, F)), np.zeros((T, D, F, F))
  for task in range(T):
    known, unknown = known_and_unknown(task, more)
    for d in range(D):
      precision = (weights * known / (known + unknown))[counts] / (np.asarray(model.noise)[task, d] + more)
      reach = phi[counts] @ local[d]  # [rows, F]
      gain = reach.T @ np.linalg.inv(reach @ phi[counts].T + np.diag(1.0 / precision))
      means[task, d] = vectors[task, d] + gain @ (outcomes[counts, d] - phi[counts] @ vectors[task, d])
      covariances[task, d] = local[d] - gain @ reach
  return softmax(evidence(more, weights)), means, covariances, more


# The posterior in closed form


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("deviation", "more"), [(0.2, 0.0), (2.5, 1.0)])
@pytest.mark.parametrize("mask", [np.ones(B), np.arange(B) % 3 > 0])
def test_the_posterior_is_that_of_gaussians_conditioned_in_row_space(mask, deviation, more):
  model = scaled_model()
  rows = noisy_rows(model, deviation)
  found = infer(model, rows, jnp.asarray(mask, float))
  tasks, means, covariances, noise = posterior_in_row_space(model, rows, np.asarray(mask, float))
  assert noise == more
  np.testing.assert_allclose(found.tasks, tasks, rtol=1e-8)
  np.testing.assert_allclose(found.means, means, rtol=1e-8)
  np.testing.assert_allclose(found.factors @ found.factors.swapaxes(2, 3), covariances, rtol=1e-6, atol=1e-10)
  assert np.linalg.norm(means - model.vectors) > 0.01 * np.linalg.norm(model.vectors)  # the rows say something
  if all(mask):
    jax.tree.map(np.testing.assert_array_equal, infer(model, rows), found)


def test_single_precision_is_enough():
  model, rows = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (scaled_model(), random_rows()))
  found = infer(model, rows)
  tasks, means, *_ = posterior_in_row_space(model, rows, np.ones(B))
  np.testing.assert_allclose(found.tasks, tasks, rtol=1e-3)
  np.testing.assert_allclose(found.means, means, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("double")
def test_rows_are_no_evidence_where_a_task_has_none():
  """The classifier gives all rows to task 0: the others' Gaussians stay as they were, and nothing speaks for them."""
  classifier = [(jnp.zeros((F, T)), jnp.array([60.0, 0.0, 0.0]))]
  model, rows = scaled_model()._replace(classifier=classifier), random_rows()
  np.testing.assert_allclose(
    coverage(model, rows.inputs), np.tile([3.0 / (3.0 + COVERAGE), 0.0, 0.0], (B, 1)), atol=1e-12
  )
  found = infer(model, rows)
  np.testing.assert_allclose(found.means[1:], model.vectors[1:], rtol=1e-6)
  np.testing.assert_allclose(found.factors[1:], np.tile(LOCALITY * np.asarray(model.spread), (2, 1, 1, 1)), atol=1e-6)
  np.testing.assert_allclose(found.tasks[1], found.tasks[2], rtol=1e-6)
  assert np.linalg.norm(found.means[0] - model.vectors[0]) > 0.01


@pytest.mark.usefixtures("double")
def test_outcomes_are_predicted_in_their_own_units():
  model, rows = scaled_model(), random_rows()
  phi, _ = standardised(model, rows)
  np.testing.assert_allclose(features(model, rows.inputs), phi, rtol=1e-10)
  expected = phi @ np.asarray(model.vectors[1]).T * np.asarray(model.outcome_scale.std) + model.outcome_scale.mean
  np.testing.assert_allclose(predict(model, rows.inputs, model.vectors[1]), expected, rtol=1e-10)


def test_moments_and_draws_of_a_mixture():
  random = np.random.default_rng(0)
  factors = np.tril(random.normal(size=(T, D, 2, 2)))
  posterior = Posterior(
    jnp.array([0.6, 0.4, 0.0]), jnp.asarray(3.0 * random.normal(size=(T, D, 2))), jnp.asarray(factors)
  )
  draws = np.asarray(jax.vmap(posterior.sample)(jax.random.split(jax.random.key(0), 50_000)))
  np.testing.assert_allclose(posterior.mean, draws.mean(axis=0), atol=0.06)
  covariance = [np.cov(draws[:, d].T) for d in range(D)]
  np.testing.assert_allclose(posterior.covariance, covariance, rtol=0.05, atol=0.2)


# Proportions


@pytest.mark.usefixtures("double")
def test_the_shares_of_a_mixture_are_found_again():
  model = linear_model(np.random.default_rng(0).normal(size=(5, D, 8)))
  shares = np.array([0.5, 0.0, 0.2, 0.3, 0.0])
  found = proportions(model, jnp.einsum("t,tdf->df", shares, model.vectors))
  np.testing.assert_allclose(found, shares, atol=1e-6)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("seed", range(4))
def test_the_shares_of_any_vector_are_those_of_constrained_least_squares(seed):
  """By `nnls`, with the sum as a row of great weight, and features that are not equally large."""
  random = np.random.default_rng(seed)
  root = random.normal(size=(8, 8)) / 2.0
  model = linear_model(random.normal(size=(6, D, 8)))._replace(gram=jnp.asarray(root.T @ root))
  vector = random.normal(size=(D, 8))
  found = proportions(model, jnp.asarray(vector), steps=5_000)
  columns = np.concatenate([np.asarray(model.vectors)[:, d] @ root.T for d in range(D)], axis=1).T  # [D * 8, T]
  wanted = np.concatenate([root @ vector[d] for d in range(D)])
  expected, _ = nnls(np.vstack([columns, np.full(6, 1e4)]), np.append(wanted, 1e4))
  assert np.any(expected == 0.0)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_allclose(found.sum(), 1.0, rtol=1e-12)
  assert np.all(found >= 0.0)


def test_a_mixture_explains_the_outcomes_it_has():
  random = np.random.default_rng(0)
  model = linear_model(random.normal(size=(T, 1, F)), noise=0.04)
  shares = jnp.array([0.3, 0.7, 0.0])
  inputs = jnp.asarray(random.normal(size=(400, F - 1)))
  vector = jnp.einsum("t,tdf->df", shares, model.vectors)
  outcomes = predict(model, inputs, vector) + 0.2 * random.normal(size=(400, 1))
  explained = misfit(model, Rows(inputs, outcomes), shares, jnp.ones(400))
  np.testing.assert_allclose(explained, 1.0, atol=0.15)
  assert misfit(model, Rows(inputs, outcomes), jnp.array([0.0, 0.0, 1.0]), jnp.ones(400)) > 20.0
  assert misfit(model, Rows(inputs, outcomes), shares, jnp.zeros(400)) == 0.0


# Numbers that are hard


def test_masked_rows_change_nothing_whatever_they_hold():
  model, rows = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (scaled_model(), random_rows()))
  alone = infer(model, rows)
  for filler in (random_rows(seed=2), jax.tree.map(jnp.zeros_like, rows), jax.tree.map(lambda leaf: 1e4 * leaf, rows)):
    both = Rows(*(jnp.concatenate(parts) for parts in zip(rows, filler, strict=True)))
    mask = jnp.repeat(jnp.array([1.0, 0.0]), B)
    masked = infer(model, Rows(*(leaf.astype(jnp.float32) for leaf in both)), mask)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6), masked, alone)
    shares = jnp.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(misfit(model, both, shares, mask), misfit(model, rows, shares, jnp.ones(B)), rtol=1e-5)


def test_no_rows_leave_every_task_as_likely():
  found = infer(scaled_model(), random_rows(), jnp.zeros(B))
  np.testing.assert_allclose(found.tasks, 1.0 / T, rtol=1e-6)
  np.testing.assert_allclose(found.means, scaled_model().vectors, rtol=1e-5)


def test_a_hundred_copies_of_a_row_count_for_few_beside_another():
  model = linear_model(np.ones((2, 1, 3)))
  inputs = jnp.concatenate([jnp.zeros((100, 2)), jnp.ones((1, 2))])
  weights = reward_model._weights(features(model, inputs), jnp.ones(101), model)
  np.testing.assert_allclose(weights[:100], EVIDENCE / 100.0, rtol=1e-4)
  np.testing.assert_allclose(weights[100], 1.0)
  few = reward_model._weights(features(model, inputs[98:]), jnp.ones(3), model)
  np.testing.assert_allclose(few, 1.0)  # as many as count
  # Rows that no task's outcomes tell apart are alike, however far they lie apart.
  flat = model._replace(spread=jnp.zeros((1, 3, 3)).at[0, 2, 2].set(1.0))
  np.testing.assert_allclose(
    reward_model._weights(features(flat, inputs), jnp.ones(101), flat), EVIDENCE / 101.0, rtol=1e-5
  )


@pytest.mark.parametrize("noise", [0.01, 1e-8])
@pytest.mark.parametrize("case", ["one row many times", "equal rewards", "one row", "far away", "rewards of no task"])
def test_posterior_and_proportions_are_finite(case, noise):
  """In single precision; the least noise is that of outcomes which a model explains exactly."""
  random = np.random.default_rng(0)
  model = linear_model(random.normal(size=(6, 1, 33)).astype(np.float32), noise=noise)
  inputs, outcomes = random.normal(size=(256, 32)), random.normal(size=(256, 1))
  inputs, outcomes = {
    "one row many times": (np.repeat(inputs[:1], 256, axis=0), np.repeat(outcomes[:1], 256, axis=0)),
    "equal rewards": (inputs, np.zeros((256, 1))),
    "one row": (inputs[:1], outcomes[:1]),
    "far away": (1e4 * inputs, outcomes),
    "rewards of no task": (inputs, 1e4 * outcomes),
  }[case]
  rows = Rows(jnp.asarray(inputs, jnp.float32), jnp.asarray(outcomes, jnp.float32))
  found = infer(model, rows)
  shares = proportions(model, found.mean)
  measured = misfit(model, rows, shares, jnp.ones(len(inputs)))
  for leaf in jax.tree.leaves((found, found.covariance, found.sample(jax.random.key(0)), shares, measured)):
    assert np.isfinite(leaf).all()
  np.testing.assert_allclose([found.tasks.sum(), shares.sum()], 1.0, rtol=1e-5)
  assert np.all(found.tasks >= 0.0)
  assert np.all(shares >= 0.0)


# The fit


def simulated(num_tasks, num_rows, noise=0.3, seed=0):
  """Features, outcomes and vectors of tasks of a known mean and covariance."""
  random = np.random.default_rng(seed)
  mean, root = np.array([1.0, -2.0, 0.5]), np.array([[1.0, 0.0, 0.0], [0.8, 0.3, 0.0], [0.0, 0.2, 0.5]])
  vectors = mean + random.normal(size=(num_tasks, 3)) @ root.T
  phi = random.normal(size=(num_tasks, num_rows, 3))
  outcomes = np.einsum("tnf,tf->tn", phi, vectors) + noise * random.normal(size=(num_tasks, num_rows))
  return phi, outcomes[..., None], vectors, mean, root @ root.T


def test_expectation_maximisation_finds_mean_covariance_and_noise():
  phi, outcomes, vectors, mean, covariance = simulated(num_tasks=1_000, num_rows=200)
  found, spread, noise = reward_model._fit_vectors(phi, outcomes)
  assert found.dtype == np.float64
  np.testing.assert_allclose(found[:, 0], vectors, atol=0.12)  # 0.3 / sqrt(200) is a deviation
  np.testing.assert_allclose(found.mean(axis=0)[0], mean, atol=0.1)
  np.testing.assert_allclose(spread[0], covariance, atol=0.1)
  np.testing.assert_allclose(noise.mean(), 0.09, rtol=0.03)


def test_what_a_task_does_not_show_follows_from_the_others():
  """Task 0 has never had the second feature: the mean of its weight given those that it has shown, in closed form."""
  phi, outcomes, vectors, mean, covariance = simulated(num_tasks=1_000, num_rows=200)
  outcomes[0, :, 0] -= phi[0, :, 1] * vectors[0, 1]
  phi[0, :, 1] = 0.0
  seen = [0, 2]
  gain = covariance[1, seen] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
  expected = mean[1] + gain @ (vectors[0, seen] - mean[seen])
  found, _, _ = reward_model._fit_vectors(phi, outcomes)
  assert abs(expected - mean[1]) > 0.1  # is not that of all tasks
  np.testing.assert_allclose(found[0, 0, 1], expected, atol=0.05)


def test_outcomes_that_never_change_are_fitted():
  phi, outcomes, *_ = simulated(num_tasks=4, num_rows=50)
  found, spread, noise = reward_model._fit_vectors(phi, np.zeros_like(outcomes))
  np.testing.assert_array_equal(found, 0.0)
  assert np.all(noise > 0.0)
  assert np.isfinite(np.linalg.cholesky(spread)).all()


def test_one_task_alone_is_refused():
  with pytest.raises(ValueError, match="two training tasks or more, whose outcomes differ, got 1"):
    fit_reward_model(point_dataset(np.zeros((1, 2))), rewards, jax.random.key(0))


GOALS = np.stack(np.meshgrid(*[np.linspace(-0.9, 0.9, 4)] * 2), axis=-1).reshape(-1, 2)  # [16, 2]
NEW_GOALS = np.array([[-0.5, 0.2], [0.4, 0.6], [0.1, -0.3], [0.65, -0.7]])
CHANCE = np.linalg.norm(NEW_GOALS[:, None] - GOALS, axis=-1).mean()  # of a goal that is guessed


@pytest.fixture(scope="module")
def quick_fit():
  """Fewer steps, which small data need."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(reward_model, "TRUNK_FIT", reward_model.TRUNK_FIT | {"steps": 300, "learning_rate": 3e-3})
    patch.setattr(reward_model, "CLASSIFIER_FIT", reward_model.CLASSIFIER_FIT | {"steps": 200})
    patch.setattr(reward_model, "EM_ROWS", 500)
    yield


@pytest.fixture(scope="module")
def point_model(quick_fit):
  """The model of tasks that differ in their goal."""
  return fit_reward_model(point_dataset(GOALS), rewards, jax.random.key(0))


@pytest.fixture(scope="module")
def shares_of(point_model):
  """`(rows [B]) -> shares`, compiled once."""
  return jax.jit(lambda rows: proportions(point_model, infer(point_model, rows).mean))


def support_of(goal, aim, read=rewards, seed=1_000, **fields):
  """200 rows of a task, collected by the policy of an aim."""
  dataset = point_dataset(goal[None], aim[None], seed=seed, num_episodes=10)._replace(**fields)
  return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), read(dataset))


@pytest.mark.parametrize("policy", ["its own", "of another", "of a training task"])
def test_the_goal_is_inferred_whoever_collected(shares_of, policy):
  aims = {"its own": NEW_GOALS, "of another": -NEW_GOALS, "of a training task": GOALS[:4]}[policy]
  distances = [
    np.linalg.norm(shares_of(support_of(goal, aim)) @ GOALS - goal) for goal, aim in zip(NEW_GOALS, aims, strict=True)
  ]
  assert CHANCE > 0.9
  assert np.max(distances) < 0.2
  assert np.mean(distances) < 0.1


def test_other_rewards_of_the_same_rows_move_the_shares_to_their_task(shares_of):
  """States and actions of task 5's policy throughout; rewards of task 5, then of task 10."""
  own, other = support_of(GOALS[5], GOALS[5]), support_of(GOALS[10], GOALS[5])
  np.testing.assert_array_equal(own.inputs, other.inputs)
  assert shares_of(own)[5] > 0.7
  assert shares_of(other)[10] > 0.7


def test_rows_are_covered_by_the_tasks_whose_they_are_and_not_far_away(point_model):
  own = rewards(point_dataset(GOALS)).inputs  # [T, N, I]
  covered = np.asarray(coverage(point_model, own))
  assert covered.shape == (*own.shape[:2], len(GOALS))
  assert np.all((covered >= 0.0) & (covered <= 1.0))
  assert np.diagonal(covered.mean(axis=1)).min() > 0.9
  far = coverage(point_model, own + np.array([3.0, 3.0, 0.0, 0.0, 0.0, 0.0], np.float32))
  assert far.mean() < 0.4


def test_no_task_covers_where_another_alone_has_been(quick_fit):
  """Tasks 0 and 1 on the left, 2 and 3 on the right."""
  dataset, side = point_dataset(GOALS[:4]), np.array([-3.0, -3.0, 3.0, 3.0], np.float32)[:, None, None]
  apart = dataset._replace(observation=dataset.observation + side, next_observation=dataset.next_observation + side)
  model = fit_reward_model(apart, rewards, jax.random.key(0))
  covered = coverage(model, rewards(apart).inputs).mean(axis=1)  # [of rows, tasks]
  here = np.kron(np.eye(2), np.ones((2, 2))) > 0
  assert covered[here].min() > 0.9
  assert covered[~here].max() < 0.1


def test_the_same_key_fits_the_same_model_in_the_shapes_of_an_empty_one(quick_fit, monkeypatch):
  for name in ("TRUNK_FIT", "CLASSIFIER_FIT"):
    monkeypatch.setattr(reward_model, name, getattr(reward_model, name) | {"steps": 2})
  dataset = point_dataset(GOALS[:3], num_episodes=2)
  one, again, other = (fit_reward_model(dataset, rewards, jax.random.key(seed)) for seed in (0, 0, 1))
  jax.tree.map(np.testing.assert_array_equal, one, again)
  assert not np.array_equal(one.vectors, other.vectors)
  empty = empty_model(num_tasks=3, num_inputs=6, num_outcomes=1)
  assert jax.tree.structure(empty) == jax.tree.structure(one)
  shapes = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(model)] for model in (empty, one)]
  assert shapes[0] == shapes[1]


def test_rows_that_only_fill_a_task_up_are_not_read(quick_fit, monkeypatch):
  """Tasks of different sizes: the padding may hold anything."""
  for name in ("TRUNK_FIT", "CLASSIFIER_FIT"):
    monkeypatch.setattr(reward_model, name, getattr(reward_model, name) | {"steps": 5})
  dataset = point_dataset(GOALS[:3], num_episodes=4)._replace(size=np.array([80, 50, 70], np.int32))
  filled = dataset._replace(reward=np.where(np.arange(80) < dataset.size[:, None], dataset.reward, 1e6))
  models = [fit_reward_model(each, rewards, jax.random.key(0)) for each in (dataset, filled)]
  jax.tree.map(np.testing.assert_array_equal, *models)


def test_tasks_that_differ_in_their_physics_are_told_by_changes_of_state(quick_fit):
  winds = np.array([[0.04 * np.cos(angle), 0.04 * np.sin(angle)] for angle in np.arange(12) * np.pi / 6])
  dataset = point_dataset(np.zeros((12, 2)), winds=winds, num_episodes=10)
  model = fit_reward_model(dataset, changes, jax.random.key(0))
  assert model.vectors.shape == (12, 2, reward_model.NUM_FEATURES + 1)
  for task in (0, 5):
    seen = changes(
      point_dataset(np.zeros((1, 2)), np.array([[0.5, -0.5]]), winds=winds[[task]], seed=50, num_episodes=10)
    )
    found = infer(model, jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), seen))
    shares = proportions(model, found.mean)
    np.testing.assert_allclose(shares @ winds, winds[task], atol=0.01)  # a quarter of a wind's strength
