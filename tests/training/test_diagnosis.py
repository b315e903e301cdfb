"""The update that stopped a member, repeated and taken apart."""

import inspect
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from linear_cloning import make_dataset, sample
from poisoned_cloning import LOUD, WELL, cloning, poisoned, reference, run

from macaw_jax.adaptation import identity
from macaw_jax.learners.gradient import meta_learner, optimize_parts
from macaw_jax.training.diagnosis import (
  describe,
  diagnose,
  entries_of,
  first_bad_operation,
  last_skipped_update,
)
from macaw_jax.training.population import Skips, has_stopped, member

KEY = jax.random.key(3)


def stop(dataset, make, most=2, members=(WELL, LOUD), num_steps=200):
  """Trains until members have stopped; returns the population and the keys."""
  keys = list(jax.random.split(KEY, len(members)))
  population, *_ = run(list(members), keys, dataset, num_steps, 3, most=most, make=make)
  assert has_stopped(population.skips, most).any()
  return population, keys


def two_parts(learning_rate):
  """An actor that is cloned, and a value whose loss takes the logarithm of rewards plus 1."""

  def loss(params, batch, key):
    del key
    cloned = jnp.mean((batch.observation @ params["policy"] - batch.action) ** 2)
    wanted = jnp.log(batch.reward + 1.0)
    valued = jnp.mean((batch.observation @ params["value"] - wanted) ** 2)
    return cloned + valued, {"policy_loss": cloned, "value_loss": valued}

  def init_net(key):
    return {"policy": 0.1 * jax.random.normal(key, (3, 2)), "value": jnp.zeros(3)}

  rate = optax.sgd(learning_rate)
  return meta_learner(
    init_net=init_net,
    adaptation=identity(),
    outer_loss=loss,
    optimizer=optimize_parts({"policy": rate, "value": rate, "rule": rate}),
    act=lambda params, timestep, key: timestep.observation @ params["policy"],
  )


def with_low_reward():
  """Data whose second task has a reward below -1 in some rows."""
  dataset = make_dataset()
  dataset.reward[1, :3] = -1.5
  return dataset


def test_the_last_of_the_updates_that_stopped_a_member_is_the_one_that_is_repeated():
  dataset = poisoned([3, 9])
  population, keys = stop(dataset, cloning)
  for index, values in enumerate((WELL, LOUD)):
    state, skipped, _ = reference(values, keys[index], dataset, 200, most=2)
    assert int(population.step[index]) == state.step
    update = last_skipped_update(member(population, index), sample, dataset, keys[index])
    assert update.step == skipped[-1] == state.step - 1
    assert np.isnan(update.tasks.query.action).any()
    jax.tree.map(np.testing.assert_array_equal, update.state.params, member(population.state.params, index))


def test_metrics_parts_tasks_and_entries_that_are_not_finite_are_named():
  population, keys = stop(with_low_reward(), two_parts)
  update = last_skipped_update(member(population, 0), sample, with_low_reward(), keys[0])
  diagnosis = diagnose(two_parts, update)
  assert diagnosis.before == diagnosis.batch == ()
  assert diagnosis.metrics == ("value_loss",)
  assert diagnosis.after == ("net.value",)
  assert diagnosis.tasks == (1,)
  entry, value = diagnosis.largest
  assert value == max(np.abs(leaf).max() for leaf in jax.tree.leaves(update.tasks))
  assert describe(diagnosis, update, task_names=[7, 12]) == (
    f"the update after step {update.step}: not finite in it: value_loss; not finite after it: net.value; tasks 7, 12; "
    "not finite either with one of these alone: 12; the batch itself is finite, its largest number "
    f"{value:.4g} in {entry}"
  )


def line_of(function, text):
  """`<this file>:<line> (` of the line of a function that has `text`."""
  lines, start = inspect.getsourcelines(function)
  (offset,) = (index for index, line in enumerate(lines) if text in line)
  return f"{pathlib.Path(__file__).name}:{start + offset} ("


def test_the_operation_is_named_with_the_line_of_the_loss():
  population, keys = stop(with_low_reward(), two_parts)
  found = first_bad_operation(two_parts, last_skipped_update(member(population, 1), sample, with_low_reward(), keys[1]))
  assert found.startswith("invalid value (nan) encountered in log at ")
  assert f"{line_of(two_parts, 'jnp.log(batch.reward')}loss)" in found
  assert "inf" not in found


