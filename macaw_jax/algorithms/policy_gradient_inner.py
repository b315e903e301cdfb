"""Inner steps by policy gradients with rewards, which `maml_rl` and `reptile` share.

K times, each on episodes D_k of the policy before the step:
  theta_{k+1} = theta_k - step sizes * grad L_in(theta_k; D_k),    L_in of `objectives.episodes.surrogate_loss`

Advantages are those of `generalised_advantage` over a value fitted to the episodes of each task and step, standardised.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from macaw_jax.adaptation.policy_gradient_step import policy_gradient_step
from macaw_jax.hyperparameters import check_finite, check_not_negative, check_shares, check_sizes, part
from macaw_jax.losses.feature_baseline import quadratic_features
from macaw_jax.networks.gaussian import GaussianPolicy, learned_gaussian_policy
from macaw_jax.objectives.episodes import OfEpisodes, advantage_over, fitted_value, surrogate_loss
from macaw_jax.types import Adaptation, Array, LossFn, Problem


class Inner(NamedTuple):
  """A policy, and how episodes change it by their rewards."""

  surrogate: str
  policy: GaussianPolicy
  advantage: OfEpisodes
  adaptation: Adaptation


MakeInner = Callable[..., Inner]
"""`(problem, learn_step_sizes=False, first_order=False) -> Inner`: what is learned of the steps is for the caller."""


@part
def policy_gradient_inner(
  *,
  surrogate: str = "log_prob",
  loaded_lambda: float = 1.0,
  step_size: float = 0.1,
  lambda_: float = 1.0,
  initial_log_std: float = -1.2,
  hidden_sizes: Sequence[int] = (64, 64),
  activation: str = "tanh",
  loss: Callable[..., LossFn] = surrogate_loss,
) -> MakeInner:
  """The policy and its inner steps.

  Args:
    surrogate: 'log_prob', 'ratio', 'dice' or 'loaded_dice', for the inner loss.
    loaded_lambda: Lambda of 'loaded_dice', in [0, 1].
    step_size: Size of the inner steps; where step sizes are learned, the initial one of every parameter.
    lambda_: Lambda of the generalised advantages, in [0, 1].
    initial_log_std: Initial log standard deviation of the policy, one for each component of an action.
    hidden_sizes: Hidden layers of the policy.
    activation: 'tanh', 'relu' or 'identity'.
    loss: Makes the inner loss, with the arguments of `surrogate_loss`.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_shares(lambda_=lambda_, loaded_lambda=loaded_lambda)
  check_not_negative(step_size=step_size)
  check_finite(initial_log_std=initial_log_std)

  def make(problem: Problem, *, learn_step_sizes: bool | Array = False, first_order: bool | Array = False) -> Inner:
    policy = learned_gaussian_policy(
      problem.observation_size,
      problem.action_size,
      hidden_sizes,
      activation=activation,
      initial_log_std=initial_log_std,
      shared_log_std=False,
    )
    value = fitted_value(quadratic_features, discount=problem.discount)
    advantage = advantage_over(value, discount=problem.discount, lambda_=lambda_, normalise=True)
    inner_loss = loss(
      policy, surrogate, advantage=advantage, value=value, discount=problem.discount, loaded_lambda=loaded_lambda
    )
    adaptation = policy_gradient_step(
      inner_loss, step_size=step_size, learn_step_sizes=learn_step_sizes, first_order=first_order
    )
    return Inner(surrogate, policy, advantage, adaptation)

  return make
