"""VariBAD: a recurrent belief about the task, and a policy that acts by it.

Zintgraf et al. 2020, "VariBAD: A Very Good Method for Bayes-Adaptive Deep RL via Meta-Learning" (arXiv:1910.08348).

Belief:   q_t = N(m_t, diag exp(2 l_t)),  (m_t, l_t) from h_t = cell(h_{t-1}, x_t), x_t as in RL^2
Decoder:  predicts r_j, and s_{j+1} - s_j where tasks differ in physics, from (s_j, a_j, s_{j+1}) and z ~ q_t, for every
          step j of the trial, before t and after it
Training: cell, belief and decoder minimise the negative evidence lower bound (`objectives.beliefs`), policy and value
          that of PPO on trials (`objectives.ppo`). They read (o_t, m_t, l_t) of the beliefs that acted, as data: no
          gradient of theirs reaches the belief.
A new task: the belief at every step, from all steps before, whatever episode they belong to.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from macaw_jax.adaptation.memory import recurrence
from macaw_jax.algorithms.remembering import CELL, Remembering, act_by, features_of, remembering
from macaw_jax.hyperparameters import check_counts, check_finite, check_not_negative, check_sizes, part
from macaw_jax.learners.context import Net
from macaw_jax.learners.gradient import init_parts
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.learners.ppo import PPO, ppo
from macaw_jax.learners.trials import trial_learner
from macaw_jax.networks.cells import MakeCell, gru
from macaw_jax.networks.encoders import transition_encoder
from macaw_jax.networks.linen import as_network
from macaw_jax.networks.running_scale import RunningScale, initial_scale, standardise, update_scale
from macaw_jax.networks.small_weights import small_weights_mlp
from macaw_jax.networks.stochastic_policy import stochastic_policy
from macaw_jax.objectives.beliefs import Beliefs, negative_elbo
from macaw_jax.objectives.ppo import RETURNS, Judged, follow_returns, initial_returns, judge, value_network
from macaw_jax.types import Algorithm, Array, Key, Metrics, Params, Problem, Steps

# The parts that each loss trains; no gradient of the policy reaches the belief.
TRAINS = {"ppo_loss": ("policy", "value"), "elbo_loss": (CELL, "belief", "decoder")}
OUTCOMES = "outcomes"  # the part that holds mean and deviation of what the decoder predicts
SMALLEST_LOG_STD = -5.0
LARGEST_LOG_STD = 2.0


class BeliefModel(NamedTuple):
  """A recurrent belief about the task, and how it is learned.

  init:   for each part, `(key) -> params`
  agent:  knows at each step the belief, (m_t, l_t)
  loss:   `(net, steps [T, N], key) -> (scalar, metrics)`, those that happened first
  follow: `(net, steps [T, N]) -> params` of the part `outcomes`
  """

  init: Mapping[str, Callable[[Key], Params]]
  agent: Remembering
  loss: Callable[[Net, Steps, Key], tuple[Array, Metrics]]
  follow: Callable[[Mapping[str, Params], Steps], RunningScale]


MakeBelief = Callable[[Problem, MakeCell], BeliefModel]
"""`(problem, cell) -> BeliefModel`."""


@part
def recurrent_belief(
  *,
  latent_size: int = 5,
  hidden_sizes: Sequence[int] = (64,),
  decoder_sizes: Sequence[int] = (64, 32),
  next_observation: bool = False,
  num_prefixes: int = 8,
  kl_weight: float = 1.0,
) -> MakeBelief:
  """VariBAD's belief.

  Args:
    latent_size: L, the size of z.
    hidden_sizes: Hidden layers between the cell and the belief.
    decoder_sizes: Hidden layers of the decoder.
    next_observation: Whether it predicts s' - s beside r, without which tasks that differ in physics look alike.
    num_prefixes: Steps t of a trial whose bound is taken in an update.
    kl_weight: Of the divergence between beliefs that follow each other; one in the bound.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_counts(latent_size=latent_size, num_prefixes=num_prefixes)
  check_sizes(hidden_sizes=hidden_sizes, decoder_sizes=decoder_sizes)
  check_not_negative(kl_weight=kl_weight)

  def make(problem: Problem, cell: MakeCell) -> BeliefModel:
    size, observation_size = 1 + next_observation * problem.observation_size, problem.observation_size
    memory = recurrence(problem, cell)
    heads = transition_encoder(memory.output_size, 2 * latent_size, hidden_sizes)
    known = 2 * observation_size if not next_observation else observation_size
    decoder = as_network(small_weights_mlp((*decoder_sizes, size), "relu"), known + problem.action_size + latent_size)

    def know(net: Mapping[str, Params], outputs: Array) -> Array:
      mean, log_std = jnp.split(heads.apply(net["belief"], outputs), 2, axis=-1)
      return jnp.concatenate([mean, jnp.clip(log_std, SMALLEST_LOG_STD, LARGEST_LOG_STD)], axis=-1)

    def outcomes(steps: Steps) -> Array:
      """The targets of the decoder, [..., R]."""
      reward = steps.reward[..., None]
      change = steps.next_observation - steps.observation
      return jnp.concatenate([reward, change], axis=-1) if next_observation else reward

    def follow(net: Mapping[str, Params], steps: Steps) -> RunningScale:
      return update_scale(net[OUTCOMES], outcomes(steps), mask=steps.mask)

    def surprise(net: Mapping[str, Params], z: Array, steps: Steps) -> Array:
      """Half the squared error of the standardised outcome, summed over its coordinates: [P, N]."""
      seen = [steps.observation, steps.action] + ([] if next_observation else [steps.next_observation])
      rows = jnp.concatenate(seen, axis=-1)
      shape = (len(z), len(rows))
      inputs = jnp.concatenate(
        [jnp.broadcast_to(rows, (*shape, rows.shape[-1])), jnp.broadcast_to(z[:, None], (*shape, latent_size))], axis=-1
      )
      target = jax.lax.stop_gradient(standardise(net[OUTCOMES], outcomes(steps)))
      return 0.5 * jnp.sum(jnp.square(decoder.apply(net["decoder"], inputs) - target), axis=-1)

    agent = remembering(memory, know, 2 * latent_size)

    def loss(net: Net, steps: Steps, key: Key) -> tuple[Array, Metrics]:
      mean, log_std = jnp.split(agent.latents(net, steps), 2, axis=-1)

      def of_trial(mean: Array, log_std: Array, steps: Steps, key: Key) -> tuple[Array, Metrics]:
        beliefs = Beliefs(mean, log_std)
        return negative_elbo(surprise, net, beliefs, steps, key, num_prefixes=num_prefixes, kl_weight=kl_weight)

      losses, metrics = jax.vmap(of_trial)(mean, log_std, steps, jax.random.split(key, len(mean)))
      return jnp.mean(losses), jax.tree.map(jnp.mean, metrics)

    return BeliefModel(
      init={
        CELL: memory.init,
        "belief": heads.init,
        "decoder": decoder.init,
        OUTCOMES: lambda key: initial_scale(size),
      },
      agent=agent,
      loss=loss,
      follow=follow,
    )

  return make


