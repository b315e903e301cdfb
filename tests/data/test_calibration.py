"""The intervals of inferred rewards hold what they say on tasks that no model was fitted to."""

import jax
import numpy as np
import pytest
from point_goals import point_dataset

from macaw_jax.data import reward_model
from macaw_jax.data.calibration import DEVIATIONS, LEAST_TASKS, calibrate, predictive
from macaw_jax.data.reward_model import fit_reward_model, infer, rewards

NUM_TASKS = 20


def goals(count, seed):
  return np.random.default_rng(seed).uniform(-0.8, 0.8, (count, 2))


@pytest.fixture(scope="module")
def fitted():
  """A model of twenty tasks and its calibration."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(reward_model, "TRUNK_FIT", reward_model.TRUNK_FIT | {"steps": 1_500})
    patch.setattr(reward_model, "CLASSIFIER_FIT", reward_model.CLASSIFIER_FIT | {"steps": 800})
    dataset = point_dataset(goals(NUM_TASKS, 0))
    return (
      fit_reward_model(dataset, rewards, jax.random.key(0)),
      calibrate(dataset, rewards, jax.random.key(1)),
    )


def test_held_out_tasks_are_inferred(fitted):
  _, calibration = fitted
  assert calibration.r_squared > 0.8
  assert calibration.r_squared >= calibration.r_squared_of_worst - 0.05


@pytest.mark.parametrize("acted", ["own", "other"])
def test_intervals_hold_what_they_say(fitted, acted):
  """Whether the task's own policy collected the support or another's."""
  model, calibration = fitted
  new = goals(8, 7)
  asked = rewards(point_dataset(new, seed=50))
  given = asked if acted == "own" else rewards(point_dataset(new, np.roll(new, 1, axis=0), seed=90))
  within = []
  for task in range(len(new)):
    support, predicted = (jax.tree.map(lambda leaf, task=task: leaf[task, :256], rows) for rows in (given, asked))
    mean, std = predictive(model, infer(model, support), predicted.inputs)
    error = np.abs(np.asarray(predicted.outcomes - mean))
    within.append(np.mean(error <= DEVIATIONS * calibration.factor * np.asarray(std)))
  assert np.mean(within) > 0.8  # of 0.9, on eight tasks
  # An interval of everything would hold too: errors are of the size of the deviations.
  assert calibration.factor < 6.0


def test_few_tasks_are_not_held_out():
  assert calibrate(point_dataset(goals(LEAST_TASKS - 1, 0)), rewards, jax.random.key(0)) is None
