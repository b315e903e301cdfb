"""CORRO: a latent from contrasts between a task's outcome of a state and an action and those of other tasks.

Yuan and Lu 2022, "Robust Task Representations for Offline Meta-Reinforcement Learning via Contrastive Learning"
(arXiv:2206.10442).

Latent:    z = sum_n softmax_n(w . k_n) k_n, k_n = e(x_n) / |e(x_n)| over the transitions of a context,
           standardised over tasks and clipped to [-10, 10]: a context unlike those of training, such as one of few
           transitions, keeps little but on which side of the others it lies
Training:  the encoder e minimises InfoNCE: a transition must be nearer to another of its task than to copies of itself
           with other outcomes, x* = (s, a, r*, s*), which differ from it in nothing that the behaviour policy decides;
           critics and aggregator w minimise L_Q, e under a stop-gradient; the rest of the actor-critic its own
           losses
Outcomes:  'reward_noise': r* = r + noise, s* = s'; or 'generator': from a conditional variational autoencoder
           (s, a, latent) -> (r, s' - s), trained beside on all tasks as one, its latent drawn from N(0, I)
A new task: z of its context; without any context the latent of some training task

Generator, encoder and agent learn side by side, and with `encoder_steps` generator and encoder stand still for the rest
of the run. With `stages` they learn one after the other, as in the released code.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from macaw_jax.actor_critics import MakeActorCritic, iql, twin_sac
from macaw_jax.algorithms.contextual import (
  ContextEncoder,
  MakeContextOptimizers,
  MakeEncoder,
  Reading,
  context_optimizers,
  contextual_agent,
  deterministic_encoder,
)
from macaw_jax.hyperparameters import (
  check_choice,
  check_counts,
  check_not_negative,
  check_positive,
  check_sizes,
  part,
)
from macaw_jax.learners.context import Net, Step, split_update_key
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.losses.embeddings import info_nce, kl_to_standard_normal
from macaw_jax.networks.encoders import (
  Gaussian,
  attention_pool,
  normalise_to_sphere,
  sample_gaussian,
  transition_encoder,
)
from macaw_jax.networks.latent import MakeLayer, released_hidden_layer, released_networks
from macaw_jax.networks.running_scale import RunningScale, initial_scale, standardise, update_scale
from macaw_jax.networks.soft_actor_critic import hard_bounds
from macaw_jax.types import Algorithm, Array, Key, Metrics, Params, Problem, TaskBatch, Transition

# The parts that each loss trains, beside the actor-critic's own table; every other gradient is exactly zero.
TRAINS = {"contrastive_loss": ("encoder",), "critic_loss": ("aggregator", "critic")}
GENERATOR_TRAINS = {"generator_loss": ("generator",)}

LATENT_SCALE = "latent_scale"  # the part that holds the running scale of the aggregator's outputs
NEGATIVES = ("reward_noise", "generator")
LATENTS = ("standardised", "raw")
LATENT_BATCHES = 100.0  # that the mean of that scale reaches back: embeddings move while the encoder learns


def repeat_rows(rows: Array, count: int) -> Array:
  """Each row `count` times: `[..., F] -> [..., count, F]`."""
  return jnp.repeat(rows[..., None, :], count, axis=-2)


def noisy_rewards(outcome: Array, key: Key, count: int, noise: float) -> Array:
  """Outcomes (r + noise e, s' - s) with `count` draws of e ~ N(0, 1): `[..., R] -> [..., count, R]`."""
  drawn = noise * jax.random.normal(key, (*outcome.shape[:-1], count))
  return repeat_rows(outcome, count).at[..., 0].add(drawn)


@part
def contrastive_encoder(
  *,
  latent_size: int = 5,
  hidden_sizes: Sequence[int] = (64, 64),
  next_observation: bool = True,
  inputs: str = "standardised",
  latents: str = "standardised",
  negatives: str = "reward_noise",
  num_negatives: int = 16,
  reward_noise: float = 2.0,
  contrastive_temperature: float = 0.1,
  queries_per_task: int = 16,
  generator_latent_size: int = 5,
  generator_hidden_sizes: Sequence[int] = (64,),
  generator_kl_weight: float = 0.2,
  layer: MakeLayer = nn.Dense,
  score_init: nn.initializers.Initializer = nn.initializers.zeros,
) -> MakeEncoder:
  """CORRO's encoder.

  Args:
    latent_size: L, the size of z.
    hidden_sizes: Hidden layers of the network that embeds a transition.
    next_observation: Whether it sees s' - s beside (s, a, r).
    inputs: 'standardised', or 'raw' as the released code reads them, with s' for s' - s (`Reading`).
    latents: 'standardised' over tasks, or 'raw': the pool of a context as it is, in the unit ball, as released.
    negatives: Where other outcomes come from: 'reward_noise' for tasks that differ in rewards, 'generator' for any
      whose data overlap in states and actions.
    num_negatives: K, for each query.
    reward_noise: Standard deviation of the noise, in standard deviations of the rewards; with raw inputs in the units
      of the rewards.
    contrastive_temperature: By which likenesses are divided in the contrast.
    queries_per_task: Transitions of a task that an update contrasts; at most half of its support.
    generator_latent_size: Size of the autoencoder's latent.
    generator_hidden_sizes: Hidden layers of its encoder, and of its decoder.
    generator_kl_weight: beta, the weight of its divergence beside its error.
    layer: The hidden layers of all these networks.
    score_init: Initial weights w of the score, a matrix of L rows; zeros begin with the mean of a context.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes, generator_hidden_sizes=generator_hidden_sizes)
  check_positive(reward_noise=reward_noise, contrastive_temperature=contrastive_temperature)
  check_not_negative(generator_kl_weight=generator_kl_weight)
  check_counts(
    latent_size=latent_size,
    num_negatives=num_negatives,
    queries_per_task=queries_per_task,
    generator_latent_size=generator_latent_size,
  )
  check_choice(NEGATIVES, negatives=negatives)
  check_choice(LATENTS, latents=latents)

  def make(problem: Problem) -> ContextEncoder:
    read = Reading(problem, next_observation, inputs)
    network = transition_encoder(read.size, latent_size, hidden_sizes, layer=layer)
    recognise = transition_encoder(read.size, 2 * generator_latent_size, generator_hidden_sizes, layer=layer)
    decode = transition_encoder(
      read.behaviour_size + generator_latent_size, read.outcome_size, generator_hidden_sizes, layer=layer
    )

    def embed(net: Net, rows: Array) -> Array:
      return normalise_to_sphere(network.apply(net["encoder"], rows))

    def aggregate(net: Net, context: Transition) -> Array:
      """The pool of a context, in the unit ball: [..., L]."""
      embeddings = embed(net, read.rows(net, context))  # [..., C, L]
      scores = embeddings @ net["aggregator"]["weights"]
      return attention_pool(embeddings, scores, context.mask)

    def infer(net: Net, context: Transition, key: Key) -> Array:
      pooled = aggregate(net, context)
      if latents == "raw":
        return pooled
      # Tasks lie many of their own spreads apart, and yet all in one small spot of the ball: most of an embedding says
      # that the transition is a real one. An actor-critic would not see the differences.
      return standardise(net[LATENT_SCALE], pooled)

    def follow_latents(net: Net, tasks: TaskBatch, key: Key) -> RunningScale:
      return update_scale(net[LATENT_SCALE], aggregate(net, tasks.support), max_count=LATENT_BATCHES)

    def init_aggregator(key: Key) -> Params:
      return {"weights": score_init(key, (latent_size, 1))[:, 0]}

    def init_generator(key: Key) -> Params:
      key_recognise, key_decode = jax.random.split(key)
      return {"recognise": recognise.init(key_recognise), "decode": decode.init(key_decode)}

    def other_outcomes(net: Net, behaviour: Array, outcome: Array, key: Key) -> Array:
      """Outcomes [..., K, R] that another task may make of (s, a)."""
      if negatives == "reward_noise":
        return noisy_rewards(outcome, key, num_negatives, reward_noise)
      latents = jax.random.normal(key, (*behaviour.shape[:-1], num_negatives, generator_latent_size))
      inputs = jnp.concatenate([repeat_rows(behaviour, num_negatives), latents], axis=-1)
      return decode.apply(net["generator"]["decode"], inputs)

    def contrastive_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
      rows = read.rows(net, tasks.support)  # [T, C, F]
      half = rows.shape[1] // 2
      if queries_per_task > half:
        raise ValueError(f"queries_per_task={queries_per_task} exceeds half of the {rows.shape[1]} rows of a support")
      queries, positives = rows[:, :queries_per_task], rows[:, half : half + queries_per_task]
      behaviour, outcome = read.split(queries)
      key_negatives, _ = jax.random.split(split_update_key(key).encoder)
      others = other_outcomes(net, behaviour, outcome, key_negatives)  # [T, Q, K, R]
      loss = info_nce(
        embed(net, queries),
        embed(net, positives),
        embed(net, jnp.concatenate([repeat_rows(behaviour, num_negatives), others], axis=-1)),
        temperature=contrastive_temperature,
      )
      return loss, {"contrastive_loss": loss}

    def generator_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
      rows = read.rows(net, tasks.query)
      behaviour, outcome = read.split(rows)
      mean, log_variance = jnp.split(recognise.apply(net["generator"]["recognise"], rows), 2, axis=-1)
      belief = Gaussian(mean, jnp.exp(log_variance))
      _, key_latents = jax.random.split(split_update_key(key).encoder)
      latents = sample_gaussian(belief, key_latents)
      decoded = decode.apply(net["generator"]["decode"], jnp.concatenate([behaviour, latents], axis=-1))
      error, divergence = read.outcome_error(decoded, outcome), jnp.mean(kl_to_standard_normal(*belief))
      return error + generator_kl_weight * divergence, {"generator_error": error, "generator_kl": divergence}

    has_scale = latents == "standardised"
    encoder = deterministic_encoder(
      problem,
      infer,
      latent_size=latent_size,
      init={
        **read.init,
        "encoder": network.init,
        "aggregator": init_aggregator,
        **({LATENT_SCALE: lambda key: initial_scale(latent_size)} if has_scale else {}),
      },
      losses={"contrastive_loss": contrastive_loss},
      trains=TRAINS,
      follows={**read.follows, **({LATENT_SCALE: follow_latents} if has_scale else {})},
      reading=read,
      keeps_learning=("aggregator",),
      stages=("encoder",),
    )
    if negatives == "reward_noise":
      return encoder
    generating = {"generator": init_generator}, {"generator_loss": generator_loss}, GENERATOR_TRAINS
    return encoder.with_terms(*generating)._replace(stages=("generator", "encoder"))

  return make


# The released code: three stages; in the agent's, critics and aggregator step first, then the policy against the new
# critics, at the latents of the aggregator before its step.
RELEASED: dict[str, Any] = {
  "encoder": contrastive_encoder(
    inputs="raw",
    latents="raw",
    negatives="generator",
    reward_noise=0.5,
    queries_per_task=4,
    layer=released_hidden_layer,
    # U(-1/sqrt(L), 1/sqrt(L)), the default of the library that it is written in.
    score_init=nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform"),
  ),
  "actor_critic": twin_sac(
    hidden_sizes=(256, 256), reward_scale=1.0, networks=released_networks(hard_bounds(-20.0, 2.0))
  ),
  "optimizer": context_optimizers(agent_learning_rate=3e-4, encoder_learning_rate=3e-4),
  "steps": (
    Step(("generator_loss",)),
    Step(("contrastive_loss",)),
    Step(("critic_loss",)),
    Step(("policy_loss",), before=("aggregator",)),
  ),
  "stages": (100_000, 200_000),
}
# The same for tasks that differ in rewards and whose data hardly overlap: without a generator.
RELEASED_REWARD_NOISE: dict[str, Any] = RELEASED | {
  "encoder": RELEASED["encoder"].changed(negatives="reward_noise"),
  "steps": RELEASED["steps"][1:],
  "stages": RELEASED["stages"][1:],
}


def corro(
  problem: Problem,
  *,
  encoder: MakeEncoder = contrastive_encoder(),
  actor_critic: MakeActorCritic = iql(),
  optimizer: MakeContextOptimizers = context_optimizers(agent_learning_rate=3e-3),
  steps: Sequence[Step] = (),
  stages: Sequence[int] = (),
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """CORRO; arguments as of `contextual_agent`. The loss of the critic trains the aggregator too.

  The stages are that of the generator, where there is one, and that of the encoder.
  """
  return contextual_agent(
    problem, encoder(problem), actor_critic, optimizer, steps, stages, gradient_surgery=gradient_surgery
  )
