"""The operation that what is not finite comes from, and its line."""

import inspect
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from macaw_jax.training.first_non_finite import first_non_finite

HERE = pathlib.Path(__file__).name


def line_of(function, text):
  """`<this file>:<line>` of the line of a function that has `text`."""
  lines, start = inspect.getsourcelines(function)
  (offset,) = (index for index, line in enumerate(lines) if text in line)
  return f"{HERE}:{start + offset} ("


def log_loss(values):
  scaled = 2.0 * values
  logs = jnp.log(scaled)
  return jnp.mean(logs - jnp.exp(logs))


def masked_root(values):
  return jnp.sum(jnp.where(values > 0, jnp.sqrt(values), 0.0))


def in_a_scan(values):
  def body(total, value):
    return total + jnp.log(value), total

  return jax.lax.scan(body, 0.0, values)


def in_a_loop(values):
  def body(carry):
    count, value = carry
    return count + 1, value / (value - 1.0)

  return jax.lax.while_loop(lambda carry: carry[0] < 3, body, (0, values))


def in_a_branch(values):
  return jax.lax.cond(values[0] > 0, lambda x: jnp.exp(x), lambda x: jnp.log(x), values)


@jax.jit
def compiled_quotient(values):
  return values / jnp.sum(values)


def remembering_little(values):
  return jax.checkpoint(lambda x: jnp.sum(jnp.sqrt(x)))(values)


def test_a_logarithm_of_negative_numbers_is_named_with_its_line_and_their_range():
  found = first_non_finite(jax.vmap(log_loss), jnp.array([[1.0, 2.0], [-0.5, 3.0]]))
  assert found.startswith("`log` at ")
  assert line_of(log_loss, "jnp.log(scaled)") in found
  assert found.endswith("gives NaN from float32[2,2] from -1 to 6")


@pytest.mark.parametrize(
  ("function", "values", "operation", "owner", "text"),
  [
    (in_a_scan, [1.0, -1.0, 2.0], "log", in_a_scan, "jnp.log(value)"),
    (jax.jit(in_a_scan), [1.0, -1.0, 2.0], "log", in_a_scan, "jnp.log(value)"),
    (in_a_loop, [1.0], "div", in_a_loop, "value / (value - 1.0)"),
    (in_a_branch, [-1.0], "log", in_a_branch, "jnp.log(x)"),
    (compiled_quotient, [1.0, -1.0], "div", compiled_quotient.__wrapped__, "values / jnp.sum"),
    (jax.grad(remembering_little), [0.0], "div", remembering_little, "jnp.sqrt(x)"),
  ],
)
def test_it_is_found_within_loops_branches_and_compiled_parts(function, values, operation, owner, text):
  found = first_non_finite(function, jnp.array(values))
  assert found.startswith(f"`{operation}` ")
  assert line_of(owner, text) in found


def test_a_gradient_names_the_line_that_it_is_the_derivative_of():
  found = first_non_finite(jax.grad(masked_root), jnp.array([0.0, 4.0]))
  assert found.startswith("`mul` in the derivative of ")
  assert "; the infinity comes from `div` " in found
  assert found.count(line_of(masked_root, "jnp.sqrt")) == 2


def test_what_is_not_finite_and_does_not_reach_the_result_is_not_named():
  assert first_non_finite(masked_root, jnp.array([-1.0, 4.0])) is None
  assert first_non_finite(lambda x: jax.nn.softmax(jnp.where(x > 0, x, -jnp.inf)), jnp.array([-1.0, 1.0])) is None
  after_mask = first_non_finite(lambda x: (masked_root(x), log_loss(x)), jnp.array([-1.0, 4.0]))
  assert line_of(log_loss, "jnp.log(scaled)") in after_mask


def test_an_infinity_is_named_where_there_is_no_nan():
  found = first_non_finite(lambda x: jnp.exp(x) + 1.0, jnp.float32(100.0))
  assert found.startswith("`exp` at ")
  assert found.endswith("gives an infinity from float32[] of 100")


def test_an_argument_that_is_not_finite_is_named():
  arguments = {"good": jnp.ones(2), "bad": np.array([1.0, np.nan], np.float32), "key": jax.random.key(0)}
  found = first_non_finite(lambda a: a["bad"] * a["good"] + jax.random.normal(a["key"], (2,)), arguments)
  assert found == "argument [0]['bad'] is not finite to begin with"


def test_lines_of_the_optimiser_are_those_that_call_it():
  def update(params, gradient):
    optimizer = optax.sgd(1e30)
    steps, _ = optimizer.update(gradient, optimizer.init(params))
    return optax.apply_updates(params, steps)

  found = first_non_finite(update, jnp.ones(2), jnp.full(2, 1e30))
  assert line_of(update, "optimizer.update(") in found


def test_nothing_is_named_where_all_is_finite():
  assert first_non_finite(log_loss, jnp.array([1.0, 2.0])) is None