def with_loss(of_policy):
  """A maker of agents whose loss is a function of the policy alone."""

  def make(learning_rate):
    def loss(params, batch, key):
      del batch, key
      return of_policy(params["policy"]), {"policy_loss": of_policy(params["policy"])}

    return meta_learner(
      init_net=lambda key: {"policy": jnp.zeros((3, 2))},
      adaptation=identity(),
      outer_loss=loss,
      optimizer=optimize_parts({"policy": optax.sgd(learning_rate), "rule": optax.sgd(learning_rate)}),
      act=lambda params, timestep, key: timestep.observation @ params["policy"],
    )

  return make


def operation_of(of_policy, learning_rate):
  make = with_loss(of_policy)
  population, keys = stop(make_dataset(), make, members=({"learning_rate": learning_rate},))
  return first_bad_operation(make, last_skipped_update(member(population, 0), sample, make_dataset(), keys[0]))


def masked_root(policy):
  return jnp.sum(jnp.where(policy > 0, jnp.sqrt(policy), 0.0))


def test_an_operation_of_a_gradient_has_the_line_that_it_is_the_derivative_of():
  nan, inf = operation_of(masked_root, 0.1).split("; ")
  assert nan.startswith("invalid value (nan) encountered in mul at ")
  assert inf.startswith("invalid value (inf) encountered in div at ")
  assert all(line_of(masked_root, "jnp.sqrt") in each for each in (nan, inf))


def test_an_operation_of_the_optimiser_has_the_line_that_calls_it():
  found = operation_of(lambda policy: jnp.sum(4.0 * policy), 3e38)
  assert found.startswith("invalid value (inf) encountered in mul at ")
  assert "macaw_jax/learners/gradient.py:" in found


def test_a_batch_that_is_not_finite_is_named_as_the_cause():
  dataset = poisoned([3, 9])
  population, keys = stop(dataset, cloning)
  update = last_skipped_update(member(population, 0), sample, dataset, keys[0])
  diagnosis = diagnose(cloning, update)
  assert diagnosis.batch == ("support.action", "query.action")
  assert describe(diagnosis, update).endswith("; not finite in the batch: support.action, query.action")
  assert first_bad_operation(cloning, update) == "not finite to begin with: support.action, query.action"


def test_a_hyperparameter_that_is_not_finite_is_named_as_the_cause():
  population, keys = stop(make_dataset(), cloning, members=({"learning_rate": np.nan},))
  update = last_skipped_update(member(population, 0), sample, make_dataset(), keys[0])
  assert first_bad_operation(cloning, update) == "not finite to begin with: learning_rate"


def test_a_state_that_was_not_finite_before_is_named():
  population, keys = stop(poisoned([3, 9]), cloning)
  stopped = member(population, 0)
  broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), stopped.state.params)
  stopped = stopped._replace(state=stopped.state._replace(params=broken))
  update = last_skipped_update(stopped, sample, make_dataset(), keys[0])
  assert describe(diagnose(cloning, update), update).startswith(
    f"the update after step {update.step}: not finite before it already: net.policy; not finite in it: policy_loss;"
  )


def test_an_update_that_is_finite_when_repeated_is_said_to_be():
  population, keys = stop(poisoned([3, 9]), cloning)
  update = last_skipped_update(member(population, 0), sample, make_dataset(), keys[0])
  said = describe(diagnose(cloning, update), update)
  assert "finite when it is repeated by itself, so rounding has decided; tasks 0, 1; the batch itself is finite" in said
  assert first_bad_operation(cloning, update) is None


def test_a_member_whose_last_update_was_applied_has_no_bad_update():
  population, keys = stop(poisoned([3, 9]), cloning)
  applied = member(population, 0)._replace(skips=Skips(np.int32(4), np.int32(0)))
  with pytest.raises(ValueError, match="expected a member whose last update was skipped"):
    last_skipped_update(applied, sample, make_dataset(), keys[0])


def test_the_entries_of_a_batch_have_names():
  entries = entries_of(sample(make_dataset(), KEY))
  assert list(entries)[:2] == ["support.observation", "support.action"]
  assert len(entries) == 2 * 9 + 1
  assert list(entries)[-1] == "task_index"
