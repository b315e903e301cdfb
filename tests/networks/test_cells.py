"""Cells, and the run of a cell over a sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.networks.cells import CELLS, attention, gru, run_cell

SIZE, LENGTH = 3, 7
KEY = jax.random.key(0)
INPUTS = jax.random.normal(KEY, (LENGTH, SIZE))


def small(name):
  settings = {"gru": {"hidden_size": 4}, "attention": {"hidden_size": 4, "num_heads": 2, "window": 5}}[name]
  return CELLS[name](**settings)(SIZE)


@pytest.mark.parametrize("name", sorted(CELLS))
def test_a_run_is_its_steps_one_after_the_other_and_passes_over_what_did_not_happen(name):
  cell = small(name)
  params = cell.init(KEY)
  mask = jnp.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
  # Padding may hold anything, but what is not finite.
  padded = jnp.where(mask[:, None] > 0, INPUTS, 1e6)
  carry, outputs = jax.jit(lambda params: run_cell(cell, params, cell.start, padded, mask))(params)
  assert outputs.shape == (LENGTH, cell.output_size)
  alone = cell.start
  for index in np.flatnonzero(mask):
    alone, output = cell.step(params, alone, INPUTS[index])
    np.testing.assert_allclose(outputs[index], output, rtol=1e-5, atol=1e-6)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), carry, alone)


@pytest.mark.parametrize("name", sorted(CELLS))
def test_outputs_depend_on_what_came_before_and_on_nothing_that_comes_after(name):
  cell = small(name)
  params = cell.init(KEY)

  def output(inputs):
    return jnp.sum(run_cell(cell, params, cell.start, inputs, jnp.ones(LENGTH))[1][3])

  size = np.abs(jax.jit(jax.grad(output))(INPUTS)).sum(axis=-1)
  assert np.all(size[:4] > 0)
  np.testing.assert_array_equal(size[4:], 0)


def test_attention_forgets_what_is_older_than_its_window():
  cell = small("attention")
  params = cell.init(KEY)

  def output(inputs):
    return jnp.sum(run_cell(cell, params, cell.start, inputs, jnp.ones(LENGTH))[1][-1])

  size = np.abs(jax.jit(jax.grad(output))(INPUTS)).sum(axis=-1)
  np.testing.assert_array_equal(size[: LENGTH - 5], 0)
  assert np.all(size[LENGTH - 5 :] > 0)


def test_an_attention_cell_starts_with_nothing_to_attend_to():
  """What stands in the places of inputs that have not come is not read."""
  cell = small("attention")
  params = cell.init(KEY)
  _, first = cell.step(params, cell.start, INPUTS[0])
  disturbed = cell.start._replace(embedded=jnp.full_like(cell.start.embedded, 7.0))
  np.testing.assert_array_equal(cell.step(params, disturbed, INPUTS[0])[1], first)


@pytest.mark.parametrize(
  ("make", "settings", "named"),
  [
    (gru, {"hidden_size": 0}, "hidden_size=0"),
    (attention, {"window": 0}, "window=0"),
    (attention, {"hidden_size": 6, "num_heads": 4}, "num_heads=4"),
  ],
)
def test_a_size_that_cannot_be_is_refused(make, settings, named):
  with pytest.raises(ValueError, match=named):
    make(**settings)
