"""UNICORN: FOCAL's encoder whose latent must also predict a task's outcomes of states and actions.

Li et al. 2024, "Towards an Information Theoretic Framework of Context-Based Offline Meta-Reinforcement Learning"
(arXiv:2402.02429), UNICORN-SS, its self-supervised form: a latent that predicts outcomes has read the task and not the
behaviour policy. The supervised form, UNICORN-SUP, has a classifier of tasks and its cross-entropy in place of both
losses.

Latent:    z = mean_n tanh(e(x_n)), as FOCAL
Training:  the encoder minimises the metric loss + reconstruction_weight * error of d(s, a, z) in (r, s' - s) over
           transitions of the query, whose outcomes the context does not show, and the decoder d minimises the latter;
           the actor-critic minimises its own losses, z under a stop-gradient

With a `triplet_weight` the encoder minimises one term more, of Li et al. 2020, "Multi-task Batch Reinforcement Learning
with Metric Learning" (NeurIPS): (s, a, s' - s) of another task with the rewards that the decoder expects of them in
this one must be read as this task, and not as the one whose policy acted.

`RELEASED` is the set of choices that repeats the released code: noise before the tanh (`noisy_encoder`), Gaussian
decoders, and the outcomes of the context itself.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from macaw_jax.actor_critics import MakeActorCritic, iql
from macaw_jax.actor_critics.actor_critic import beside
from macaw_jax.algorithms.contextual import (
  ContextEncoder,
  MakeContextOptimizers,
  MakeEncoder,
  Reading,
  context_optimizers,
  contextual_agent,
  deterministic_encoder,
)
from macaw_jax.algorithms.decoders import MakeDecoder, gaussian_decoders, squared_error_decoder
from macaw_jax.algorithms.focal import RELEASED as FOCAL_RELEASED
from macaw_jax.algorithms.focal import TRAINS as TRAINS_METRIC
from macaw_jax.algorithms.focal import metric_encoder
from macaw_jax.hyperparameters import (
  check_choice,
  check_counts,
  check_not_negative,
  check_positive,
  check_sizes,
  may_weigh,
  part,
  require,
)
from macaw_jax.learners.context import Net, Step, split_update_key
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.losses.embeddings import released_metric, triplet_loss
from macaw_jax.losses.returns import masked_mean
from macaw_jax.networks.encoders import mean_pool, transition_encoder
from macaw_jax.networks.latent import MakeLayer, released_hidden_layer, released_networks
from macaw_jax.networks.soft_actor_critic import hard_bounds
from macaw_jax.types import Algorithm, Array, Key, Metrics, Params, Problem, TaskBatch, Transition

# The parts that each loss trains, beside the tables of encoder and actor-critic; every other gradient is exactly zero.
TRAINS = {"reconstruction_loss": ("encoder", "decoder"), "triplet_loss": ("encoder",)}

PREDICTED = ("query", "context")


@part
def noisy_encoder(
  *,
  latent_size: int = 5,
  hidden_sizes: Sequence[int] = (64, 64),
  next_observation: bool = True,
  terminal: bool = False,
  inputs: str = "standardised",
  metric_weight: float = 10.0,
  repulsion: float = 1.0,
  repulsion_offset: float = 0.1,
  min_variance: float = 0.1,
  max_variance: float = 10.0,
  layer: MakeLayer = nn.Dense,
) -> MakeEncoder:
  """UNICORN's released encoder: z = mean_n tanh(e(x_n) + sqrt(v) noise_n), v learned, one number per coordinate.

  All losses of an update see the same draw. A new task is read without noise, z = mean_n tanh(e(x_n)), and so are the
  latents of training tasks that the agent starts from. The metric loss is that of FOCAL's released code on the latents
  of whole supports: two of them attract where a batch has a task twice.

  Args:
    latent_size: L, the size of z.
    hidden_sizes: Hidden layers of the network that embeds a transition.
    next_observation: Whether it sees s' - s beside (s, a, r). Tasks that differ in physics need it.
    terminal: Whether it sees the terminal as well.
    inputs: 'standardised', or 'raw' as the released code reads them, with s' for s' - s (`Reading`).
    metric_weight: Weight of the metric loss.
    repulsion: beta in beta / (d + epsilon) for two tasks whose latents have the mean squared distance d.
    repulsion_offset: epsilon in it.
    min_variance: The variance of the noise is at least this.
    max_variance: And at most this. Where it is cut, it has a gradient of zero.
    layer: The hidden layers.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  check_not_negative(metric_weight=metric_weight, repulsion=repulsion)
  check_positive(repulsion_offset=repulsion_offset, min_variance=min_variance)
  check_counts(latent_size=latent_size)
  require(max_variance >= min_variance, f"max_variance={max_variance} must not be below min_variance={min_variance}")

  def make(problem: Problem) -> ContextEncoder:
    read = Reading(problem, next_observation, inputs, terminal)
    network = transition_encoder(read.size, latent_size, hidden_sizes, layer=layer)

    def init(key: Key) -> Params:
      return {"network": network.init(key), "log_variance": jnp.zeros(latent_size)}

    def embed(net: Net, rows: Array) -> Array:
      return jnp.tanh(network.apply(net["encoder"]["network"], rows))

    def infer(net: Net, context: Transition, key: Key) -> Array:
      return mean_pool(embed(net, read.rows(net, context)), context.mask)

    def latents_of(net: Net, tasks: TaskBatch, key: Key) -> Array:
      outputs = network.apply(net["encoder"]["network"], read.rows(net, tasks.support))  # [T, C, L]
      variance = jnp.clip(jnp.exp(net["encoder"]["log_variance"]), min_variance, max_variance)
      noise = jax.random.normal(split_update_key(key).latent, outputs.shape)
      return mean_pool(jnp.tanh(outputs + jnp.sqrt(variance) * noise), tasks.support.mask)

    def metric_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
      latents = latents_of(net, tasks, key)
      loss = released_metric(
        latents, tasks.task_index, repulsion=repulsion, epsilon=repulsion_offset, weight=metric_weight
      )
      return loss, {"metric_loss": loss, "latent_std": jnp.mean(jnp.std(latents, axis=0))}

    without_noise = deterministic_encoder(
      problem,
      infer,
      latent_size=latent_size,
      init={**read.init, "encoder": init},
      losses={"metric_loss": metric_loss},
      trains=TRAINS_METRIC,
      follows=read.follows,
      reading=read,
      embed=embed,
    )
    return without_noise._replace(latents_of=latents_of)

  return make


