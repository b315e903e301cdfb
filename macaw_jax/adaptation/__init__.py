"""How support data change a network."""

from macaw_jax.adaptation.combinators import chain, identity
from macaw_jax.adaptation.encode import encode
from macaw_jax.adaptation.fine_tune import fine_tune, tuning
from macaw_jax.adaptation.gradient_step import gradient_step
from macaw_jax.adaptation.policy_gradient_step import policy_gradient_step

__all__ = ["chain", "encode", "fine_tune", "gradient_step", "identity", "policy_gradient_step", "tuning"]
