"""RL^2: a recurrent agent whose memory is the learning algorithm.

Duan et al. 2016, "RL^2: Fast Reinforcement Learning via Slow Reinforcement Learning" (arXiv:1611.02779); Wang et al.
2016, "Learning to reinforcement learn" (arXiv:1611.05763).

A trial is several episodes of one task. The memory h is kept from one to the next and begins anew in the next task:
  h_t = cell(h_{t-1}, x_t),  x_t = (o_t, a_{t-1}, r_{t-1}, d_{t-1});  pi and V read (o_t, h_t)

Training maximises the discounted return of the whole trial by PPO (`objectives.ppo`), with the gradient through time.
Adaptation is inference: the cell runs over what the agent has seen, and no parameter changes.
"""

from collections.abc import Sequence

import optax

from macaw_jax.adaptation.memory import recurrence
from macaw_jax.algorithms.remembering import CELL, act_by, features_of, remembering
from macaw_jax.hyperparameters import check_not_negative
from macaw_jax.learners.context import Net
from macaw_jax.learners.gradient import MakeOptimizer, init_parts
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.learners.trials import check_settings, clipped, trial_learner
from macaw_jax.networks.cells import MakeCell, gru
from macaw_jax.networks.stochastic_policy import stochastic_policy
from macaw_jax.objectives.ppo import RETURNS, Judged, follow_returns, initial_returns, judge, ppo_loss, value_network
from macaw_jax.types import Algorithm, Array, Problem, Steps

# The parts that the loss trains: all of them, the memory through time.
TRAINS = {"ppo_loss": (CELL, "policy", "value")}


def rl2(
  problem: Problem,
  *,
  cell: MakeCell = gru(),
  hidden_sizes: Sequence[int] = (64,),
  lambda_: float = 0.95,
  clip: float = 0.2,
  entropy_weight: float = 0.05,
  value_weight: float = 0.5,
  initial_log_std: float = -0.5,
  learning_rate: float = 1e-3,
  max_gradient_norm: float = 0.5,
  epochs: int = 2,
  minibatches: int = 8,
  decay_steps: int | None = None,
  optimizer: MakeOptimizer = optax.adam,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """RL^2, trained by PPO on trials; its data are trajectories.

  Args:
    problem: Sizes, the discount from step to step of a trial, and whether actions are a choice.
    cell: The memory.
    hidden_sizes: Hidden layers of policy and value behind it.
    lambda_: Lambda of the generalised advantages.
    clip: Bound on how far the ratio to the behaviour policy counts from one.
    entropy_weight: Weight of the policy's entropy at the start; it falls to zero with the learning rate.
    value_weight: Weight of the squared error of the value.
    initial_log_std: Initial log standard deviation of actions that are no choice.
    learning_rate: Of everything.
    max_gradient_norm: Bound on the norm of the gradient.
    epochs: Passes over the trials of an update.
    minibatches: Steps of a pass, each on whole trials.
    decay_steps: Updates over which learning rate and entropy weight fall to zero on a line; None keeps them.
    optimizer: Makes the optimiser from its learning rate.
    gradient_surgery: How the gradients of the trials of a step become one; None for that of their mean.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_settings(
    hidden_sizes=hidden_sizes,
    lambda_=lambda_,
    clip=clip,
    value_weight=value_weight,
    initial_log_std=initial_log_std,
    learning_rate=learning_rate,
    max_gradient_norm=max_gradient_norm,
    epochs=epochs,
    minibatches=minibatches,
    decay_steps=decay_steps,
  )
  check_not_negative(entropy_weight=entropy_weight)
  memory = recurrence(problem, cell)
  agent = remembering(memory, lambda net, outputs: outputs, memory.output_size)
  features = features_of(agent)
  size = problem.observation_size + agent.latent_size
  policy = stochastic_policy(problem, size, hidden_sizes, initial_log_std=initial_log_std)
  value = value_network(size, hidden_sizes)

  def judge_trials(net: Net, steps: Steps, remaining: Array) -> Judged:
    return judge(policy, value, net, steps, features(net, steps), remaining, discount=problem.discount, lambda_=lambda_)

  return trial_learner(
    init_net=init_parts({CELL: memory.init, "policy": policy.init, "value": value.init, RETURNS: initial_returns}),
    judge_trials=judge_trials,
    losses={
      "ppo_loss": ppo_loss(
        policy,
        value,
        lambda net, trials: features(net, trials.steps),
        clip=clip,
        entropy_weight=entropy_weight,
        value_weight=value_weight,
      )
    },
    trains=TRAINS,
    follows={RETURNS: follow_returns(problem.discount)},
    optimizers={
      "ppo_loss": clipped(
        optimizer, learning_rate, max_gradient_norm, decay_steps and decay_steps * epochs * minibatches
      )
    },
    epochs=epochs,
    minibatches=minibatches,
    decay_steps=decay_steps,
    gradient_surgery=gradient_surgery,
    adapt=agent.adapt,
    act=act_by(agent, policy),
    prior=agent.prior,
  )