# The released code, with sizes and rates of FOCAL's, which it extends. The weight of the metric loss is that of the
# update it is compared on; the paper has one for each family. Actor-critic, rates and steps are FOCAL's, but for the
# bounds of the policy and the losses of the encoder's step.
RELEASED: dict[str, Any] = FOCAL_RELEASED | {
  "encoder": noisy_encoder(
    latent_size=20,
    hidden_sizes=(200, 200, 200),
    terminal=True,
    inputs="raw",
    metric_weight=0.15,
    layer=released_hidden_layer,
  ),
  "decoder": gaussian_decoders(),
  "decoder_hidden_sizes": (200, 200, 200),
  "predicts": "context",
  "reconstruction_weight": 1.0,
  "actor_critic": FOCAL_RELEASED["actor_critic"].changed(networks=released_networks(hard_bounds(-20.0, 2.0))),
  "steps": tuple(
    step._replace(losses=(*step.losses, "reconstruction_loss")) if "metric_loss" in step.losses else step
    for step in FOCAL_RELEASED["steps"]
  ),
}


def unicorn(
  problem: Problem,
  *,
  encoder: MakeEncoder = metric_encoder(),
  decoder: MakeDecoder = squared_error_decoder,
  decoder_hidden_sizes: Sequence[int] = (64, 64),
  predicts: str = "query",
  reconstruction_weight: float = 10.0,
  triplet_weight: float = 0.0,
  triplet_margin: float = 1.0,
  actor_critic: MakeActorCritic = iql(),
  optimizer: MakeContextOptimizers = context_optimizers(agent_learning_rate=3e-3),
  steps: Sequence[Step] = (),
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """UNICORN; arguments as of `contextual_agent`, and those below.

  Args:
    problem: Sizes and discount of the data.
    encoder: `metric_encoder()`, or `noisy_encoder()` of the released code. With `metric_encoder(metric_weight=0.0)` the
      latent is learned from prediction alone, the paper's UNICORN-SS-0; without next_observation only the reward is
      predicted.
    decoder: Predicts outcomes, and says what their error is: `squared_error_decoder`, or `gaussian_decoders()`.
    decoder_hidden_sizes: Hidden layers of its networks.
    predicts: Whose outcomes: 'query', which the context does not show, or 'context', as the released code does.
    reconstruction_weight: Weight of the prediction beside the metric loss.
    triplet_weight: Weight of the term of relabelled contexts, the loss `triplet_loss`. 0 for the paper's algorithm:
      there is then no such loss.
    triplet_margin: The difference of distances from which on that term is zero.
    actor_critic: Learns to act by the latent.
    optimizer: Makes the optimisers of all parts.
    steps: The steps of an update.
    gradient_surgery: How the gradients of tasks become one (`contextual_agent`).

  Raises:
    ValueError: for a setting outside its range, or an encoder without embeddings of single transitions.
  """
  check_not_negative(
    reconstruction_weight=reconstruction_weight, triplet_weight=triplet_weight, triplet_margin=triplet_margin
  )
  check_sizes(decoder_hidden_sizes=decoder_hidden_sizes)
  check_choice(PREDICTED, predicts=predicts)
  metric = encoder(problem)
  read, embed = metric.reading, metric.embed
  if embed is None:
    raise ValueError("UNICORN needs an encoder that embeds single transitions, as metric_encoder()")
  decode = decoder(read, metric.latent_size, decoder_hidden_sizes)

  def reconstruction_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    latents = metric.latents_of(net, tasks, key)  # [T, L]
    predicted = tasks.query if predicts == "query" else tasks.support
    behaviour, outcomes = read.prediction(net, predicted)  # [T, B, ...]
    errors = decode.errors(net["decoder"], beside(behaviour, latents), outcomes)  # [T, B]
    error = masked_mean(errors, predicted.mask)
    return reconstruction_weight * error, {"reconstruction_error": error}

  def relabelled_loss(net: Net, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    rows, mask = read.rows(net, tasks.support), tasks.support.mask
    # Each task has its neighbour in the batch for the other one.
    of_other, other_mask = jnp.roll(rows, 1, axis=0), None if mask is None else jnp.roll(mask, 1, axis=0)
    behaviour, outcome = read.split(of_other)
    expected = decode.predict(net["decoder"], beside(behaviour, metric.latents_of(net, tasks, key)))
    reward = jax.lax.stop_gradient(expected[..., :1])
    relabelled = jnp.concatenate([behaviour, reward, outcome[..., 1:]], axis=-1)
    loss = triplet_loss(
      mean_pool(embed(net, relabelled), other_mask),
      mean_pool(embed(net, rows), mask),
      mean_pool(embed(net, of_other), other_mask),
      margin=triplet_margin,
    )
    return triplet_weight * loss, {"triplet_loss": loss}

  losses = {"reconstruction_loss": reconstruction_loss}
  if may_weigh(triplet_weight):
    losses["triplet_loss"] = relabelled_loss
  predicting = metric.with_terms({"decoder": decode.init}, losses, {name: TRAINS[name] for name in losses})
  return contextual_agent(problem, predicting, actor_critic, optimizer, steps, gradient_surgery=gradient_surgery)
