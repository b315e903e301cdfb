"""The shared part of agents that know their task: PPO on the episodes of each task, and policies beside a central one.

Observations of an agent with a policy for each of N tasks end with N entries, one at the place of the task and else
zero (the variant `+task_index` of a family). They choose the policy, and no network reads them. Where all of them are
zero the task is not known, and the central policy acts.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from macaw_jax.adaptation.memory import episodes_of
from macaw_jax.learners.context import Net
from macaw_jax.learners.gradient import init_parts
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.learners.ppo import PPO
from macaw_jax.learners.trials import trial_learner
from macaw_jax.losses.returns import masked_mean
from macaw_jax.networks.stochastic_policy import StochasticPolicy
from macaw_jax.objectives.ppo import (
  RETURNS,
  Judged,
  TrialLoss,
  follow_returns,
  initial_returns,
  judge,
)
from macaw_jax.types import Algorithm, Array, Key, Metrics, Network, Params, Problem, Steps, TaskBatch, TimeStep

CENTRAL = "central"  # the part that is one policy for all tasks
OWN = ("policy", "value")  # the parts of which each task has its own, leaves [N, ...]

# The parts that each loss trains; no gradient of a return reaches the central policy.
TRAINS = {"policy_loss": OWN, "distillation_loss": (CENTRAL,)}


class TaskPPO(NamedTuple):
  """PPO of which each task judges its own episodes: advantages are standardised over those of one task.

  judge:  `(net, steps [E, T, H], remaining []) -> Judged [E, T, H]`
  losses: `(net, episodes [E, T, H], key) -> (losses [T], metrics)`, that of each task on its own episodes
  """

  judge: Callable[[Net, Steps, Array], Judged]
  losses: TrialLoss


def task_ppo(
  ppo: PPO,
  policy: StochasticPolicy,
  value: Network,
  *,
  nets: Callable[[Net, Array], Net],
  axes: Any,
  features: Callable[[Array], Array],
  discount: float | Array,
) -> TaskPPO:
  """PPO on the episodes of each task.

  Args:
    ppo: its settings.
    policy: of the parts `policy` that `nets` gives.
    value: of the parts `value`.
    nets: `(net, observation [E, T, H, O]) -> net`, with the parts that act in these tasks.
    axes: of the tasks in the parts of such a net, as of `jax.vmap`.
    features: `(observation [..., O]) -> [..., F]`, which policy and value read.
    discount: gamma.
  """
  loss = ppo.loss(policy, value, lambda net, episodes: episodes.features)

  def judge_tasks(net: Net, steps: Steps, remaining: Array) -> Judged:
    def of_task(net: Net, steps: Steps) -> Judged:
      seen = features(steps.observation)
      return judge(policy, value, net, steps, seen, remaining, discount=discount, lambda_=ppo.lambda_)

    return jax.vmap(of_task, (axes, 1), 1)(nets(net, steps.observation), steps)

  def losses(net: Net, episodes: Judged, key: Key) -> tuple[Array, Metrics]:
    of_tasks = jax.vmap(lambda net, episodes: loss(net, episodes, key), (axes, 1))
    found, metrics = of_tasks(nets(net, episodes.steps.observation), episodes)
    return found, jax.tree.map(jnp.mean, metrics)

  return TaskPPO(judge_tasks, losses)


def task_entries(observation: Array, num_tasks: int) -> Array:
  """The last N entries of observations, `[..., O] -> [..., N]`.

  Raises ValueError where nothing is left before them.
  """
  if observation.shape[-1] <= num_tasks:
    raise ValueError(
      f"observations have {observation.shape[-1]} entries: expected more than {num_tasks}, the last of which say which "
      f"of {num_tasks} tasks it is (a family in its variant +task_index)"
    )
  return observation[..., -num_tasks:]


def without_task(observation: Array, num_tasks: int) -> Array:
  """The observations with zeros in their last N entries, `[..., O] -> [..., O]`."""
  return observation.at[..., -num_tasks:].set(0.0)


def places(observation: Array, num_tasks: int) -> Array:
  """The place of each task among all N, `[T]` int32, as the first steps of its episodes `[E, T, H, O]` show it."""
  return jnp.argmax(task_entries(observation[0, :, 0], num_tasks), axis=-1)


def at_places(params: Params, place: Array) -> Params:
  """The leaves `[N, ...]` at a place `[]`, or at several `[T]`."""
  return jax.tree.map(lambda leaf: leaf[place], params)


def all_tasks(num_tasks: int) -> Callable[[TaskBatch], Steps]:
  """How the episodes of an update are arranged: `[E, N, H, ...]` of all N training tasks, in whatever order.

  Raises, when an update is traced:
    ValueError: there are fewer of them, or observations too short to tell which task it is.
  """

  def arrange(tasks: TaskBatch) -> Steps:
    found = len(tasks.task_index)
    if found != num_tasks:
      raise ValueError(
        f"an update has {found} tasks: expected all {num_tasks} training tasks, each of which has its own policy "
        "(tasks_per_update)"
      )
    steps = episodes_of(tasks)
    task_entries(steps.observation, num_tasks)
    return steps

  return arrange


def each_alone(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
  """The optimiser of each of N tasks, with a state and a gradient norm of its own: leaves `[N, ...]`."""

  def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
    return jax.vmap(optimizer.update)(updates, state, params)

  return optax.GradientTransformation(jax.vmap(optimizer.init), update)


class Restarting(NamedTuple):
  """The state of an optimiser that can begin anew."""

  begins: Array  # []  bool, whether the next step begins anew
  inner: Any


def restarting(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
  """The optimiser, whose next step begins anew where `begins` is set in its state, from the parameters of then."""

  def init(params: Params) -> Restarting:
    return Restarting(jnp.zeros((), bool), optimizer.init(params))

  def update(updates: Params, state: Restarting, params: Params | None = None) -> tuple[Params, Restarting]:
    inner = jax.tree.map(lambda new, old: jnp.where(state.begins, new, old), optimizer.init(params), state.inner)
    updates, inner = optimizer.update(updates, inner, params)
    return updates, Restarting(jnp.zeros((), bool), inner)

  return optax.GradientTransformation(init, update)


def decaying(optimizer: optax.GradientTransformation, steps: int | None) -> optax.GradientTransformation:
  """The optimiser, of which the steps shrink on a line to zero over `steps` of them, whatever restarts within."""
  if steps is None:
    return optimizer
  return optax.chain(optimizer, optax.scale_by_schedule(optax.linear_schedule(1.0, 0.0, steps)))


def distillation(central: StochasticPolicy, policy: StochasticPolicy, num_tasks: int) -> TrialLoss:
  """The mean over tasks i and the steps of each of KL(pi_i || pi_0): the fit of the central policy to the others.

  Up to a constant it is - E log pi_0(a | s) over actions a of pi_i, maximum likelihood without the noise of a draw.
  It trains the part `central`; pi_i is the target, under a stop-gradient.
  """

  def loss(net: Net, episodes: Judged, key: Key) -> tuple[Array, Metrics]:
    held = jax.lax.stop_gradient({CENTRAL: net[CENTRAL], "policy": net["policy"]})
    own = at_places(held["policy"], places(episodes.steps.observation, num_tasks))

    def of_task(own: Params, features: Array, mask: Array) -> Array:
      target = policy.distribution({CENTRAL: held[CENTRAL], "own": own}, features)
      return masked_mean(central.divergence(target, central.distribution(net[CENTRAL], features)), mask)

    found = jnp.mean(jax.vmap(of_task, (0, 1, 1))(own, episodes.features, episodes.steps.mask))
    return found, {"distillation_loss": found}

  return loss


def act_by_task(
  central: StochasticPolicy, policy: StochasticPolicy, num_tasks: int
) -> Callable[[Net, TimeStep, Key | None], tuple[Array, Net]]:
  """`(net, timestep, key) -> (action, {})` by the policy of the task that is seen; by the central one if none is."""

  def act(net: Net, timestep: TimeStep, key: Key | None) -> tuple[Array, Net]:
    shown = task_entries(timestep.observation, num_tasks)
    features = without_task(timestep.observation, num_tasks)
    own = at_places(net["policy"], jnp.argmax(shown))
    distribution = jax.tree.map(
      lambda known, unknown: jnp.where(jnp.any(shown > 0), known, unknown),
      policy.distribution({CENTRAL: net[CENTRAL], "own": own}, features),
      central.distribution(net[CENTRAL], features),
    )
    return policy.mode(distribution) if key is None else policy.sample(distribution, key), {}

  return act


def task_policies_learner(
  problem: Problem,
  *,
  central: StochasticPolicy,
  policy: StochasticPolicy,
  value: Network,
  ppo: PPO,
  distillation_learning_rate: float,
  gradient_surgery: GradientSurgery | None,
  rewarded: Callable[[Net, Steps], Steps] = lambda net, steps: steps,
  penalty: TrialLoss | None = None,
  restart_every: int | None = None,
) -> Algorithm:
  """An algorithm with a policy and a value for each training task, and a central policy that is distilled from them.

  In every step each task's policy and value take a step of PPO on its own episodes, by an optimiser of its own, and the
  central policy one of `distillation` on the same episodes.

  Args:
    problem: Sizes and the discount.
    central: The policy of the part `central`.
    policy: The policy of a task, of `{CENTRAL: params, "own": params}`; the first are held fixed.
    value: The network of a task's value.
    ppo: Trains each task's policy and value, with a gradient norm of its own; its steps, optimiser, bound and decay are
      those of the central policy too.
    distillation_learning_rate: Of the central policy.
    gradient_surgery: How the gradients of the tasks' distillation become one.
    rewarded: `(net, steps [E, T, H]) -> steps` with the rewards that are learned from.
    penalty: A loss that is added to those of PPO.
    restart_every: Updates after which the tasks' policies become the central one, and their optimisers begin anew; not
      with the last of `ppo.decay_steps`. None: never.
  """
  num_tasks, discount = problem.num_tasks, problem.discount

  def nets(net: Net, observation: Array) -> Net:
    place = places(observation, num_tasks)
    held = jax.lax.stop_gradient(net[CENTRAL])
    own = {part: at_places(net[part], place) for part in OWN}
    return {"policy": {CENTRAL: held, "own": own["policy"]}, "value": own["value"], RETURNS: net[RETURNS]}

  of_tasks = task_ppo(
    ppo,
    policy,
    value,
    nets=nets,
    axes={"policy": {CENTRAL: None, "own": 0}, "value": 0, RETURNS: None},
    features=lambda observation: without_task(observation, num_tasks),
    discount=discount,
  )

  def policy_loss(net: Net, episodes: Judged, key: Key) -> tuple[Array, Metrics]:
    losses, metrics = of_tasks.losses(net, episodes, key)
    if penalty is None:
      return jnp.sum(losses), metrics
    added, of_penalty = penalty(net, episodes, key)
    return jnp.sum(losses) + added, metrics | of_penalty

  def become_central(net: Net, opt_state: Any, done: Array) -> tuple[Net, Any]:
    if restart_every is None:
      return net, opt_state
    over = (done % restart_every == 0) & (True if ppo.decay_steps is None else done < ppo.decay_steps)
    policies = jax.tree.map(lambda own, new: jnp.where(over, new, own), net["policy"], net[CENTRAL])
    # The optimiser counts no updates itself: one that is skipped leaves its state as it was.
    return net | {"policy": policies}, optax.tree_utils.tree_set(opt_state, begins=over)

  of_each_task = each_alone(ppo.clipped(ppo.learning_rate))
  optimizers = {
    "policy_loss": of_each_task if restart_every is None else restarting(of_each_task),
    "distillation_loss": ppo.clipped(distillation_learning_rate),
  }

  def of_each(init: Callable[[Key], Params]) -> Callable[[Key], Params]:
    return lambda key: jax.vmap(init)(jax.random.split(key, num_tasks))

  inits: Mapping[str, Callable[[Key], Params]] = {
    "policy": of_each(central.init),
    "value": of_each(value.init),
    CENTRAL: central.init,
    RETURNS: initial_returns,
  }
  algorithm = trial_learner(
    init_net=init_parts(inits),
    judge_trials=lambda net, steps, remaining: of_tasks.judge(net, rewarded(net, steps), remaining),
    losses={"policy_loss": policy_loss, "distillation_loss": distillation(central, policy, num_tasks)},
    trains=TRAINS,
    follows={RETURNS: lambda net, steps: follow_returns(discount)(net, rewarded(dict(net), steps))},
    optimizers={loss: decaying(optimizer, ppo.total_steps) for loss, optimizer in optimizers.items()},
    ppo=ppo,
    gradient_surgery=gradient_surgery,
    act=act_by_task(central, policy, num_tasks),
    arrange=all_tasks(num_tasks),
    task_axis=1,
    separable=("distillation_loss",),
    after=become_central,
  )
  return algorithm._replace(remembers=False, adapts=False, reads_task_index=True)
