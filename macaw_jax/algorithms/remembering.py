"""The shared part of agents that remember: what they know of their task at each step, and how they act by it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from macaw_jax.actor_critics.actor_critic import beside
from macaw_jax.adaptation.memory import MEMORY, Recurrence, recorded_trials, steps_of_rows, steps_of_support
from macaw_jax.algorithms.contextual import ContextEncoder, Reading
from macaw_jax.learners.context import Net, read_from_support
from macaw_jax.networks.stochastic_policy import StochasticPolicy
from macaw_jax.types import (
  LATENT,
  NEXT_LATENT,
  Adaptation,
  Array,
  Key,
  LossFn,
  Metrics,
  Params,
  Problem,
  Steps,
  TaskBatch,
  TimeStep,
  Trajectory,
  Transition,
)

CELL = "cell"  # the part that remembers

Know = Callable[[Mapping[str, Params], Array], Array]
"""`(net, outputs of the cell [..., M]) -> latent [..., L]`: what policy and value read beside the observation."""


class Remembering(NamedTuple):
  """An agent's memory of its task, of which policy and value see the latent.

  latents: `(net, steps [T, N]) -> [T, N, L]`, before each action of trials
  ahead:   `(net, steps [T, N]) -> [T, N, L]`, in the state that each step led to
  adapt:   `(net, support, key) -> adapted`, the memory after a support, and its latent
  act:     `(net with adapted, timestep) -> adapted`, one step of an episode
  prior:   `(net, key) -> adapted`, before a task
  latent_size: L
  """

  latents: Callable[[Net, Steps], Array]
  ahead: Callable[[Net, Steps], Array]
  adapt: Callable[[Net, Transition | Trajectory, Key], Net]
  act: Callable[[Net, TimeStep], Net]
  prior: Callable[[Net, Key], Net]
  latent_size: int


def remembering(memory: Recurrence, know: Know, latent_size: int) -> Remembering:
  """A memory whose outputs are known by `know`; the part `cell` has its parameters."""

  def latents(net: Net, steps: Steps) -> Array:
    _, outputs = jax.vmap(lambda trial: memory.run(net[CELL], memory.start, trial))(steps)
    return know(net, outputs)

  def ahead(net: Net, steps: Steps) -> Array:
    return know(net, jax.vmap(lambda trial: memory.ahead(net[CELL], memory.start, trial))(steps))

  def adapt(net: Net, support: Transition | Trajectory, key: Key) -> Net:
    steps = steps_of_support(support)
    after, _ = memory.run(net[CELL], memory.start, steps)
    # The latent of the state that the last step led to; acting reads it from the memory anew.
    final = jnp.sum(steps.mask).astype(int) - 1 if isinstance(support, Transition) else -1
    begun = TimeStep(steps.next_observation[final], after.previous.action, after.previous.reward, jnp.ones(()))
    _, output = memory.act(net[CELL], after, begun)
    return {MEMORY: after, LATENT: know(net, output)}

  def act(net: Net, timestep: TimeStep) -> Net:
    after, output = memory.act(net[CELL], net[MEMORY], timestep)
    return {MEMORY: after, LATENT: know(net, output)}

  def prior(net: Net, key: Key) -> Net:
    return {MEMORY: memory.start, LATENT: jnp.zeros(latent_size)}

  return Remembering(latents, ahead, adapt, act, prior, latent_size)


def act_by(agent: Remembering, policy: StochasticPolicy) -> Callable[[Net, TimeStep, Key | None], tuple[Array, Net]]:
  """`(net with adapted, timestep, key) -> (action, adapted)` by the part `policy`; its mode without a key."""

  def act(net: Net, timestep: TimeStep, key: Key | None) -> tuple[Array, Net]:
    changed = agent.act(net, timestep)
    features = beside(timestep.observation, changed[LATENT])
    distribution = policy.distribution(net["policy"], features)
    return policy.mode(distribution) if key is None else policy.sample(distribution, key), changed

  return act


def features_of(agent: Remembering) -> Callable[[Any, Steps], Array]:
  """`(net, steps [T, N]) -> [T, N, O + L]` with the gradient of the memory."""
  return lambda net, steps: beside(steps.observation, agent.latents(net, steps))


def remembering_encoder(
  problem: Problem,
  agent: Remembering,
  *,
  init: Mapping[str, Callable[[Key], Params]],
  losses: Mapping[str, LossFn],
  trains: Mapping[str, tuple[str, ...]],
  follows: Mapping[str, Callable[[Net, TaskBatch, Key], Params]],
) -> ContextEncoder:
  """The memory as the encoder of a context-based agent, which learns from recorded trials.

  A trial is a support and a query, both of consecutive rows; the actor-critic learns from all of them, each with what
  the memory holds of those before. What it holds in the next state is read by targets alone, and is data.
  """

  def read_rows(net: Net, tasks: TaskBatch, key: Key) -> tuple[Net, Transition]:
    rows = recorded_trials(tasks)
    steps = steps_of_rows(rows)
    return {LATENT: agent.latents(net, steps), NEXT_LATENT: jax.lax.stop_gradient(agent.ahead(net, steps))}, rows

  def apply(net: Net, rule: Params, support: Transition, key: Key) -> tuple[Net, Metrics]:
    return agent.adapt(net, support, key), {}

  adaptation = Adaptation(lambda net: {}, apply)
  return ContextEncoder(
    latent_size=agent.latent_size,
    init=init,
    adaptation=adaptation,
    latents_of=read_from_support(adaptation),
    prior=agent.prior,
    losses=losses,
    trains=trains,
    follows=follows,
    reading=Reading(problem, next_observation=True, inputs="raw"),
    read_rows=read_rows,
    advance=agent.act,
  )
