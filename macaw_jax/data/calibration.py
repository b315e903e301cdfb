"""How well the rewards of a new task are inferred, tried on training tasks that a model has not seen.

A model is fitted without every fifth task. From rows of each of these the task is inferred and its outcomes on other
rows are predicted: once from rows drawn evenly, and once from the worst-paid fifth, which is what a policy sees that is
wrong for the task. The second says what the posterior's intervals must be multiplied by, so that they hold what they
say whoever collected a support: its own is made of rows like those that the model was fitted to.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.data.dataset import Dataset
from macaw_jax.data.reward_model import Posterior, Read, RewardModel, Rows, features, fit_reward_model, infer, predict
from macaw_jax.types import Array, Key

EVERY, LEAST_TASKS = 5, 10  # one task of so many is held out, where there are as many tasks
SUPPORT_ROWS, PREDICTED_ROWS, SUPPORTS = 256, 512, 4  # of each held-out task
WORST = 0.2  # share of a task's rows, by reward
LEVEL, DEVIATIONS = 0.9, 1.645  # of the interval that is made to hold, and its half width in standard deviations


class Calibration(NamedTuple):
  """How well held-out tasks are inferred."""

  r_squared: float  # of predicted outcomes, mean over tasks, from rows drawn evenly
  r_squared_of_worst: float  # from the worst-paid rows
  factor: float  # on predicted standard deviations, by which 90 % intervals hold 90 % from the worst-paid rows


def predictive(model: RewardModel, posterior: Posterior, inputs: Array) -> tuple[Array, Array]:
  """Mean and standard deviation of the outcomes of inputs `[B, I]` in the task of a posterior, `[B, D]` each.

  In the units of the outcomes; the deviations are the model's own, `Calibration.factor` times them are calibrated.
  """
  phi = features(model, inputs)
  variance = jnp.einsum("bf,dfg,bg->bd", phi, posterior.covariance, phi) + posterior.tasks @ model.noise
  return predict(model, inputs, posterior.mean), jnp.sqrt(variance) * model.outcome_scale.std


def calibrate(dataset: Dataset, read: Read, key: Key) -> Calibration | None:
  """Fits a model to four fifths of the tasks and tries it on the others; None where there are fewer than ten tasks."""
  num_tasks = len(dataset.size)
  if num_tasks < LEAST_TASKS:
    return None
  held_out = np.arange(0, num_tasks, EVERY)
  fitted = np.setdiff1d(np.arange(num_tasks), held_out)
  key_fit, key_rows = jax.random.split(key)
  model = fit_reward_model(jax.tree.map(lambda leaf: leaf[fitted], dataset), read, key_fit)
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key_rows)))

  @jax.jit
  def try_support(support: Rows, predicted: Rows) -> tuple[Array, Array]:
    mean, std = predictive(model, infer(model, support), predicted.inputs)
    error = predicted.outcomes - mean
    unexplained = jnp.mean(error**2, axis=0) / jnp.maximum(jnp.var(predicted.outcomes, axis=0), 1e-12)
    return 1.0 - unexplained.mean(), jnp.abs(error) / std

  found: dict[str, list[tuple[Array, Array]]] = {"even": [], "worst": []}
  for task in held_out:
    size = int(dataset.size[task])
    rows = jax.tree.map(lambda leaf, task=task, size=size: np.asarray(leaf[task, :size]), read(dataset))
    by_reward = np.argsort(dataset.reward[task, :size])
    for name, candidates in (("even", by_reward), ("worst", by_reward[: max(int(WORST * size), 1)])):
      for _ in range(SUPPORTS):
        support, predicted = rng.choice(candidates, SUPPORT_ROWS), rng.choice(size, PREDICTED_ROWS)
        found[name].append(try_support(_take(rows, support), _take(rows, predicted)))
  even, worst = (float(np.mean([value for value, _ in found[name]])) for name in ("even", "worst"))
  deviations = np.concatenate([np.asarray(values).ravel() for _, values in found["worst"]])
  return Calibration(even, worst, float(np.quantile(deviations, LEVEL) / DEVIATIONS))


def _take(rows: Rows, indices: np.ndarray) -> Rows:
  return jax.tree.map(lambda leaf: leaf[indices], rows)
