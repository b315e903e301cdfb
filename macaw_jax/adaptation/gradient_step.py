"""Adaptation by gradient steps that meta-training differentiates through (Finn et al. 2017, MAML)."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from macaw_jax.adaptation.descent import GradientDescent
from macaw_jax.hyperparameters import check_choice, check_counts, check_positive, inverse_softplus, stop_gradient_if
from macaw_jax.types import Adaptation, Array, Key, LossFn, Metrics, Params, Transition

# Both computations are in one program, in one iteration of a loop, where a compiler could merge them; `jax.checkpoint`
# puts a barrier between them. XLA for CPUs takes barriers out before its last pass that merges, unless it is compiled
# with `xla_disable_hlo_passes=cse_barrier_expander`.
REMATERIALISATIONS: dict[str, Callable[..., Any]] = {
  "nothing": lambda function: function,
  "inner_steps": jax.checkpoint,
}


def split_rows(batch: Transition, parts: int) -> list[Transition]:
  """Cuts a batch `[B]` into `parts` equal batches, in order. Raises ValueError if `parts` does not divide B.

  There is one part for each adaptation step.
  """
  rows = batch.reward.shape[0]
  if rows % parts:
    raise ValueError(f"a support of {rows} transitions cannot be cut into adaptation_steps={parts} equal parts")
  size = rows // parts
  return [jax.tree.map(lambda x, i=i: x[i * size : (i + 1) * size], batch) for i in range(parts)]


def target_name(part: str) -> str:
  """The name under which a part's target network is handed to losses."""
  return f"target_{part}"


def gradient_step(
  loss: LossFn,
  *,
  on: str,
  step_size: float | Array,
  learn_step_size: bool | Array = True,
  steps: int = 1,
  first_order: bool | Array = False,
  ema_decay: float | Array | None = None,
  learned: Mapping[str, float | Array] | None = None,
  remat: str = "nothing",
) -> Adaptation:
  """`steps` steps of gradient descent on the part called `on`, each on its own share of the support.

  params_{k+1} = params_k - step_size * d loss(params_k, support_k) / d params_k

  with one step size per array. The changed part is returned as effective weights (`adaptation.descent`).

  Args:
    loss: Minimised by each step.
    on: The part that changes.
    step_size: The initial step sizes.
    learn_step_size: Whether meta-training learns them, kept positive by a softplus; otherwise they stay.
    steps: Number of steps K; the support is cut into K equal shares, in order.
    first_order: Whether meta-gradients ignore how an inner gradient depends on the parameters.
    ema_decay: If set, a target network of the part, `target_<on>`, is kept beside it (decay times itself plus the rest
      times the adapted parameters after each step). Losses see it, and it is returned with the change.
    learned: Scalars that the loss reads from its params by name, with their initial values, learned with the rule.
    remat: Computed again when differentiating through the steps, rather than kept: 'nothing', or 'inner_steps', each
      step's loss and gradient from the weights that it started from. The numbers are the same. On a CPU, XLA as it
      comes merges both computations again, and nothing is saved (`benchmarks.memory`).

  Raises:
    ValueError: for fewer than one step, a step size that is not positive or an unknown `remat`.
  """
  check_counts(steps=steps)
  check_positive(step_size=step_size)
  check_choice(REMATERIALISATIONS, remat=remat)
  descent_rule = GradientDescent(first_order, ema_decay)

  def loss_at(weights: Params, others: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
    return loss(others | {on: weights}, batch, key)

  loss_and_gradient = REMATERIALISATIONS[remat](jax.value_and_grad(loss_at, has_aux=True))

  def init(net: dict[str, Params]) -> Params:
    # A scalar with a type of its own, not a weak one, so that the state keeps its types from update to update.
    raw = inverse_softplus(step_size)
    return {
      "learned": {name: jnp.full((), value, float) for name, value in (learned or {}).items()},
      "raw_step_size": jax.tree.map(lambda leaf: jnp.full((), raw, leaf.dtype), net[on]),
    }

  def apply(net: dict[str, Params], rule: Params, support: Transition, key: Key) -> tuple[dict[str, Params], Metrics]:
    params = net[on]
    fixed = jnp.logical_not(learn_step_size)
    raw_step_sizes = jax.tree.map(lambda raw: stop_gradient_if(fixed, raw), rule["raw_step_size"])
    step_sizes = jax.tree.map(jax.nn.softplus, raw_step_sizes)

    def changes_at(descent: Params) -> dict[str, Params]:
      changes = {on: descent_rule.weights(params, descent)}
      if ema_decay is not None:
        changes[target_name(on)] = descent_rule.target_weights(params, descent)
      return changes

    descent = descent_rule.init(params)
    changes = changes_at(descent)
    metrics: Metrics = {}
    batches = split_rows(support, steps)
    for index, (batch, step_key) in enumerate(zip(batches, jax.random.split(key, steps), strict=True)):
      others = net | rule["learned"] | changes
      (value, _), gradients = loss_and_gradient(changes[on], others, batch, step_key)
      descent = descent_rule.step(params, step_sizes, descent, gradients)
      changes = changes_at(descent)
      metrics[f"inner_{on}_loss_{index}"] = value
    return changes, metrics

  return Adaptation(init, apply, generator_products={on: steps * descent_rule.products_per_step})
