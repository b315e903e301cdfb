"""Adaptation by an ordinary optimiser at test time, which no meta-gradient passes through."""

from collections.abc import Mapping

import jax
import optax

from macaw_jax.hyperparameters import check_counts
from macaw_jax.types import Adaptation, Array, Key, LossFn, Metrics, Params, Transition, Tuning


def tuning(losses: Mapping[str, LossFn], optimizers: Mapping[str, optax.GradientTransformation]) -> Tuning:
  """Optimiser steps on rows of one task, one after the other; a step moves the parts in the order of `losses`.

  Args:
    losses: For each part that changes, the loss that it minimises; a later part sees the earlier ones' new values.
    optimizers: For each such part, its optimiser.

  Raises:
    ValueError: if `losses` and `optimizers` name different parts.
  """
  if losses.keys() != optimizers.keys():
    raise ValueError(f"losses name {sorted(losses)} and optimizers {sorted(optimizers)}: they must be the same parts")

  def init(net: dict[str, Params]) -> dict[str, Params]:
    return {part: optimizers[part].init(net[part]) for part in losses}

  def step(
    net: dict[str, Params], opt_states: dict[str, Params], batch: Transition, key: Key
  ) -> tuple[dict[str, Params], dict[str, Params], Metrics]:
    moved = {part: net[part] for part in losses}
    metrics: Metrics = {}
    for part, part_key in zip(losses, jax.random.split(key, len(losses)), strict=True):
      others = net | moved

      def part_loss(
        params: Params, part: str = part, others: dict[str, Params] = others, part_key: Key = part_key
      ) -> tuple[Array, Metrics]:
        return losses[part](others | {part: params}, batch, part_key)

      (value, _), gradients = jax.value_and_grad(part_loss, has_aux=True)(moved[part])
      updates, opt_state = optimizers[part].update(gradients, opt_states[part], moved[part])
      moved = moved | {part: optax.apply_updates(moved[part], updates)}
      opt_states = opt_states | {part: opt_state}
      metrics[f"fine_tune_{part}_loss"] = value
    return moved, opt_states, metrics

  return Tuning(init, step)


def fine_tune(
  losses: Mapping[str, LossFn], optimizers: Mapping[str, optax.GradientTransformation], *, steps: int
) -> Adaptation:
  """`steps` rounds of optimiser steps on the whole support, the optimisers started afresh.

  Arguments as of `tuning`, and the number of rounds.

  Raises:
    ValueError: if `losses` and `optimizers` name different parts, or for fewer than one round.
  """
  tuned = tuning(losses, optimizers)
  check_counts(steps=steps)

  def apply(net: dict[str, Params], rule: Params, support: Transition, key: Key) -> tuple[dict[str, Params], Metrics]:
    def fine_tune_round(carry: tuple[Params, Params], round_key: Key) -> tuple[tuple[Params, Params], Metrics]:
      parts, opt_states = carry
      parts, opt_states, metrics = tuned.step(net | parts, opt_states, support, round_key)
      return (parts, opt_states), metrics

    begin = {part: net[part] for part in losses}, tuned.init(net)
    (parts, _), metrics = jax.lax.scan(fine_tune_round, begin, jax.random.split(key, steps))
    return parts, jax.tree.map(lambda losses_of_rounds: losses_of_rounds[-1], metrics)

  return Adaptation(lambda net: (), apply)
