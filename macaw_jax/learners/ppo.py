"""PPO of agents that learn from trials: its settings, the same for all of them, and what follows from these."""

from typing import NamedTuple

import optax

from macaw_jax.hyperparameters import check_counts, check_not_negative, check_positive, check_shares, part
from macaw_jax.learners.gradient import MakeOptimizer, linear_decay
from macaw_jax.networks.stochastic_policy import StochasticPolicy
from macaw_jax.objectives.ppo import ReadFeatures, TrialLoss, ppo_loss
from macaw_jax.types import Network


class PPO(NamedTuple):
  """The settings that `ppo` documents."""

  lambda_: float
  clip: float
  entropy_weight: float
  value_weight: float
  learning_rate: float
  max_gradient_norm: float
  epochs: int
  minibatches: int
  decay_steps: int | None
  optimizer: MakeOptimizer

  @property
  def total_steps(self) -> int | None:
    """Steps of the optimiser in `decay_steps` updates."""
    return self.decay_steps and self.decay_steps * self.epochs * self.minibatches

  def loss(self, policy: StochasticPolicy, value: Network, read: ReadFeatures) -> TrialLoss:
    """`objectives.ppo.ppo_loss` of these networks."""
    return ppo_loss(
      policy, value, read, clip=self.clip, entropy_weight=self.entropy_weight, value_weight=self.value_weight
    )

  def clipped(self, learning_rate: float | optax.Schedule) -> optax.GradientTransformation:
    """The optimiser with this rate, after the bound on the norm of the gradient."""
    return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), self.optimizer(learning_rate))

  def decaying(self, learning_rate: float) -> optax.GradientTransformation:
    """`clipped`, with a rate that falls to zero over `total_steps`."""
    return self.clipped(linear_decay(learning_rate, self.total_steps))


@part
def ppo(
  *,
  lambda_: float = 0.95,
  clip: float = 0.2,
  entropy_weight: float = 0.05,
  value_weight: float = 0.5,
  learning_rate: float = 1e-3,
  max_gradient_norm: float = 0.5,
  epochs: int = 2,
  minibatches: int = 8,
  decay_steps: int | None = None,
  optimizer: MakeOptimizer = optax.adam,
) -> PPO:
  """PPO on trials, or on episodes of known tasks.

  Args:
    lambda_: Lambda of the generalised advantages.
    clip: Bound on how far the ratio to the behaviour policy counts from one.
    entropy_weight: Weight of the policy's entropy at the start; it falls to zero with the learning rate.
    value_weight: Weight of the squared error of the value.
    learning_rate: Of all that the loss of PPO trains.
    max_gradient_norm: Bound on the norm of the gradient, and likewise on that of each other loss beside PPO's.
    epochs: Passes over the trials of an update.
    minibatches: Steps of a pass, each on whole trials.
    decay_steps: Updates over which learning rates and the entropy's weight fall to zero on a line; None keeps them.
    optimizer: Makes an optimiser from its learning rate.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_shares(lambda_=lambda_)
  check_positive(clip=clip, max_gradient_norm=max_gradient_norm)
  check_not_negative(entropy_weight=entropy_weight, value_weight=value_weight, learning_rate=learning_rate)
  check_counts(epochs=epochs, minibatches=minibatches, decay_steps=decay_steps)
  return PPO(
    lambda_=lambda_,
    clip=clip,
    entropy_weight=entropy_weight,
    value_weight=value_weight,
    learning_rate=learning_rate,
    max_gradient_norm=max_gradient_norm,
    epochs=epochs,
    minibatches=minibatches,
    decay_steps=decay_steps,
    optimizer=optimizer,
  )
