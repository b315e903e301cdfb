"""One update of NoRML in PyTorch, with the structure of the authors' code.

That code is TensorFlow 1 (google-research, folder `norml`), and its graph is unrolled over the tasks of a batch. Here
it is a Python loop over the tasks, with an inner step of second order through the autograd graph; values are fitted in
double precision with numpy, as there. `tests/test_torch_reference.py` compares all of it with what that code computed.

Parameters come and gradients go as a flat dict of arrays: `policy/...` and, in the same shapes, `offset/...` and
`rate/...` (the inner step size of each), `advantage/...`; below each `layer<i>/{W, b}`, `out/{W, b}` with W as
`[n_in, n_out]`, and `log_std` of the policy. Axes: T tasks, E episodes, H steps.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

torch.set_num_threads(1)

Arrays = Mapping[str, np.ndarray]
Weights = dict[str, Tensor]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
  "tanh": torch.tanh,
  "relu": torch.relu,
  "identity": lambda hidden: hidden,
}
RIDGE = 1e-5


@dataclasses.dataclass(frozen=True)
class Settings:
  """The numbers of the released configuration, point agent."""

  learned_advantage: bool = True
  offset: bool = True
  learn_rates: bool = False
  normalise: str = "last_task"  # as released; or 'per_task', 'none': which tasks' outer advantages are standardised
  whiten_values: bool = False
  discount: float = 0.9
  clip: float = 0.2
  activation: str = "tanh"
  advantage_activation: str = "tanh"
  learning_rate: float = 6e-3


class Episodes(NamedTuple):
  """Episodes of one task; all is zero beyond an episode's end."""

  observation: np.ndarray  # [E, H, O]
  action: np.ndarray  # [E, H, A]
  reward: np.ndarray  # [E, H]
  next_observation: np.ndarray  # [E, H, O]
  mask: np.ndarray  # [E, H], 1 on valid steps


def of_group(weights: Weights, group: str) -> Weights:
  """The weights below a name, without it."""
  return {name.removeprefix(f"{group}/"): value for name, value in weights.items() if name.startswith(f"{group}/")}


def perceptron(weights: Weights, inputs: Tensor, activation: str) -> Tensor:
  """Layers with an activation between them, the last one linear."""
  hidden = inputs
  for index in range(sum(name.startswith("layer") and name.endswith("/W") for name in weights)):
    layer = f"layer{index}"
    hidden = ACTIVATIONS[activation](hidden @ weights[f"{layer}/W"] + weights[f"{layer}/b"])
  return hidden @ weights["out/W"] + weights["out/b"]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
  """Mean over valid steps."""
  return (values * mask).sum() / mask.sum()


def discounted_returns(episodes: Episodes, discount: float) -> np.ndarray:
  """Return of each step to the end of its episode: `[E, H]`."""
  returns = np.zeros_like(episodes.reward, dtype=np.float64)
  following = np.zeros(len(returns))
  for step in reversed(range(episodes.reward.shape[1])):
    following = (episodes.reward[:, step] + discount * following) * episodes.mask[:, step]
    returns[:, step] = following
  return returns


def fitted_values(episodes: Episodes, returns: np.ndarray, whiten: bool) -> np.ndarray:
  """Ridge regression of the returns on cubes of observation and time, at the steps it was fitted to: `[E, H]`."""
  valid = episodes.mask > 0
  observation = episodes.observation[valid].astype(np.float64)
  horizon = valid.shape[1]
  time = np.broadcast_to(np.arange(horizon) / horizon, valid.shape)[valid][:, None]
  columns = [power for base in (observation, time) for power in (base, base**2, base**3)]
  features = np.concatenate([*columns, np.ones_like(time)], axis=1)
  target = returns[valid]
  mean, deviation = (target.mean(), target.std()) if whiten else (0.0, 1.0)
  product = features.T @ features + RIDGE * np.eye(features.shape[1])
  coefficients = np.linalg.solve(product, features.T @ ((target - mean) / deviation))
  values = np.zeros(valid.shape)
  values[valid] = features @ coefficients * deviation + mean
  return values


