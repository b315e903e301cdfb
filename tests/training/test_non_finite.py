"""Updates that give numbers that are not finite are skipped, counted, and stop the member; nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_cloning import linear_cloning, make_dataset
from poisoned_cloning import DIVERGES, LOUD, WELL, cloning, poisoned, reference, run

from macaw_jax.training.loop import compile_chunk, initialise
from macaw_jax.training.population import Skips, has_stopped, member

KEYS = list(jax.random.split(jax.random.key(3), 3))


class Compiles:
  """Counts what is compiled, by the name of what goes in."""

  def __init__(self):
    self.names = []

  def __call__(self, chunk, state, dataset, keys):
    self.names.append(type(state).__name__)
    return compile_chunk(chunk, state, dataset, keys)


def assert_same(actual, expected):
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


def assert_close(actual, expected):
  jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6), actual, expected)


@pytest.mark.parametrize("steps_per_chunk", [1, 4, 24])
def test_exactly_the_updates_on_a_poisoned_batch_are_skipped(steps_per_chunk):
  dataset, members = poisoned([3]), [WELL, LOUD, WELL]
  population, rows, _ = run(members, KEYS, dataset, 24, steps_per_chunk)
  counts = set()
  for index, (values, key) in enumerate(zip(members, KEYS, strict=True)):
    state, skipped, losses = reference(values, key, dataset, 24)
    counts.add(tuple(skipped))
    assert 0 < len(skipped) < 24
    assert population.skips.total[index] == len(skipped)
    assert_close(member(population.state, index), state)
    of_chunks = losses.reshape(-1, steps_per_chunk)
    for chunk, row in enumerate(rows):
      assert row["skipped_updates"][index] == np.isnan(losses[: (chunk + 1) * steps_per_chunk]).sum()
      applied = of_chunks[chunk][np.isfinite(of_chunks[chunk])]
      np.testing.assert_allclose(row["policy_loss"][index], applied.mean() if len(applied) else np.nan, rtol=1e-5)
  assert len(counts) == 3  # each member has drawn other batches
  assert all(row.keys() == {"policy_loss", "skipped_updates"} for row in rows)


def test_without_a_skip_nothing_else_is_compiled_and_all_is_as_without_the_test():
  compiles, traces = Compiles(), []
  make = lambda learning_rate: linear_cloning(lambda: traces.append(1), learning_rate)  # noqa: E731
  population, rows, _ = run([WELL, LOUD], KEYS[:2], make_dataset(), 12, 3, compiles=compiles, make=make)
  assert compiles.names == ["Population"]
  assert len(traces) == 1
  assert [list(row["skipped_updates"]) for row in rows] == [[0, 0]] * 4
  for index, (values, key) in enumerate(zip([WELL, LOUD], KEYS, strict=False)):
    assert_close(member(population.state, index), reference(values, key, make_dataset(), 12)[0])


def test_what_repeats_updates_is_compiled_once():
  compiles = Compiles()
  _, rows, _ = run([WELL], KEYS[:1], poisoned([3]), 24, 3, compiles=compiles)
  assert len({int(row["skipped_updates"][0]) for row in rows}) > 2
  assert compiles.names == ["Population", "Attempt"]


def test_a_member_stops_after_so_many_skips_in_a_row_and_the_others_go_on():
  members = [WELL, DIVERGES, LOUD]
  population, rows, kept = run(members, KEYS, make_dataset(), 12, 2, most=3)
  np.testing.assert_array_equal(population.step, [12, 3, 12])
  np.testing.assert_array_equal(population.skips.total, [0, 3, 0])
  np.testing.assert_array_equal(population.skips.in_a_row, [0, 3, 0])
  assert [list(has_stopped(each.skips, 3)) for each in kept[:3]] == [
    [False] * 3,
    [False, True, False],
    [False, True, False],
  ]
  first = initialise(cloning(), KEYS[1])
  assert_same(member(population.state, 1), first._replace(step=jnp.int32(3)))
  assert [np.isnan(row["policy_loss"][1]) for row in rows] == [True] * 6
  assert all(np.isfinite(row["policy_loss"][[0, 2]]).all() for row in rows)


def test_skips_count_in_a_row_only_while_no_update_is_applied():
  dataset = poisoned([3, 9, 14])
  for most in (2, 3):
    population, *_ = run([WELL], KEYS[:1], dataset, 48, 4, most=most)
    state, skipped, _ = reference(WELL, KEYS[0], dataset, 48, most=most)
    assert population.step[0] == state.step < 48
    assert population.skips.total[0] == len(skipped)
    assert skipped[-most:] == list(range(state.step - most, state.step))
    assert_close(member(population.state, 0), state)


def test_the_loop_ends_when_every_member_has_stopped():
  population, rows, _ = run([DIVERGES, DIVERGES], KEYS[:2], make_dataset(), 1000, 2, most=3)
  np.testing.assert_array_equal(population.step, [3, 3])
  assert len(rows) == 3  # the last one changed nothing
  again, rows, _ = run(
    [DIVERGES],
    KEYS[:1],
    make_dataset(),
    1000,
    2,
    most=3,
    begin=([member(population.state, 0)], [member(population.skips, 0)]),
  )
  np.testing.assert_array_equal(again.step, [3])
  assert len(rows) == 1


def test_a_run_that_continues_from_any_chunk_is_the_one_that_was_not_stopped_bit_for_bit():
  members, dataset = [WELL, DIVERGES, LOUD], poisoned([3, 9])
  whole, rows, kept = run(members, KEYS, dataset, 24, 3, most=8)
  assert 0 < whole.skips.total[0] < 24
  assert whole.skips.in_a_row[1] == 8
  assert any(each.skips.in_a_row[0] for each in kept)
  for index, cut in enumerate(kept[:-1]):
    begin = [[member(part, each) for each in range(3)] for part in (cut.state, cut.skips)]
    continued, rest, _ = run(members, KEYS, dataset, 24, 3, most=8, begin=begin)
    assert_same(continued, whole)
    assert_same(rest, rows[index + 1 :])


def test_what_happens_to_a_member_does_not_depend_on_the_others():
  dataset = poisoned([3])
  with_healthy, *_ = run([WELL, WELL, LOUD], KEYS, dataset, 24, 4)
  with_diverging, *_ = run([WELL, DIVERGES, LOUD], KEYS, dataset, 24, 4, most=10)
  for index in (0, 2):
    assert_same(member(with_healthy, index), member(with_diverging, index))
  alone, *_ = run([WELL], KEYS[:1], dataset, 24, 4)
  assert_close(member(with_healthy.state, 0), member(alone.state, 0))
  assert_same(member(with_healthy.skips, 0), member(alone.skips, 0))


def test_a_member_whose_skips_do_not_repeat_is_not_touched_by_the_repetition_of_another():
  # The first member alone has drawn no poisoned row; the second has.
  clean, dataset = make_dataset(), poisoned([3])
  spared = next(key for key in jax.random.split(jax.random.key(8), 200) if not reference(WELL, key, dataset, 6)[1])
  together, *_ = run([WELL, WELL], [spared, KEYS[0]], dataset, 6, 6)
  untouched, *_ = run([WELL, WELL], [spared, KEYS[0]], clean, 6, 6)
  assert together.skips.total[1] > 0
  assert_same(member(together, 0), member(untouched, 0))


def test_a_loss_that_is_not_finite_is_skipped_though_parameters_would_stay_finite():
  def make(learning_rate):
    algorithm = cloning(learning_rate)

    def update(state, tasks, key):
      updated, metrics = algorithm.update(state, tasks, key)
      return updated, metrics | {"other_loss": jnp.where(state.step == 2, jnp.inf, 1.0)}

    return algorithm._replace(update=update)

  population, rows, _ = run([WELL], KEYS[:1], make_dataset(), 4, 4, make=make)
  assert_same(member(population.skips, 0), Skips(np.int32(1), np.int32(0)))
  np.testing.assert_array_equal(rows[0]["other_loss"], [1.0])
