"""How much of the training tasks the latents of an agent hold, on agents whose latents are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.algorithms.settings import defaults_of, make_algorithm
from macaw_jax.evaluation.latents import NOTHING, Reading, describe_nothing, make_read_latents, reads_latent
from macaw_jax.types import LATENT, Algorithm, Problem, TaskBatch

SUPPORT_SIZE = 16


def sample(data, key, num_tasks=4):
  """Supports of observations around the place of each task, `data` `[N, 2]`."""
  key_tasks, key_rows = jax.random.split(key)
  chosen = jax.random.choice(key_tasks, len(data), (num_tasks,), replace=False)
  support = data[chosen][:, None] + 0.3 * jax.random.normal(key_rows, (num_tasks, SUPPORT_SIZE, 2))
  return TaskBatch(support, None, chosen)


def reader(latent):
  """An agent whose latent is a function `(mean of the support [2], key)`."""
  return Algorithm(None, None, lambda params, support, key: {LATENT: latent(support.mean(axis=0), key)}, None)


def noise(mean, key):
  return jax.random.normal(key, (3,))


LATENTS = {
  "all": (lambda mean, key: jnp.concatenate([mean @ jnp.array([[1.0, 2.0], [3.0, -1.0]]), noise(mean, key)]), 0.9, 1.0),
  "one of two": (lambda mean, key: jnp.stack([mean[0], 0.0]), 0.4, 0.6),
  "noise": (noise, -0.2, NOTHING),
  "a constant": (lambda mean, key: jnp.ones(3), -0.2, NOTHING),
}


def read(latent, num_tasks, parameters=None):
  places = jax.random.normal(jax.random.key(5), (num_tasks, 2))
  tasks = {"goal": np.asarray(places) if parameters is None else parameters}
  reading = make_read_latents(reader(latent), sample if num_tasks > 4 else two_tasks, tasks, tasks_per_batch=4)
  return reading({}, places, jax.random.key(1))


def two_tasks(data, key):
  """Each of few tasks, over and over."""
  batch = sample(jnp.concatenate([data, data]), key)
  return batch._replace(task_index=batch.task_index % len(data))


@pytest.mark.parametrize("num_tasks", [2, 5, 30])
@pytest.mark.parametrize("name", LATENTS)
def test_r_squared_is_the_share_of_the_tasks_that_a_latent_holds(name, num_tasks):
  latent, low, high = LATENTS[name]
  found = read(latent, num_tasks)
  if name != "one of two" or num_tasks == 30:  # The places of few tasks lie on a line, or near one.
    assert low < found.r_squared <= high
  assert found.could_hold_all
  assert found.is_nothing == (high == NOTHING)


def test_tasks_are_decoded_that_the_map_has_not_seen():
  """A latent that only names its task says nothing of where another task is."""
  places = jax.random.normal(jax.random.key(5), (30, 2))

  def by_name(mean, key):
    return jax.nn.one_hot(jnp.argmin(jnp.sum((places - mean) ** 2, axis=-1)), 30)

  assert read(by_name, 30).r_squared < 0.3


def test_a_latent_is_not_blamed_for_parameters_that_it_has_no_room_for():
  parameters = np.random.default_rng(0).normal(size=(30, 7))
  found = read(noise, 30, parameters)
  assert found.r_squared < NOTHING
  assert not found.could_hold_all
  assert not found.is_nothing
  # Seven parameters in one number each: two of them are independent.
  dependent = parameters[:, :2] @ np.ones((2, 7)) + parameters[:, :1] * np.arange(7)
  assert read(noise, 30, dependent).could_hold_all


def test_latents_that_are_not_finite_have_no_r_squared():
  found = read(lambda mean, key: jnp.where(mean[0] > 0, mean, jnp.nan), 30)
  assert np.isnan(found.r_squared)
  assert not found.is_nothing


def test_the_line_about_nothing_says_how_little_it_is():
  assert "train/latent_r2 = 0.04, 1 is all of it" in describe_nothing(Reading(0.04, could_hold_all=True))


@pytest.mark.parametrize(("name", "expected"), [("pearl", True), ("csro", True), ("macaw", False), ("norml", False)])
def test_which_agents_read_a_latent(name, expected):
  assert reads_latent(make_algorithm(name, Problem(3, 2, 4, 0.9), defaults_of(name))) == expected
