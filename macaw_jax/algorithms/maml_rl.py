"""MAML for reinforcement learning: initial parameters from which a few policy-gradient steps lead to a good policy.

Finn et al. 2017 (MAML); Li et al. 2017 (Meta-SGD); Stadie et al. 2018 (E-MAML); Farquhar et al. 2019 (Loaded DiCE);
Rothfuss et al. 2019 (ProMP).

Adaptation, K times: an inner step of `policy_gradient_inner` on episodes D_k of the policy theta_k before it
Meta-training, on episodes of theta_K:
  L_out = -mean of min(rho A, clip(rho, 1 - clip, 1 + clip) A) or of rho A,    rho = pi_thetaK / behaviour
          + kl_weight mean_k KL(behaviour_k || pi_theta_k) + the loss of `sampling_credit`

theta, and the step sizes if they are learned, minimise L_out through all steps. Advantages are those of the inner
steps.

Two objectives must not be mixed. With `log_prob`, the inner data depend on theta, and `sampling_credit` adds the part
that plain MAML drops of the gradient: credit for the choice of D_0 by how well the adapted policy did. As in E-MAML's
released code, both are standardised, each in its own way, and so their sum is not the gradient of one objective. The
other surrogates differentiate an expected inner gradient; there is nothing to add.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from macaw_jax.algorithms.policy_gradient_inner import MakeInner, policy_gradient_inner
from macaw_jax.hyperparameters import check_counts, check_not_negative, check_positive, require
from macaw_jax.learners.gradient import MakeOptimizer, gradient_of, init_parts, learner, linear_decay, meta_loss
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.learners.policy_gradient import divergence_from_behaviour, with_epochs
from macaw_jax.losses.policy_gradient import sampling_credit as sampling_credit_loss
from macaw_jax.losses.returns import normalise_advantage, reward_of
from macaw_jax.networks.gaussian import GaussianPolicy, act_with_gaussian
from macaw_jax.objectives.episodes import policy_log_prob, policy_loss
from macaw_jax.types import Algorithm, Array, Key, LossFn, MetaParams, Metrics, Problem, TaskBatch, Trajectory

# The parts that the loss trains.
TRAINS = {"outer_loss": ("policy", "step_size")}


def credit_of_sampling(policy: GaussianPolicy, params: MetaParams, tasks: TaskBatch) -> Array:
  """`sampling_credit` of the first inner step's episodes, by returns standardised over tasks, for one step of them.

  So that it depends neither on the size of rewards nor on the length of episodes, as the loss that it is added to.
  """
  first: Trajectory = jax.tree.map(lambda leaf: leaf[:, 0], tasks.support)
  now = policy_log_prob(policy, params.net, first)  # [T, E, H]
  post_return = jnp.mean(jnp.sum(reward_of(tasks.query), axis=-1), axis=-1)  # [T]
  size = jnp.sqrt(jnp.mean(jnp.square(post_return)))
  standardised = normalise_advantage(post_return, jnp.ones_like(post_return), size)
  steps_of_episode = jnp.mean(jnp.sum(first.mask, axis=-1))
  return sampling_credit_loss(now, first.mask, standardised) / steps_of_episode


def maml_rl(
  problem: Problem,
  *,
  inner: MakeInner = policy_gradient_inner(),
  learn_step_sizes: bool = False,
  first_order: bool = False,
  clip: float | None = 0.5,
  kl_weight: float = 0.0,
  sampling_credit: bool = False,
  learning_rate: float = 1e-3,
  epochs: int = 1,
  decay_steps: int | None = None,
  outer_loss: Callable[..., LossFn] = policy_loss,
  optimizer: MakeOptimizer = optax.adam,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """MAML-RL; ProMP and E-MAML are variants of it in `configs/maml_rl.py`.

  Its data are trajectories with rewards.

  Args:
    problem: Sizes; discount of returns and advantages.
    inner: The policy and its inner steps.
    learn_step_sizes: Whether step sizes are learned, one for each parameter (Meta-SGD).
    first_order: Whether meta-gradients ignore how inner gradients depend on the parameters.
    clip: Bound on how far the outer ratio counts from one; None for the plain ratio.
    kl_weight: Weight of the divergence from the behaviour policies, which is zero with one epoch.
    sampling_credit: Whether the choice of the first inner data is credited (E-MAML): with the surrogate 'log_prob' and
      one epoch alone.
    learning_rate: For everything that is learned.
    epochs: Steps on the episodes of one update, each with the inner steps taken anew.
    decay_steps: Updates over which the learning rate falls to zero on a line; None keeps it.
    outer_loss: `(policy, advantage, clip=) -> loss` of the adapted policy.
    optimizer: Makes the optimiser from its learning rate.
    gradient_surgery: How the gradients of tasks become one (`learners.gradient_surgery`); None for the mean's.

  Raises:
    ValueError: for a setting outside its range, or two that exclude each other.
  """
  check_counts(epochs=epochs, decay_steps=decay_steps)
  check_not_negative(learning_rate=learning_rate, kl_weight=kl_weight)
  if clip is not None:
    check_positive(clip=clip)
  surrogate, policy, advantage, adaptation = inner(problem, learn_step_sizes=learn_step_sizes, first_order=first_order)
  require(
    (sampling_credit == 0) | (epochs == 1),
    f"sampling_credit=True with epochs={epochs}: the credit is for data of the policy as it was before the first",
  )
  require(
    (sampling_credit == 0) | (surrogate == "log_prob"),
    f"sampling_credit=True with surrogate={surrogate!r}: it would credit the choice of data twice",
  )
  require(
    (sampling_credit == 0) | (gradient_surgery is None),
    "sampling_credit=True with gradient_surgery: the credit compares tasks, and no task has a gradient of it alone",
  )
  query_loss = meta_loss(adaptation, outer_loss(policy, advantage, clip=clip))

  def loss(params: MetaParams, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    key_query, key_divergence = jax.random.split(key)
    value, metrics = query_loss(params, tasks, key_query)
    if tasks.support.behaviour is not None:  # Else the policy is the behaviour policy, and the divergence zero.
      keys = jax.random.split(key_divergence, tasks.task_index.shape[0])
      divergence = partial(divergence_from_behaviour, policy, adaptation, params)
      metrics["divergence"] = jnp.mean(jax.vmap(divergence)(tasks.support, keys))
      value += kl_weight * metrics["divergence"]
    if sampling_credit is not False:
      value += jnp.where(sampling_credit, credit_of_sampling(policy, params, tasks), 0.0)
    return value, metrics

  algorithm = learner(
    init_net=init_parts({"policy": policy.init}),
    adaptation=adaptation,
    meta_gradient=gradient_of(loss, gradient_surgery),
    optimizer=optimizer(linear_decay(learning_rate, decay_steps and decay_steps * epochs)),
    act=act_with_gaussian(policy),
  )
  return with_epochs(algorithm, policy, adaptation, epochs)