def varibad(
  problem: Problem,
  *,
  cell: MakeCell = gru(),
  belief: MakeBelief = recurrent_belief(),
  hidden_sizes: Sequence[int] = (64, 64),
  initial_log_std: float = -0.5,
  ppo: PPO = ppo(),
  belief_learning_rate: float = 1e-3,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """VariBAD on trials; its data are trajectories.

  Args:
    problem: Sizes, the discount from step to step of a trial, and whether actions are a choice.
    cell: The memory behind the belief.
    belief: The belief, and how it is learned.
    hidden_sizes: Hidden layers of policy and value.
    initial_log_std: Initial log standard deviation of actions that are no choice.
    ppo: Trains policy and value; its steps, optimiser, bound and decay are those of cell, belief and decoder too.
    belief_learning_rate: Of cell, belief and decoder.
    gradient_surgery: How the gradients of the trials of a step become one; None for that of their mean.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_finite(initial_log_std=initial_log_std)
  check_not_negative(belief_learning_rate=belief_learning_rate)
  model = belief(problem, cell)
  agent, features = model.agent, features_of(model.agent)
  size = problem.observation_size + agent.latent_size
  policy = stochastic_policy(problem, size, hidden_sizes, initial_log_std=initial_log_std)
  value = value_network(size, hidden_sizes)

  def judge_trials(net: Net, steps: Steps, remaining: Array) -> Judged:
    seen = features(net, steps)
    return judge(policy, value, net, steps, seen, remaining, discount=problem.discount, lambda_=ppo.lambda_)

  def elbo_loss(net: Net, trials: Judged, key: Key) -> tuple[Array, Metrics]:
    return model.loss(net, trials.steps, key)

  return trial_learner(
    init_net=init_parts({**model.init, "policy": policy.init, "value": value.init, RETURNS: initial_returns}),
    judge_trials=judge_trials,
    losses={"ppo_loss": ppo.loss(policy, value, lambda net, trials: trials.features), "elbo_loss": elbo_loss},
    trains=TRAINS,
    follows={RETURNS: follow_returns(problem.discount), OUTCOMES: model.follow},
    optimizers={"ppo_loss": ppo.decaying(ppo.learning_rate), "elbo_loss": ppo.decaying(belief_learning_rate)},
    ppo=ppo,
    gradient_surgery=gradient_surgery,
    adapt=agent.adapt,
    act=act_by(agent, policy),
    prior=agent.prior,
  )
