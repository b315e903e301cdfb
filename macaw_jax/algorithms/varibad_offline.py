"""VariBAD on recorded data: its belief, and an off-policy actor-critic that acts by it.

Dorfman et al. 2021, "Offline Meta Reinforcement Learning: Identifiability Challenges and Effective Data Collection
Strategies" (BOReL, arXiv:2008.02598). Cell, belief and decoder are those of `varibad`, learned from recorded trials, a
support and then a query of one task. The actor-critic sees (s_t, m_t, l_t), as data: no Bellman error reaches the
belief.

Recorded data of a task are those of a policy that had learned it, and a belief can read the task from the behaviour.
The paper's remedy is `dataset.relabelled_episodes` of the configuration: episodes of other tasks, with the rewards that
this task would have given.
"""

from collections.abc import Sequence

from macaw_jax.actor_critics import MakeActorCritic, iql
from macaw_jax.adaptation.memory import recorded_trials, steps_of_rows
from macaw_jax.algorithms.contextual import MakeContextOptimizers, context_optimizers, contextual_agent
from macaw_jax.algorithms.remembering import CELL, remembering_encoder
from macaw_jax.algorithms.varibad import OUTCOMES, MakeBelief, recurrent_belief
from macaw_jax.learners.context import Net, Step, split_update_key
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.networks.cells import MakeCell, gru
from macaw_jax.networks.running_scale import RunningScale
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem, TaskBatch

# The parts that each loss trains, beside the actor-critic's own table.
TRAINS = {"elbo_loss": (CELL, "belief", "decoder")}


def varibad_offline(
  problem: Problem,
  *,
  cell: MakeCell = gru(),
  belief: MakeBelief = recurrent_belief(),
  actor_critic: MakeActorCritic = iql(),
  optimizer: MakeContextOptimizers = context_optimizers(),
  steps: Sequence[Step] = (),
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """VariBAD on recorded data; `cell` is the memory behind the `belief`, other arguments as of `contextual_agent`."""
  model = belief(problem, cell)

  def elbo_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    return model.loss(net, steps_of_rows(recorded_trials(tasks)), split_update_key(key).encoder)

  def follow(net: Net, tasks: TaskBatch, key: Key) -> RunningScale:
    return model.follow(net, steps_of_rows(recorded_trials(tasks)))

  encoder = remembering_encoder(
    problem,
    model.agent,
    init=model.init,
    losses={"elbo_loss": elbo_loss},
    trains=TRAINS,
    follows={OUTCOMES: follow},
  )
  return contextual_agent(problem, encoder, actor_critic, optimizer, steps, gradient_surgery=gradient_surgery)
