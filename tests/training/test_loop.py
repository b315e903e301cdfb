import jax
import numpy as np
import pytest
from linear_cloning import linear_cloning, run, sample

from macaw_jax.training import loop


def test_any_chunking_gives_the_same_parameters_and_metrics():
  one, metrics_one = run(12, 1)
  four, metrics_four = run(12, 4)
  twelve, metrics_twelve = run(12, 12)
  for other in (four, twelve):
    np.testing.assert_array_equal(one.params.net["policy"], other.params.net["policy"])
  losses = np.array([metrics_one[step]["policy_loss"] for step in range(1, 13)])
  np.testing.assert_allclose(metrics_twelve[12]["policy_loss"], losses.mean(), rtol=1e-6)
  np.testing.assert_allclose(
    [metrics_four[step]["policy_loss"] for step in (4, 8, 12)], losses.reshape(3, 4).mean(1), rtol=1e-6
  )


def test_the_loop_learns():
  _, metrics = run(200, 50)
  assert metrics[200]["policy_loss"] < 0.9 * metrics[50]["policy_loss"]


def test_steps_draw_different_keys():
  _, metrics = run(4, 1, linear_cloning(learning_rate=0.0))
  assert len({float(row["policy_loss"]) for row in metrics.values()}) == 4


def test_update_is_traced_once_in_a_run():
  traces = []
  run(12, 3, linear_cloning(lambda: traces.append(1)))
  assert len(traces) == 1


def test_state_is_donated():
  algorithm = linear_cloning()
  state = loop.initialise(algorithm, jax.random.key(0))
  weight = state.params.net["policy"]
  run(2, 2, algorithm, state)
  assert weight.is_deleted()


def test_a_finished_state_is_left_alone():
  state, _ = run(4, 4)
  again, metrics = run(4, 4, state=state)
  assert again is state
  assert metrics == {}


def test_a_chunk_needs_an_update():
  with pytest.raises(ValueError, match="num_steps is 0"):
    loop.make_chunk(linear_cloning(), sample, 0)
