"""Adaptation rules from adaptation rules."""

import jax

from macaw_jax.types import Adaptation, Key, Metrics, Params, Transition


def identity() -> Adaptation:
  """Changes nothing: the algorithm trains across tasks without adapting."""
  return Adaptation(lambda net: (), lambda net, rule, support, key: ({}, {}))


def chain(*adaptations: Adaptation) -> Adaptation:
  """One adaptation after another; each sees what those before it changed. Its rule is the tuple of their rules."""

  def init(net: dict[str, Params]) -> Params:
    return tuple(adaptation.init(net) for adaptation in adaptations)

  def apply(net: dict[str, Params], rule: Params, support: Transition, key: Key) -> tuple[dict[str, Params], Metrics]:
    changes: dict[str, Params] = {}
    metrics: Metrics = {}
    keys = jax.random.split(key, len(adaptations))
    for adaptation, adaptation_rule, adaptation_key in zip(adaptations, rule, keys, strict=True):
      new_changes, new_metrics = adaptation.apply(net | changes, adaptation_rule, support, adaptation_key)
      changes, metrics = changes | new_changes, metrics | new_metrics
    return changes, metrics

  products = {part: number for rule in adaptations for part, number in rule.generator_products.items()}
  return Adaptation(init, apply, products)
