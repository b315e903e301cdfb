"""Multi-task PPO: one network for all tasks, which reads the task off the observation.

Schulman et al. 2017 (arXiv:1707.06347) in the Markov decision process whose state holds the task: what agents with a
policy for each task are compared with. Each task judges its own episodes, so that a task of large rewards does not
drown the others; the loss is the mean over tasks.
"""

from collections.abc import Sequence

import jax.numpy as jnp

from macaw_jax.adaptation.memory import episodes_of
from macaw_jax.algorithms.task_policies import task_ppo
from macaw_jax.hyperparameters import check_finite, check_sizes
from macaw_jax.learners.context import Net
from macaw_jax.learners.gradient import init_parts
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.learners.ppo import PPO, ppo
from macaw_jax.learners.trials import trial_learner
from macaw_jax.networks.stochastic_policy import stochastic_policy
from macaw_jax.objectives.ppo import RETURNS, Judged, follow_returns, initial_returns, value_network
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem, TimeStep

# The parts that the loss trains.
TRAINS = {"ppo_loss": ("policy", "value")}


def multitask_ppo(
  problem: Problem,
  *,
  hidden_sizes: Sequence[int] = (64,),
  initial_log_std: float = -0.5,
  ppo: PPO = ppo(),
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """PPO with one policy and one value for all tasks; its data are trajectories.

  Args:
    problem: Sizes, the discount, and whether actions are a choice. What the observation does not show of its task, the
      agent does not know.
    hidden_sizes: Hidden layers of policy and value.
    initial_log_std: Initial log standard deviation of actions that are no choice.
    ppo: Trains everything; its trials are episodes, and each of its steps is on episodes of all tasks of the update.
    gradient_surgery: How the gradients of the tasks of a step become one; None for that of their mean.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_finite(initial_log_std=initial_log_std)
  size = problem.observation_size
  policy = stochastic_policy(problem, size, hidden_sizes, initial_log_std=initial_log_std)
  value = value_network(size, hidden_sizes)
  of_tasks = task_ppo(
    ppo,
    policy,
    value,
    nets=lambda net, observation: net,
    axes=None,
    features=lambda observation: observation,
    discount=problem.discount,
  )

  def loss(net: Net, episodes: Judged, key: Key) -> tuple[Array, Metrics]:
    losses, metrics = of_tasks.losses(net, episodes, key)
    return jnp.mean(losses), metrics

  def act(net: Net, timestep: TimeStep, key: Key | None) -> tuple[Array, Net]:
    distribution = policy.distribution(net["policy"], timestep.observation)
    return policy.mode(distribution) if key is None else policy.sample(distribution, key), {}

  algorithm = trial_learner(
    init_net=init_parts({"policy": policy.init, "value": value.init, RETURNS: initial_returns}),
    judge_trials=of_tasks.judge,
    losses={"ppo_loss": loss},
    trains=TRAINS,
    follows={RETURNS: follow_returns(problem.discount)},
    optimizers={"ppo_loss": ppo.decaying(ppo.learning_rate)},
    ppo=ppo,
    gradient_surgery=gradient_surgery,
    act=act,
    arrange=episodes_of,
    task_axis=1,
  )
  return algorithm._replace(remembers=False, adapts=False)
