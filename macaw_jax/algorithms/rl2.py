"""RL^2: a recurrent agent whose memory is the learning algorithm.

Duan et al. 2016, "RL^2: Fast Reinforcement Learning via Slow Reinforcement Learning" (arXiv:1611.02779); Wang et al.
2016, "Learning to reinforcement learn" (arXiv:1611.05763).

A trial is several episodes of one task. The memory h is kept from one to the next and begins anew in the next task:
  h_t = cell(h_{t-1}, x_t),  x_t = (o_t, a_{t-1}, r_{t-1}, d_{t-1});  pi and V read (o_t, h_t)

Training maximises the discounted return of the whole trial by PPO (`objectives.ppo`), with the gradient through time.
Adaptation is inference: the cell runs over what the agent has seen, and no parameter changes.
"""

from collections.abc import Sequence

from macaw_jax.adaptation.memory import recurrence
from macaw_jax.algorithms.remembering import CELL, act_by, features_of, remembering
from macaw_jax.hyperparameters import check_finite, check_sizes
from macaw_jax.learners.context import Net
from macaw_jax.learners.gradient import init_parts
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.learners.ppo import PPO, ppo
from macaw_jax.learners.trials import trial_learner
from macaw_jax.networks.cells import MakeCell, gru
from macaw_jax.networks.stochastic_policy import stochastic_policy
from macaw_jax.objectives.ppo import RETURNS, Judged, follow_returns, initial_returns, judge, value_network
from macaw_jax.types import Algorithm, Array, Problem, Steps

# The parts that the loss trains: all of them, the memory through time.
TRAINS = {"ppo_loss": (CELL, "policy", "value")}


def rl2(
  problem: Problem,
  *,
  cell: MakeCell = gru(),
  hidden_sizes: Sequence[int] = (64,),
  initial_log_std: float = -0.5,
  ppo: PPO = ppo(),
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """RL^2, trained by PPO on trials; its data are trajectories.

  Args:
    problem: Sizes, the discount from step to step of a trial, and whether actions are a choice.
    cell: The memory.
    hidden_sizes: Hidden layers of policy and value behind it.
    initial_log_std: Initial log standard deviation of actions that are no choice.
    ppo: Trains everything.
    gradient_surgery: How the gradients of the trials of a step become one; None for that of their mean.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_finite(initial_log_std=initial_log_std)
  memory = recurrence(problem, cell)
  agent = remembering(memory, lambda net, outputs: outputs, memory.output_size)
  features = features_of(agent)
  size = problem.observation_size + agent.latent_size
  policy = stochastic_policy(problem, size, hidden_sizes, initial_log_std=initial_log_std)
  value = value_network(size, hidden_sizes)

  def judge_trials(net: Net, steps: Steps, remaining: Array) -> Judged:
    seen = features(net, steps)
    return judge(policy, value, net, steps, seen, remaining, discount=problem.discount, lambda_=ppo.lambda_)

  return trial_learner(
    init_net=init_parts({CELL: memory.init, "policy": policy.init, "value": value.init, RETURNS: initial_returns}),
    judge_trials=judge_trials,
    losses={"ppo_loss": ppo.loss(policy, value, lambda net, trials: features(net, trials.steps))},
    trains=TRAINS,
    follows={RETURNS: follow_returns(problem.discount)},
    optimizers={"ppo_loss": ppo.decaying(ppo.learning_rate)},
    ppo=ppo,
    gradient_surgery=gradient_surgery,
    adapt=agent.adapt,
    act=act_by(agent, policy),
    prior=agent.prior,
  )
