"""RL^2 on recorded data: the memory of RL^2 as the encoder of an off-policy actor-critic.

The memory h_t of `rl2` runs over recorded rows in their order, a support and then a query of one task, as if the agent
had lived through them. Where it is trained by PPO online, here the Bellman error of the critic trains it, and the
actor-critic sees (s_t, h_t) as that of PEARL sees (s, z). Ni et al. 2022, "Recurrent Model-Free RL Can Be a Strong
Baseline for Many POMDPs" (arXiv:2110.05038), online; on recorded data with a constraint to the data, after Dorfman et
al. 2021 (BOReL, arXiv:2008.02598).

A new task: the cell runs over the support, and goes on while the agent acts.
"""

from collections.abc import Sequence

from macaw_jax.actor_critics import MakeActorCritic, iql
from macaw_jax.adaptation.memory import recurrence
from macaw_jax.algorithms.contextual import MakeContextOptimizers, context_optimizers, contextual_agent
from macaw_jax.algorithms.remembering import CELL, remembering, remembering_encoder
from macaw_jax.learners.context import Step
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.networks.cells import MakeCell, gru
from macaw_jax.types import Algorithm, Problem

# The parts that each loss trains, beside the actor-critic's own table.
TRAINS = {"critic_loss": (CELL, "critic")}


def rl2_offline(
  problem: Problem,
  *,
  cell: MakeCell = gru(),
  actor_critic: MakeActorCritic = iql(),
  optimizer: MakeContextOptimizers = context_optimizers(),
  steps: Sequence[Step] = (),
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """RL^2 on recorded data; `cell` is the memory, other arguments as of `contextual_agent`."""
  memory = recurrence(problem, cell)
  agent = remembering(memory, lambda net, outputs: outputs, memory.output_size)
  encoder = remembering_encoder(problem, agent, init={CELL: memory.init}, losses={}, trains=TRAINS, follows={})
  return contextual_agent(problem, encoder, actor_critic, optimizer, steps, gradient_surgery=gradient_surgery)