def standardised(advantage: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """To mean 0 and deviation 1 over valid steps."""
  valid = advantage[mask > 0]
  return np.where(mask > 0, (advantage - valid.mean()) / valid.std(), 0.0)


class Norml:
  """Policy, learned advantage, offset and inner rates, with one Adam for all that is learned."""

  def __init__(
    self,
    arrays: Arrays,
    settings: Settings,
    optimizer: Callable[[list[Tensor], float], torch.optim.Optimizer] | None = None,
  ) -> None:
    self.settings = settings
    learned = ["policy"]
    learned += ["advantage"] if settings.learned_advantage else []
    learned += ["offset"] if settings.offset else []
    learned += ["rate"] if settings.learn_rates else []
    self.params = {name: torch.tensor(array) for name, array in arrays.items()}
    self.learned = {
      name: value.requires_grad_() for name, value in self.params.items() if name.split("/")[0] in learned
    }
    self.optimizer = (optimizer or torch.optim.Adam)(list(self.learned.values()), settings.learning_rate)

  def advantage(self, episodes: Episodes) -> np.ndarray:
    """Returns less fitted values, zero beyond the ends: `[E, H]`."""
    returns = discounted_returns(episodes, self.settings.discount)
    return (returns - fitted_values(episodes, returns, self.settings.whiten_values)) * episodes.mask

  def adapt(self, support: Episodes) -> tuple[Weights, Tensor]:
    """The policy after one inner step on a task's episodes, and the inner loss."""
    policy = of_group(self.params, "policy")
    loss = self._inner_loss(policy, support)
    gradients = torch.autograd.grad(loss, list(policy.values()), create_graph=True)
    adapted = {}
    for (name, value), gradient in zip(policy.items(), gradients, strict=True):
      adapted[name] = value - self.params[f"rate/{name}"] * gradient
      if self.settings.offset:
        adapted[name] = adapted[name] + self.params[f"offset/{name}"]
    return adapted, loss

  def outer_losses(self, supports: list[Episodes], queries: list[Episodes]) -> list[Tensor]:
    """The loss of each task's adapted policy on the episodes that it ran."""
    advantages = [self.advantage(query) for query in queries]
    which = {"last_task": [len(queries) - 1], "per_task": range(len(queries)), "none": []}[self.settings.normalise]
    for task in which:
      advantages[task] = standardised(advantages[task], queries[task].mask)
    losses = []
    for support, query, advantage in zip(supports, queries, advantages, strict=True):
      adapted, _ = self.adapt(support)
      losses.append(self._surrogate(adapted, query, self._tensor(advantage)))
    return losses

  def update(self, supports: list[Episodes], queries: list[Episodes]) -> Tensor:
    """One update; returns the loss of each task."""
    losses = torch.stack(self.outer_losses(supports, queries))
    self.optimizer.zero_grad()
    losses.mean().backward()
    self.optimizer.step()
    return losses

  def gradients(self) -> dict[str, np.ndarray]:
    """The gradients of the last update."""
    return {name: value.grad.numpy().copy() for name, value in self.learned.items() if value.grad is not None}

  def _tensor(self, array: np.ndarray) -> Tensor:
    return torch.tensor(array, dtype=self.params["policy/out/W"].dtype)

  def _log_prob(self, policy: Weights, episodes: Episodes) -> Tensor:
    """Log-probabilities of the actions, one a step: `[E, H]`."""
    mean = perceptron(policy, self._tensor(episodes.observation), self.settings.activation)
    log_std = policy["log_std"]
    scaled = (self._tensor(episodes.action) - mean) / log_std.exp()
    return (-0.5 * scaled**2 - log_std - 0.5 * math.log(2.0 * math.pi)).sum(-1)

  def _surrogate(self, policy: Weights, episodes: Episodes, advantage: Tensor) -> Tensor:
    """The clipped objective where the ratio is one."""
    now = self._log_prob(policy, episodes)
    ratio = torch.exp(now - now.detach())
    clipped = ratio.clamp(1.0 - self.settings.clip, 1.0 + self.settings.clip)
    return -masked_mean(torch.min(ratio * advantage, clipped * advantage), self._tensor(episodes.mask))

  def _inner_loss(self, policy: Weights, support: Episodes) -> Tensor:
    if not self.settings.learned_advantage:
      return self._surrogate(policy, support, self._tensor(self.advantage(support)))
    columns = (self._tensor(each) for each in (support.next_observation, support.observation, support.action))
    inputs = torch.cat(list(columns), dim=-1)
    advantage = perceptron(of_group(self.params, "advantage"), inputs, self.settings.advantage_activation).squeeze(-1)
    return -masked_mean(advantage * self._log_prob(policy, support), self._tensor(support.mask))
