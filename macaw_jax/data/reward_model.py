"""Rewards of a dataset's tasks as functions of a vector, and the vector of a new task inferred from any transitions.

Every training task's outcome y of a transition x is linear in features that all tasks share, and the task is the vector
of its weights:

  y = w_i . phi(x) + noise,      w_i ~ Normal(mu, S)

Where tasks differ in their rewards, x is (s, a, s' - s) and y the reward (`rewards`); where they differ in their
physics, x is (s, a) and y the change of state (`changes`). The features are a network's, fitted to each task's own
rows; `mu`, `S`, the vectors and the noise are then fitted by expectation-maximisation, in float64.

A row says nothing about a task that has never been near it. There the task's vector is an extrapolation, and a wrong
one as a rule: a robot that was only paid for walking slowly has not shown what it is paid for running. How far the rows
of task i reach is learned beside, by a classifier of rows: with p(i | x) the probability that x is of task i among
equally many rows of T tasks,

  c_i(x) = T p(i | x) / (T p(i | x) + epsilon),

which is one where task i has a share of the rows and zero where it has none. The likelihood of an outcome is then

  p_i(y | x) = c_i(x) Normal(y; w_i . phi(x), noise_i) + (1 - c_i(x)) Normal(y; 0, broad),

so that a row outside of what task i has seen is neither for it nor against it, and an outcome that contradicts what it
has seen is.

The posterior (`infer`) takes as the prior of a new task's vector a small Gaussian around each training task's:

  w ~ 1 / T sum_i Normal(w_i, h^2 S)

A Gaussian around all of them would be wrong between them: the vectors of tasks lie on a curved line or surface. Each
part's posterior is that of a Bayesian linear regression with the rows' weights, in closed form. A support may be
noisier than the rows that the model was fitted to: of a few variances beyond the model's, the likeliest is taken.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from macaw_jax.data.dataset import Dataset
from macaw_jax.data.perceptron import Layers, apply_layers, fit, init_layers
from macaw_jax.types import Array, Key, Transition

NUM_FEATURES, WIDTH = 32, 128  # of the trunk
CLASSIFIER_WIDTH = 64
BATCH_SIZE = 512
TRUNK_FIT: dict[str, Any] = {"steps": 3_000, "learning_rate": 1e-3, "weight_decay": 1e-4}
CLASSIFIER_FIT: dict[str, Any] = {"steps": 1_500, "learning_rate": 3e-3, "weight_decay": 1e-3}
EM_ROWS, EM_ROUNDS = 2_000, 30  # rows of each task
_MOST_DEVIATIONS = 10.0  # of an input; a rare large value must not decide
_LEAST_STD = 1e-3

# Chosen on training tasks of `cheetah_vel` (docs/context_shift.md).
COVERAGE = 0.05  # epsilon: the share of rows, in units of an equal share, from which on a task counts as covered
TAIL = 1e-3  # probability that a row is an outlier where a task is covered
BROAD = 2.0  # standard deviations of outcomes that nothing is known of
LOCALITY = 0.3  # h: the size of the Gaussian around a training task's vector, in units of that around all
LENGTH = 0.1  # outcomes of rows that tasks can tell apart by less, in standard deviations, are one piece of evidence
EVIDENCE = 3.0  # rows that one such piece counts for
NOISES = (0.0, 0.01, 0.1, 1.0)  # variances that a support's outcomes may have beyond the model's, in units of all
UNLIKELY = 2.0  # nats that each of them is less likely than the one before


class Rows(NamedTuple):
  """Transitions as the model reads them."""

  inputs: Array  # x [..., I]
  outcomes: Array  # y [..., D]


Read = Callable[[Transition | Dataset], Rows]


def rewards(transitions: Transition | Dataset) -> Rows:
  """The reward of (s, a, s' - s): of tasks that differ in their rewards."""
  change = transitions.next_observation - transitions.observation
  inputs = jnp.concatenate([transitions.observation, transitions.action, change], axis=-1)
  return Rows(inputs, transitions.reward[..., None])


def changes(transitions: Transition | Dataset) -> Rows:
  """The change of state s' - s of (s, a): of tasks that differ in their physics."""
  inputs = jnp.concatenate([transitions.observation, transitions.action], axis=-1)
  return Rows(inputs, transitions.next_observation - transitions.observation)


READ: dict[str, Read] = {"rewards": rewards, "physics": changes}  # by what the tasks of a family differ in


class Scale(NamedTuple):
  """Mean and standard deviation of numbers."""

  mean: Array
  std: Array


class Trunk(NamedTuple):
  """The network of the features."""

  layers: Layers
  skip: Array  # [I, F - 1], linear features beside those of the layers


class RewardModel(NamedTuple):
  """T training tasks with F features and D outcomes, see above; outcomes and inputs are standardised inside."""

  input_scale: Scale  # [I]
  outcome_scale: Scale  # [D]
  trunk: Trunk
  feature_scale: Scale  # [F], of what the classifier reads
  classifier: Layers  # of features to logits of tasks
  vectors: Array  # w_i [T, D, F]
  spread: Array  # Cholesky factor of S, [D, F, F]
  noise: Array  # variance [T, D]
  gram: Array  # mean of phi phi' over the rows of all tasks, [F, F]


class Posterior(NamedTuple):
  """The vector of a task, inferred from some of its transitions: a Gaussian around each training task's."""

  tasks: Array  # probability of each Gaussian, [T]
  means: Array  # [T, D, F]
  factors: Array  # covariance = factor factor', [T, D, F, F]

  @property
  def mean(self) -> Array:
    """The mean of the mixture, [D, F]."""
    return jnp.einsum("t,tdf->df", self.tasks, self.means)

  @property
  def covariance(self) -> Array:
    """The covariance of the mixture, [D, F, F]."""
    away = self.means - self.mean
    within = jnp.einsum("t,tdfg,tdhg->dfh", self.tasks, self.factors, self.factors)
    return within + jnp.einsum("t,tdf,tdg->dfg", self.tasks, away, away)

  def sample(self, key: Key) -> Array:
    """A draw of the vector, [D, F]."""
    key_task, key_vector = jax.random.split(key)
    task = jax.random.categorical(key_task, jnp.log(self.tasks))
    noise = jax.random.normal(key_vector, self.means.shape[1:])
    return self.means[task] + jnp.einsum("dfg,dg->df", self.factors[task], noise)


def features(model: RewardModel, inputs: Array) -> Array:
  """phi(x), `[..., I] -> [..., F]`; the last feature is one."""
  return _features(model.trunk, _standardise(model.input_scale, inputs))


def predict(model: RewardModel, inputs: Array, vector: Array) -> Array:
  """The outcomes `[..., D]` of inputs `[..., I]` in a task of the vector `[D, F]`, in their own units."""
  standardised = jnp.einsum("...f,df->...d", features(model, inputs), vector)
  return standardised * model.outcome_scale.std + model.outcome_scale.mean


def coverage(model: RewardModel, inputs: Array) -> Array:
  """c_i(x), how far the rows of each task reach: `[..., I] -> [..., T]`, from 0 to 1."""
  return _coverage(model, features(model, inputs))


def infer(model: RewardModel, rows: Rows, mask: Array | None = None) -> Posterior:
  """The posterior of a task's vector from B of its transitions, inputs `[B, I]`, in closed form.

  `mask` `[B]` is zero for rows that are no evidence.
  """
  chex.assert_rank([rows.inputs, rows.outcomes], 2)
  mask = jnp.ones(len(rows.inputs)) if mask is None else mask
  phi = features(model, rows.inputs)  # [B, F]
  outcomes = _standardised_outcomes(model, rows)
  errors = outcomes[:, None] - jnp.einsum("bf,tdf->btd", phi, model.vectors)  # [B, T, D]
  local = LOCALITY * model.spread  # [D, F, F]
  whitened = jnp.einsum("bf,dfg->dbg", phi, local)
  local_variance = jnp.sum(whitened**2, axis=-1).T  # [B, D], of the outcome within a Gaussian

  covered = _coverage(model, phi) * (1.0 - TAIL)  # [B, T]
  unknown = jnp.log(1.0 - covered) + _log_normal(outcomes[:, None], jnp.asarray(BROAD**2))

  def read_with(more: Array) -> tuple[Array, Array]:
    """Log-likelihoods `[B, T]` with more noise than the model's: of a covered row's outcome, and of any row's."""
    known = jnp.log(covered + 1e-12) + _log_normal(errors, model.noise + local_variance[:, None] + more)
    return known, jnp.logaddexp(known, unknown)

  # Judged with the same weights: those of a noisy support add up to more.
  noises, weight = jnp.asarray(NOISES), _weights(phi, mask, model)
  evidence = jax.vmap(lambda more: jax.nn.logsumexp(weight @ read_with(more)[1]))(noises)
  more = noises[jnp.argmax(evidence - UNLIKELY * jnp.arange(len(noises)))]
  known, likelihood = read_with(more)
  weight = _weights(phi, mask, model, more)  # [B]
  tasks = jax.nn.softmax(jnp.einsum("b,bt->t", weight, likelihood))

  precision = (weight[:, None] * jnp.exp(known - likelihood))[..., None] / (model.noise + more)  # [B, T, D]
  hessian = jnp.eye(phi.shape[-1]) + jnp.einsum("dbf,btd,dbg->tdfg", whitened, precision, whitened)
  moment = jnp.einsum("dbf,btd->tdf", whitened, precision * errors)
  inverse = _inverse_factor(hessian)  # L^-1, so that the covariance of the whitened vector is L'^-1 L^-1
  step = jnp.einsum("tdgf,tdgh,tdh->tdf", inverse, inverse, moment)
  return Posterior(
    tasks=tasks,
    means=model.vectors + jnp.einsum("dfg,tdg->tdf", local, step),
    factors=jnp.einsum("dfg,tdhg->tdfh", local, inverse),
  )


def proportions(model: RewardModel, vector: Array, steps: int = 500) -> Array:
  """The shares q `[T]` of training tasks whose mean outcome is nearest to that of a vector w `[D, F]`.

    argmin over the simplex of  E_x | (sum_i q_i w_i - w) . phi(x) |^2,    x over the rows of all tasks,

  by `steps` steps of accelerated projected gradient descent (Beck and Teboulle 2009).
  """
  vectors = model.vectors
  product = jnp.einsum("tdf,fg,udg->tu", vectors, model.gram, vectors)
  target = jnp.einsum("tdf,fg,dg->t", vectors, model.gram, vector)
  step_size = 1.0 / jnp.maximum(jnp.abs(product).sum(axis=1).max(), 1e-12)  # a bound of the largest eigenvalue

  def step(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
    q, ahead, momentum = state
    new = optax.projections.projection_simplex(ahead - step_size * (product @ ahead - target))
    following = 0.5 * (1.0 + jnp.sqrt(1.0 + 4.0 * momentum**2))
    return (new, new + (momentum - 1.0) / following * (new - q), following), None

  start = jnp.full(len(vectors), 1.0 / len(vectors))
  (q, _, _), _ = jax.lax.scan(step, (start, start, jnp.ones(())), None, length=steps)
  return q


def misfit(model: RewardModel, rows: Rows, shares: Array, mask: Array) -> Array:
  """Mean squared error of a mixture's outcomes on B rows, in units of its noise: `[]`, near one where it explains them.

  The mean outcome of tasks in these shares `[T]` is compared where they cover the rows. `mask` is `[B]`.
  """
  phi = features(model, rows.inputs)
  outcomes = _standardised_outcomes(model, rows)
  predicted = jnp.einsum("bf,tdf,t->bd", phi, model.vectors, shares)
  error = jnp.mean((outcomes - predicted) ** 2 / (shares @ model.noise), axis=-1)  # [B]
  weight = _weights(phi, mask, model) * (_coverage(model, phi) @ shares)
  return jnp.sum(weight * error) / jnp.maximum(weight.sum(), 1e-6)


def separation(model: RewardModel, rows: Rows, task: Array | int) -> tuple[Array, Array]:
  """How far B rows of a training task tell it from each other one, where the other covers them too.

  Returns:
    The share of the rows that each task covers `[T]`, and the evidence `[T]` against it there, in nats: the expected
    log-ratio of the likelihoods, sum_b weight_b c_j(x_b) |(w_i - w_j) . phi(x_b)|^2 / (2 noise_j), where rows that are
    alike count for few.
  """
  phi = features(model, rows.inputs)
  covered = _coverage(model, phi)  # [B, T]
  apart = jnp.einsum("bf,tdf->btd", phi, model.vectors[task] - model.vectors)
  weight = _weights(phi, jnp.ones(len(phi)), model)
  evidence = jnp.einsum("b,bt,bt->t", weight, covered, jnp.sum(apart**2 / model.noise, axis=-1) / 2.0)
  return covered.mean(axis=0), evidence


def fit_reward_model(dataset: Dataset, read: Read, key: Key) -> RewardModel:
  """The model of the tasks of a dataset, from the own rows of each; takes seconds.

  Args:
    dataset: the training tasks, scaled as the agent sees them.
    read: what of a transition is an outcome, and of what; a value of `READ`.
    key: decides initial weights and batches.

  Raises:
    ValueError: there is one task alone.
  """
  num_tasks = len(dataset.size)
  if num_tasks < 2:
    raise ValueError(f"expected two training tasks or more, whose outcomes differ, got {num_tasks}")
  size = jnp.asarray(dataset.size)
  rows = jax.tree.map(np.asarray, read(dataset))
  input_scale, outcome_scale = (_fit_scale(values, dataset.size) for values in rows)
  inputs = _standardise(input_scale, jnp.asarray(rows.inputs))  # [T, N, I]
  outcomes = (jnp.asarray(rows.outcomes) - outcome_scale.mean) / outcome_scale.std

  key_trunk, key_vectors, key_classifier, key_fit, key_classify, key_rows = jax.random.split(key, 6)
  trunk = _init_trunk(key_trunk, inputs.shape[-1])
  first = jax.random.normal(key_vectors, (num_tasks, outcomes.shape[-1], NUM_FEATURES + 1)) / np.sqrt(NUM_FEATURES)
  trunk, _ = fit(_squared_error, (trunk, first), (inputs, outcomes, size), key_fit, **TRUNK_FIT)

  drawn = jax.vmap(lambda key, count: jax.random.randint(key, (EM_ROWS,), 0, count))(
    jax.random.split(key_rows, num_tasks), size
  )
  take = jax.vmap(lambda values, rows: values[rows])
  phi = np.asarray(_features(trunk, take(inputs, drawn)), np.float64)  # [T, n, F]
  vectors, spread, noise = _fit_vectors(phi, np.asarray(take(outcomes, drawn), np.float64))

  moments = (phi.mean(axis=(0, 1)), np.maximum(phi.std(axis=(0, 1)), _LEAST_STD))
  feature_scale = Scale(*(jnp.asarray(each, jnp.float32) for each in moments))
  classifier = _init_classifier(key_classifier, num_tasks)
  data = (_features(trunk, inputs), size, feature_scale)
  classifier = fit(_cross_entropy, classifier, data, key_classify, **CLASSIFIER_FIT)
  gram = np.einsum("tnf,tng->fg", phi, phi) / phi[..., 0].size
  fitted = (vectors, np.linalg.cholesky(spread), noise, gram)
  return RewardModel(
    input_scale, outcome_scale, trunk, feature_scale, classifier, *(jnp.asarray(each, jnp.float32) for each in fitted)
  )


def empty_model(num_tasks: int, num_inputs: int, num_outcomes: int) -> RewardModel:
  """A model of zeros in the shapes of a fitted one."""
  num_features = NUM_FEATURES + 1

  def scale(size: int) -> Scale:
    return Scale(jnp.zeros(size), jnp.ones(size))

  model = RewardModel(
    input_scale=scale(num_inputs),
    outcome_scale=scale(num_outcomes),
    trunk=_init_trunk(jax.random.key(0), num_inputs),
    feature_scale=scale(num_features),
    classifier=_init_classifier(jax.random.key(0), num_tasks),
    vectors=jnp.zeros((num_tasks, num_outcomes, num_features)),
    spread=jnp.zeros((num_outcomes, num_features, num_features)),
    noise=jnp.ones((num_tasks, num_outcomes)),
    gram=jnp.zeros((num_features, num_features)),
  )
  return jax.tree.map(jnp.zeros_like, model)


def _fit_vectors(phi: np.ndarray, outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Vectors `[T, D, F]`, their covariance S `[D, F, F]` and the noise `[T, D]`, by expectation-maximisation in float64.

  Expectation: each task's vector given its rows is Gaussian, of mean w_i and covariance C_i. Maximisation: mu = mean of
  w_i, S = mean of (w_i - mu)(w_i - mu)' + C_i, and the noise is the mean squared error.
  """
  num_tasks, num_rows, num_features = phi.shape
  gram = np.einsum("tnf,tng->tfg", phi, phi)
  moment = np.einsum("tnf,tnd->tdf", phi, outcomes)
  square = np.einsum("tnd,tnd->td", outcomes, outcomes)
  identity = np.eye(num_features)
  ridge = 1e-4 * np.trace(gram.mean(axis=0)) / num_features * identity
  vectors = np.linalg.solve(gram + ridge, moment.swapaxes(1, 2)).swapaxes(1, 2)  # [T, D, F]

  def noise_of(vectors: np.ndarray) -> np.ndarray:
    explained = np.einsum("tdf,tfg,tdg->td", vectors, gram, vectors) - 2.0 * np.einsum("tdf,tdf->td", vectors, moment)
    return np.maximum((square + explained) / num_rows, 1e-8)

  mean, noise = vectors.mean(axis=0), noise_of(vectors)
  away = vectors - mean
  spread = np.einsum("tdf,tdg->dfg", away, away) / num_tasks + 1e-3 * identity
  for _ in range(EM_ROUNDS):
    shared = noise.mean(axis=0)  # [D]
    inverse = np.linalg.inv(spread)
    covariance = np.linalg.inv(gram[:, None] / shared[:, None, None] + inverse)  # [T, D, F, F]
    pulled = moment / shared[:, None] + np.einsum("dfg,dg->df", inverse, mean)
    vectors = np.einsum("tdfg,tdg->tdf", covariance, pulled)
    mean, noise = vectors.mean(axis=0), noise_of(vectors)
    away = vectors - mean
    spread = (np.einsum("tdf,tdg->dfg", away, away) + covariance.sum(axis=0)) / num_tasks + 1e-8 * identity
  return vectors, spread, noise


def _weights(phi: Array, mask: Array, model: RewardModel, more: Array | float = 0.0) -> Array:
  """For how many rows each row of a support counts, [B], from 0 to 1.

  The model errs alike on rows that are alike, so that a hundred of them are hardly more evidence than one. Two rows are
  alike as far as no task's outcomes tell them apart: by the variance of w . (phi - phi') over tasks. Noise beyond the
  model's, of the variance `more`, is each row's own, and averages out.
  """
  place = jnp.einsum("bf,dfg->bdg", phi, model.spread).reshape(len(phi), -1) / jnp.sqrt(len(model.spread))
  square = jnp.sum(place**2, axis=-1)
  distance = jnp.maximum(square[:, None] + square - 2.0 * place @ place.T, 0.0)
  alike = jnp.maximum(jnp.exp(-0.5 * distance / LENGTH**2) @ mask / EVIDENCE, 1.0)
  noise = model.noise.mean()
  return mask * (noise + more) / (noise * alike + more)


def _inverse_factor(matrix: Array) -> Array:
  """L^-1 of symmetric matrices L L' of at least the identity, `[..., F, F]`, by elimination column after column.

  It is made of XLA's own operations. The LAPACK calls of jaxlib split a batch among the threads of a pool, one of which
  the call itself waits in, and two of them side by side never end where the pool has two threads.
  """
  size = matrix.shape[-1]
  # Where outcomes are known almost exactly the largest eigenvalue leaves the others no digits: as much as is lost to
  # rounding is added, so that what is left stays definite.
  rounding = 10.0 * jnp.finfo(matrix.dtype).eps * jnp.trace(matrix, axis1=-2, axis2=-1)
  identity = jnp.broadcast_to(jnp.eye(size), matrix.shape)
  start = jnp.concatenate([matrix + rounding[..., None, None] * identity, identity], axis=-1)

  def eliminate(column: Array, rows: Array) -> Array:
    root = jnp.sqrt(jnp.maximum(rows[..., column, column], 1.0))[..., None]  # what is left is at least the identity
    pivot = rows[..., column, :] / root
    below = jnp.where(jnp.arange(size) > column, rows[..., column] / root, 0.0)
    return (rows - below[..., None] * pivot[..., None, :]).at[..., column, :].set(pivot)

  return jax.lax.fori_loop(0, size, eliminate, start)[..., size:]


def _init_trunk(key: Key, num_inputs: int) -> Trunk:
  key_layers, key_skip = jax.random.split(key)
  skip = jax.random.normal(key_skip, (num_inputs, NUM_FEATURES)) / np.sqrt(num_inputs)
  return Trunk(init_layers(key_layers, (num_inputs, WIDTH, WIDTH, NUM_FEATURES), output_scale=np.sqrt(0.5)), skip)


def _init_classifier(key: Key, num_tasks: int) -> Layers:
  return init_layers(key, (NUM_FEATURES + 1, CLASSIFIER_WIDTH, CLASSIFIER_WIDTH, num_tasks), output_scale=0.0)


def _features(trunk: Trunk, inputs: Array) -> Array:
  learned = apply_layers(trunk.layers, inputs) + inputs @ trunk.skip
  return jnp.concatenate([learned, jnp.ones_like(learned[..., :1])], axis=-1)


def _coverage(model: RewardModel, phi: Array) -> Array:
  logits = apply_layers(model.classifier, (phi - model.feature_scale.mean) / model.feature_scale.std)
  share = len(model.vectors) * jax.nn.softmax(logits)
  return share / (share + COVERAGE)


def _squared_error(params: tuple[Trunk, Array], data: tuple[Array, ...], key: Key) -> Array:
  (trunk, vectors), (inputs, outcomes, size) = params, data
  task, row = _draw(key, size)
  predicted = jnp.einsum("bf,bdf->bd", _features(trunk, inputs[task, row]), vectors[task])
  return jnp.mean((predicted - outcomes[task, row]) ** 2)


def _cross_entropy(classifier: Layers, data: tuple[Array, Array, Scale], key: Key) -> Array:
  phi, size, scale = data
  task, row = _draw(key, size)
  logits = apply_layers(classifier, (phi[task, row] - scale.mean) / scale.std)
  return optax.softmax_cross_entropy_with_integer_labels(logits, task).mean()


def _draw(key: Key, size: Array) -> tuple[Array, Array]:
  """A batch of rows of tasks that are equally likely, as indices `[B]` of both."""
  key_task, key_row = jax.random.split(key)
  task = jax.random.randint(key_task, (BATCH_SIZE,), 0, len(size))
  return task, jax.random.randint(key_row, (BATCH_SIZE,), 0, size[task])


def _fit_scale(table: np.ndarray, size: np.ndarray) -> Scale:
  """Over the real rows of `[T, N, K]`."""
  rows = np.concatenate([values[: int(count)] for values, count in zip(table, size, strict=True)])
  return Scale(
    jnp.asarray(rows.mean(axis=0, dtype=np.float64), jnp.float32),
    jnp.asarray(np.maximum(rows.std(axis=0, dtype=np.float64), _LEAST_STD), jnp.float32),
  )


def _standardise(scale: Scale, values: Array) -> Array:
  return jnp.clip((values - scale.mean) / scale.std, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)


def _standardised_outcomes(model: RewardModel, rows: Rows) -> Array:
  """Outcomes `[B, D]` as the model sees them; unlike inputs they are not cut, as errors of any size count."""
  return (rows.outcomes - model.outcome_scale.mean) / model.outcome_scale.std


def _log_normal(error: Array, variance: Array) -> Array:
  """Log-density of independent normal outcomes without its constant, `[..., D] -> [...]`."""
  return -0.5 * jnp.sum(error**2 / variance + jnp.log(jnp.broadcast_to(variance, error.shape)), axis=-1)
