"""Recurrent networks as pure functions of their parameters, one step at a time.

A cell carries what it has seen from one input to the next. `run_cell` takes it over a sequence, and leaves the carry
alone where a step did not happen, so that padding never enters a memory.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from macaw_jax.hyperparameters import check_counts, part, require
from macaw_jax.networks.linen import forward
from macaw_jax.types import Array, Key, Params

Carry = Any  # A pytree of arrays: all that a cell remembers.


class Cell(NamedTuple):
  """A recurrent network.

  init:        `(key) -> params`
  start:       the carry before any input
  step:        `(params, carry, input [F]) -> (carry, output [M])`
  output_size: M
  """

  init: Callable[[Key], Params]
  start: Carry
  step: Callable[[Params, Carry, Array], tuple[Carry, Array]]
  output_size: int


MakeCell = Callable[[int], Cell]
"""`(input_size F) -> Cell`."""


@part
def gru(*, hidden_size: int = 64) -> MakeCell:
  """A gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), as Flax has it; its output is its carry.

  Args:
    hidden_size: M, numbers that it remembers. Raises ValueError below one.
  """
  check_counts(hidden_size=hidden_size)

  def make(input_size: int) -> Cell:
    module = nn.GRUCell(hidden_size)
    start = jnp.zeros(hidden_size)

    def init(key: Key) -> Params:
      return module.init(key, start, jnp.zeros(input_size))["params"]

    def step(params: Params, carry: Carry, features: Array) -> tuple[Carry, Array]:
      chex.assert_shape(features, (input_size,))
      return forward(module, params, carry, features)

    return Cell(init, start, step, hidden_size)

  return make


class _Recalled(NamedTuple):
  """The newest inputs of an attention cell, embedded, the last one newest; the first `missing` are none."""

  embedded: Array  # [W, M]
  seen: Array  # []  int32, inputs so far


class _Attention(nn.Module):
  """One block of a transformer that is asked by the newest of W inputs."""

  size: int
  num_heads: int
  window: int

  @nn.compact
  def __call__(self, recalled: _Recalled, features: Array) -> tuple[_Recalled, Array]:
    newest = nn.Dense(self.size, name="embedding")(features)
    embedded = jnp.concatenate([recalled.embedded[1:], newest[None]])  # [W, M]
    seen = recalled.seen + 1
    ages = self.param("ages", nn.initializers.normal(0.02), (self.window, self.size))
    there = jnp.arange(self.window) >= self.window - seen
    attend = nn.MultiHeadDotProductAttention(self.num_heads, name="attention")
    read = nn.LayerNorm(name="norm")(embedded + ages)
    hidden = newest + attend(read[-1:], read, mask=there[None, None])[0]
    inner = nn.relu(nn.Dense(2 * self.size, name="inner")(nn.LayerNorm(name="inner_norm")(hidden)))
    return _Recalled(embedded, seen), hidden + nn.Dense(self.size, name="output")(inner)


@part
def attention(*, hidden_size: int = 64, num_heads: int = 4, window: int = 64) -> MakeCell:
  """A transformer block that attends to the last `window` inputs, the present one among them.

  An input is known by how many others came after it, its age. Vaswani et al. 2017, arXiv:1706.03762; as the memory of a
  meta-learner, after Melo 2022, arXiv:2206.06614. It takes `window` times as much memory as a GRU of the same width.

  Args:
    hidden_size: M, a multiple of `num_heads`.
    num_heads: of the attention.
    window: W, inputs that it can recall; older ones are forgotten.

  Raises:
    ValueError: for a number below one, or a width that the heads do not divide.
  """
  check_counts(hidden_size=hidden_size, num_heads=num_heads, window=window)
  require(hidden_size % num_heads == 0, f"hidden_size={hidden_size} must be a multiple of num_heads={num_heads}")

  def make(input_size: int) -> Cell:
    module = _Attention(hidden_size, num_heads, window)
    start = _Recalled(jnp.zeros((window, hidden_size)), jnp.zeros((), jnp.int32))

    def init(key: Key) -> Params:
      return module.init(key, start, jnp.zeros(input_size))["params"]

    def step(params: Params, carry: Carry, features: Array) -> tuple[Carry, Array]:
      chex.assert_shape(features, (input_size,))
      return forward(module, params, carry, features)

    return Cell(init, start, step, hidden_size)

  return make


CELLS: dict[str, Callable[..., MakeCell]] = {"gru": gru, "attention": attention}
"""The cells by name, as `config.algorithm.cell.name` chooses one."""


def where_happened(happened: Array, after: Any, before: Any) -> Any:
  """The tree `after` a step that happened, `[]` above zero; else the tree as it was `before`."""
  return jax.tree.map(lambda new, old: jnp.where(happened > 0, new, old), after, before)


def run_cell(cell: Cell, params: Params, carry: Carry, inputs: Array, mask: Array) -> tuple[Carry, Array]:
  """The carry after a sequence, and the output at each of its steps.

  `inputs` `[N, F]` and `mask` `[N]` to a carry and outputs `[N, M]`. Where the mask is zero the carry stays as it is,
  and the output is to be ignored.
  """
  chex.assert_equal_shape_prefix([inputs, mask], 1)

  def step(carry: Carry, item: tuple[Array, Array]) -> tuple[Carry, Array]:
    features, happened = item
    after, output = cell.step(params, carry, features)
    return where_happened(happened, after, carry), output

  return jax.lax.scan(step, carry, (inputs, mask))
