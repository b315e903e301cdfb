"""Adaptation by inference: a latent that shared networks read, from the data of a task."""

from collections.abc import Callable

from macaw_jax.types import LATENT, Adaptation, Array, Key, Metrics, Params, Transition

Infer = Callable[[dict[str, Params], Transition, Key], Array]
"""`(net, context [C, ...], key) -> latent [L]`; one that reads training tasks, of a batch of them at once too."""


def encode(infer: Infer) -> Adaptation:
  """An encoder: its change is `{LATENT: infer(net, support, key)}`, and its rule has no parameters."""

  def apply(net: dict[str, Params], rule: Params, support: Transition, key: Key) -> tuple[dict[str, Params], Metrics]:
    return {LATENT: infer(net, support, key)}, {}

  return Adaptation(lambda net: {}, apply)
