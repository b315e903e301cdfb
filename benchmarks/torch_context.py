"""One update of PEARL, FOCAL, CSRO, UNICORN and CORRO in PyTorch, as the released code of each is built.

The structure is the authors': Python loops over the tasks of a batch and over their pairs, a forward pass for each
quantity, an optimiser for each network, steps one after the other. The numbers are theirs too: each class repeats the
losses, gradients and parameters behind one update that the released code computed (`tests/test_torch_reference.py`).

Parameters come and gradients go as a flat dict of arrays, named `<network>/layer<i>/{W, b}` and `<network>/out/{W, b}`
for hidden layers and the linear last one, W as `[n_out, n_in]`. An agent's sizes are those of its arrays.

Axes: T tasks, C transitions of a context, B rows of a task, O, A and L sizes of observation, action and latent.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import softplus

torch.set_num_threads(1)

Arrays = Mapping[str, np.ndarray]
Losses = dict[str, Tensor]
Noise = Mapping[str, Tensor]
Labels = Sequence[int] | np.ndarray
"""The task of each entry of a batch."""
MakeOptimizer = Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]

SMALLEST_VARIANCE = 1e-7
METRIC_OFFSET = 1e-3


class Rows(NamedTuple):
  """Transitions of each task of a batch."""

  observation: Tensor  # [T, B, O]
  action: Tensor  # [T, B, A]
  reward: Tensor  # [T, B]
  next_observation: Tensor  # [T, B, O]
  terminal: Tensor | None = None  # [T, B], 1 where the task ended

  def flat(self) -> "Rows":
    """The rows of all tasks one after the other: `[T, B, ...] -> [T B, ...]`."""
    return Rows(*(None if column is None else column.flatten(0, 1) for column in self))

  def between(self, begin: int, end: int) -> "Rows":
    """Some of each task's rows."""
    return Rows(*(None if column is None else column[:, begin:end] for column in self))

  def shares(self, number: int) -> list["Rows"]:
    """Equal shares of each task's rows, in order."""
    shares = zip(*([None] * number if column is None else column.chunk(number, dim=1) for column in self), strict=True)
    return [Rows(*share) for share in shares]

  def columns(self, *, next_observation: bool = False, terminal: bool = False) -> Tensor:
    """Input of an encoder: `[o, a, r]`, then o' and the terminal flag where asked for."""
    columns = [self.observation, self.action, self.reward.unsqueeze(-1)]
    if next_observation:
      columns.append(self.next_observation)
    if terminal:
      assert self.terminal is not None
      columns.append(self.terminal.unsqueeze(-1))
    return torch.cat(columns, dim=-1)


@dataclasses.dataclass(frozen=True)
class Settings:
  """The numbers of the released configurations, half-cheetah velocities; each class reads those of its method."""

  discount: float = 0.99
  reward_scale: float = 5.0
  soft_target_tau: float = 0.005
  learning_rate: float = 3e-4
  use_next_obs_in_context: bool = False
  policy_mean_reg_weight: float = 1e-3
  policy_std_reg_weight: float = 1e-3
  policy_pre_activation_weight: float = 0.0
  log_std_clip: tuple[float, float] = (-20.0, 2.0)
  kl_lambda: float = 0.1
  # FOCAL and CSRO
  z_loss_weight: float = 10.0
  c_lr: float = 1e-4
  gradient_penalty_weight: float = 5.0
  alpha_init: float = 50.0
  alpha_lr: float = 1.0
  alpha_max: float = 2000.0
  target_divergence: float = 0.05
  use_value_penalty: bool = False
  club_loss_weight: float = 25.0
  club_model_loss_weight: float = 10.0
  # UNICORN
  beta_encoder: float = 0.15
  variance_clip: tuple[float, float] = (0.1, 10.0)
  # CORRO
  infonce_temp: float = 0.1
  reward_std: float = 0.5
  beta: float = 0.2
  entropy_alpha: float = 0.2


def parameter(array: np.ndarray) -> nn.Parameter:
  """An array, copied, as something to learn."""
  return nn.Parameter(torch.tensor(np.asarray(array)))


def linear(arrays: Arrays, name: str) -> nn.Linear:
  """A linear layer with given weights."""
  weight = parameter(arrays[f"{name}/W"])
  layer = nn.Linear(weight.shape[1], weight.shape[0])
  layer.weight, layer.bias = weight, parameter(arrays[f"{name}/b"])
  return layer


def hidden_layers(arrays: Arrays, name: str) -> int:
  """How many hidden layers a network has."""
  return sum(key.startswith(f"{name}/layer") and key.endswith("/W") for key in arrays)


class Perceptron(nn.Module):
  """Linear layers with ReLU between them, on its inputs side by side."""

  def __init__(self, arrays: Arrays, name: str) -> None:
    super().__init__()
    self.layers = nn.ModuleList(linear(arrays, f"{name}/layer{i}") for i in range(hidden_layers(arrays, name)))
    self.out = linear(arrays, f"{name}/out")

  def features(self, *inputs: Tensor) -> Tensor:
    """The last hidden layer."""
    hidden = torch.cat(inputs, dim=-1)
    for layer in self.layers:
      hidden = torch.relu(layer(hidden))
    return hidden

  def forward(self, *inputs: Tensor) -> Tensor:
    """`[..., n_in]... -> [..., n_out]`."""
    return self.out(self.features(*inputs))


class Drawn(NamedTuple):
  """A policy's sample at each row, and all that its loss reads."""

  action: Tensor  # [N, A]
  mean: Tensor  # [N, A]
  log_std: Tensor  # [N, A]
  log_prob: Tensor  # [N]
  pre_tanh: Tensor  # [N, A]


class SquashedGaussian(Perceptron):
  """A policy of [o, z]: the tanh of a Gaussian, whose log standard deviation is a second head, cut hard."""

  def __init__(self, arrays: Arrays, name: str, log_std_clip: tuple[float, float]) -> None:
    super().__init__(arrays, name)
    self.log_std = linear(arrays, f"{name}/log_std")
    self.log_std_clip = log_std_clip

  def draw(self, observation: Tensor, z: Tensor, noise: Tensor) -> Drawn:
    """A reparameterised sample with given noise `[N, A]`."""
    features = self.features(observation, z)
    mean = self.out(features)
    log_std = self.log_std(features).clamp(*self.log_std_clip)
    std = log_std.exp()
    pre_tanh = mean + std * noise
    action = pre_tanh.tanh()
    log_prob = Normal(mean, std).log_prob(pre_tanh) - torch.log(1.0 - action * action + 1e-6)
    return Drawn(action, mean, log_std, log_prob.sum(-1), pre_tanh)


def named_parameters(name: str, net: nn.Module) -> dict[str, nn.Parameter]:
  """A network's parameters under the names of arrays."""
  names = {".weight": ".W", ".bias": ".b", "layers.": "layer"}
  named = {}
  for key, value in net.named_parameters():
    for old, new in names.items():
      key = key.replace(old, new)
    named[f"{name}/{key.replace('.', '/')}"] = value
  return named


def repeat(z: Tensor, rows: int) -> Tensor:
  """Each task's latent beside each of its rows: `[T, L] -> [T rows, L]`."""
  return torch.cat([of_task.repeat(rows, 1) for of_task in z], dim=0)


def mean_square(difference: Tensor) -> Tensor:
  """Mean of squares over all axes."""
  return (difference**2).mean()


def follow(target: nn.Module, source: nn.Module, tau: float) -> None:
  """Moves a target network towards its source, parameter by parameter."""
  for slow, fast in zip(target.parameters(), source.parameters(), strict=True):
    slow.data.copy_(slow.data * (1.0 - tau) + fast.data * tau)


class Agent:
  """Networks by name, and an optimiser for each that is stepped."""

  def __init__(
    self,
    nets: Mapping[str, nn.Module],
    rates: Mapping[str, float],
    settings: Settings,
    optimizer: MakeOptimizer | None = None,
  ) -> None:
    self.settings = settings
    self.nets = dict(nets)
    make = optimizer or torch.optim.Adam
    self.optimizers = {name: make(nets[name].parameters(), rate) for name, rate in rates.items()}

  def arrays(self) -> dict[str, np.ndarray]:
    """The present parameters of all networks, copied."""
    return {name: value.detach().numpy().copy() for net in self.nets for name, value in self._named(net).items()}

  def record(self) -> dict[str, np.ndarray]:
    """A dict that holds the gradient by which each parameter was last stepped, from now on."""
    gradients: dict[str, np.ndarray] = {}

    def hook(net: str) -> Callable[..., None]:
      def keep(*_: object) -> None:
        for name, value in self._named(net).items():
          if value.grad is not None:
            gradients[name] = value.grad.numpy().copy()

      return keep

    for net, optimizer in self.optimizers.items():
      optimizer.register_step_pre_hook(hook(net))
    return gradients

  def _named(self, net: str) -> dict[str, nn.Parameter]:
    return named_parameters(net, self.nets[net])

  def _zero(self, *names: str) -> None:
    for name in names:
      self.optimizers[name].zero_grad()

  def _step(self, *names: str) -> None:
    for name in names:
      self.optimizers[name].step()

  def _minimise(self, loss: Tensor, *names: str) -> None:
    self._zero(*names)
    loss.backward()
    self._step(*names)


class SoftActorCritic(Agent):
  """The soft actor-critic with a value network that PEARL, FOCAL and CSRO share."""

  def __init__(
    self,
    arrays: Arrays,
    settings: Settings,
    optimizer: MakeOptimizer | None = None,
    more: Mapping[str, nn.Module] | None = None,
    rates: Mapping[str, float] | None = None,
  ) -> None:
    self.encoder, self.qf1, self.qf2, self.vf = (Perceptron(arrays, name) for name in ("encoder", "qf1", "qf2", "vf"))
    self.policy = SquashedGaussian(arrays, "policy", settings.log_std_clip)
    self.target_vf = copy.deepcopy(self.vf)
    if "target_vf/out/W" in arrays:
      self.target_vf = Perceptron(arrays, "target_vf")
    nets = {
      "encoder": self.encoder,
      "qf1": self.qf1,
      "qf2": self.qf2,
      "vf": self.vf,
      "policy": self.policy,
      "target_vf": self.target_vf,
    }
    stepped = dict.fromkeys(("encoder", "qf1", "qf2", "vf", "policy"), settings.learning_rate)
    super().__init__(nets | dict(more or {}), stepped | dict(rates or {}), settings, optimizer)

  def _critic_loss(self, rows: Rows, z: Tensor, q1: Tensor, q2: Tensor, penalty: Tensor | float) -> Tensor:
    assert rows.terminal is not None
    with torch.no_grad():
      next_value = self.target_vf(rows.next_observation, z).squeeze(-1) - penalty
    target = self.settings.reward_scale * rows.reward + (1.0 - rows.terminal) * self.settings.discount * next_value
    return mean_square(q1 - target) + mean_square(q2 - target)

  def _step_value_and_policy(
    self, rows: Rows, z: Tensor, drawn: Drawn, value: Tensor, penalty: Tensor | float
  ) -> Losses:
    settings = self.settings
    inputs = rows.observation, drawn.action, z
    min_q = torch.min(self.qf1(*inputs), self.qf2(*inputs)).squeeze(-1)
    value_loss = mean_square(value - (min_q - drawn.log_prob).detach())
    self._minimise(value_loss, "vf")
    follow(self.target_vf, self.vf, settings.soft_target_tau)

    policy_loss = (drawn.log_prob - min_q + penalty).mean()
    policy_loss = policy_loss + settings.policy_mean_reg_weight * mean_square(drawn.mean)
    policy_loss = policy_loss + settings.policy_std_reg_weight * mean_square(drawn.log_std)
    policy_loss = policy_loss + settings.policy_pre_activation_weight * (drawn.pre_tanh**2).sum(-1).mean()
    self._minimise(policy_loss, "policy")
    return {"value": value_loss, "policy": policy_loss}


class Posterior(NamedTuple):
  """PEARL's belief about each task."""

  mean: Tensor  # [T, L]
  variance: Tensor  # [T, L]


def product_of_gaussians(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
  """Mean and variance of the product of Gaussians: `[C, L], [C, L] -> [L], [L]`."""
  variance = variance.clamp(min=SMALLEST_VARIANCE)
  of_product = 1.0 / (1.0 / variance).sum(0)
  return of_product * (mean / variance).sum(0), of_product


class Pearl(SoftActorCritic):
  """Rakelly et al. 2019; structure of katerakelly/oyster."""

  def infer(self, context: Rows) -> Posterior:
    """The belief from a context, task by task."""
    outputs = self.encoder(context.columns(next_observation=self.settings.use_next_obs_in_context))
    means, raw_variances = outputs.chunk(2, dim=-1)
    products = [
      product_of_gaussians(mean, variance)
      for mean, variance in zip(means.unbind(0), softplus(raw_variances).unbind(0), strict=True)
    ]
    return Posterior(*(torch.stack(each) for each in zip(*products, strict=True)))

  def kl(self, posterior: Posterior) -> Tensor:
    """KL to the standard normal prior, summed over tasks and coordinates."""
    prior = Normal(torch.zeros_like(posterior.mean[0]), torch.ones_like(posterior.mean[0]))
    beliefs = [Normal(mean, variance.sqrt()) for mean, variance in zip(*posterior, strict=True)]
    return torch.stack([kl_divergence(belief, prior) for belief in beliefs]).sum()

  def update(self, context: Rows, batch: Rows, noise: Noise) -> Losses:
    """One update; noise of `z` `[T, L]` and `action` `[T, B, A]`."""
    posterior = self.infer(context)
    beliefs = zip(*posterior, noise["z"], strict=True)
    z_of_task = torch.stack([mean + variance.sqrt() * of_task for mean, variance, of_task in beliefs])
    rows, z = batch.flat(), repeat(z_of_task, batch.reward.shape[1])
    drawn = self.policy.draw(rows.observation, z.detach(), noise["action"].flatten(0, 1))
    q1 = self.qf1(rows.observation, rows.action, z).squeeze(-1)
    q2 = self.qf2(rows.observation, rows.action, z).squeeze(-1)
    value = self.vf(rows.observation, z.detach()).squeeze(-1)

    self._zero("encoder", "qf1", "qf2")
    kl = self.kl(posterior)
    (self.settings.kl_lambda * kl).backward(retain_graph=True)
    critic_loss = self._critic_loss(rows, z, q1, q2, penalty=0.0)
    critic_loss.backward()
    self._step("qf1", "qf2", "encoder")
    return {"kl": kl, "critic": critic_loss} | self._step_value_and_policy(rows, z.detach(), drawn, value, 0.0)


def metric_loss(z: Tensor, labels: Labels) -> Tensor:
  """FOCAL's distance metric, pair by pair: `[T, L] -> []`. Contexts of one task attract, those of two repel."""
  attraction, repulsion = z.new_zeros(()), z.new_zeros(())
  same, other = 0, 0
  for i in range(len(z)):
    for j in range(i + 1, len(z)):
      distance = mean_square(z[i] - z[j])
      if labels[i] == labels[j]:
        attraction = attraction + torch.sqrt(distance + METRIC_OFFSET)
        same += 1
      else:
        repulsion = repulsion + 1.0 / (distance + 100.0 * METRIC_OFFSET)
        other += 1
  return attraction / (same + METRIC_OFFSET) + repulsion / (other + METRIC_OFFSET)


class Focal(SoftActorCritic):
  """Li et al. 2021; structure of FOCAL-ICLR/FOCAL-ICLR.

  Its released policy loss differentiates through discriminator weights that an optimiser has overwritten, which PyTorch
  refuses by now. Here the divergence of that loss is computed with a copy of the weights from before.
  """

  def __init__(
    self,
    arrays: Arrays,
    settings: Settings,
    optimizer: MakeOptimizer | None = None,
    more: Mapping[str, nn.Module] | None = None,
    rates: Mapping[str, float] | None = None,
  ) -> None:
    self.discriminator = Perceptron(arrays, "discriminator")
    self.alpha = torch.tensor(settings.alpha_init, dtype=self.discriminator.out.weight.dtype)
    nets = {"discriminator": self.discriminator}
    super().__init__(
      arrays, settings, optimizer, nets | dict(more or {}), {"discriminator": settings.c_lr} | dict(rates or {})
    )

  def embed(self, context: Rows) -> Tensor:
    """The embedding of each transition; a task's latent is their mean: `[T, C, L]`."""
    return self.encoder(context.columns(next_observation=self.settings.use_next_obs_in_context)).tanh()

  def update(self, context: Rows, labels: Labels, batches: Sequence[Rows], noises: Sequence[Noise]) -> Losses:
    """One update.

    Args:
      context: Its context.
      labels: The task of each entry of the batch.
      batches: The batch, and a fresh one for each further step of the discriminator.
      noises: Beside each: `action` `[T, B, A]` and `interpolation` `[T, B]`, uniform.
    """
    z_of_task = self.embed(context).mean(1)
    rows, drawn, z = self._act(batches[0], z_of_task, noises[0])
    before = copy.deepcopy(self.discriminator)
    divergence = self._divergence(before, rows, drawn.action, z)
    losses = self._step_discriminator(rows, drawn, z, noises[0])
    for batch, noise in zip(batches[1:], noises[1:], strict=True):
      self._step_discriminator(*self._act(batch, self.embed(context).mean(1), noise), noise)

    metric = metric_loss(z_of_task, labels)
    self._minimise(self.settings.z_loss_weight * metric, "encoder")
    losses |= {"metric_unweighted": metric}
    return losses | self._step_actor_critic(rows, drawn, z, divergence)

  def _act(self, batch: Rows, z_of_task: Tensor, noise: Noise) -> tuple[Rows, Drawn, Tensor]:
    rows, z = batch.flat(), repeat(z_of_task.detach(), batch.reward.shape[1])
    return rows, self.policy.draw(rows.observation, z, noise["action"].flatten(0, 1)), z

  def _divergence(self, discriminator: Perceptron, rows: Rows, action: Tensor, z: Tensor) -> Tensor:
    """An estimate of KL(policy | data) at each row."""
    of_policy = discriminator(rows.observation, action, z).squeeze(-1)
    of_data = discriminator(rows.observation, rows.action, z).squeeze(-1)
    return torch.log(softplus(of_policy) + 1e-8) - softplus(of_data) + 1.0

  def _step_discriminator(self, rows: Rows, drawn: Drawn, z: Tensor, noise: Noise) -> Losses:
    action = drawn.action.detach()
    divergence = self._divergence(self.discriminator, rows, action, z)
    share = noise["interpolation"].flatten().unsqueeze(-1)
    between = self.discriminator(rows.observation, action + share * (rows.action - action), z)
    # The output itself, not its gradient by the action as in the paper.
    slope = torch.sqrt(between**2 + 1e-8)
    penalty = self.settings.gradient_penalty_weight * mean_square(torch.clamp(slope - 1.0, min=0.0))
    loss = -divergence.mean() + penalty
    self._minimise(loss, "discriminator")
    return {"discriminator": loss, "gradient_penalty": penalty}

  def _step_critics(self, rows: Rows, z: Tensor, penalty: Tensor) -> Tensor:
    q1 = self.qf1(rows.observation, rows.action, z).squeeze(-1)
    q2 = self.qf2(rows.observation, rows.action, z).squeeze(-1)
    in_target = penalty.detach() if self.settings.use_value_penalty else 0.0
    loss = self._critic_loss(rows, z, q1, q2, in_target)
    self._minimise(loss, "qf1", "qf2")
    return loss

  def _step_actor_critic(self, rows: Rows, drawn: Drawn, z: Tensor, divergence: Tensor) -> Losses:
    settings = self.settings
    penalty = self.alpha.clamp(0.0, settings.alpha_max) * divergence
    value = self.vf(rows.observation, z).squeeze(-1)
    losses = {"critic": self._step_critics(rows, z, penalty)}
    losses |= self._step_value_and_policy(rows, z, drawn, value, penalty)
    excess = divergence.detach().mean() - settings.target_divergence
    losses |= {"multiplier": -self.alpha * excess, "divergence_mean": divergence.mean()}
    self.alpha = self.alpha + settings.alpha_lr * excess
    return losses


class Csro(Focal):
  """Gao et al. 2023; structure of MoreanP/CSRO, a fork of FOCAL's code."""

  def __init__(self, arrays: Arrays, settings: Settings, optimizer: MakeOptimizer | None = None) -> None:
    self.behaviour_model = Perceptron(arrays, "behaviour_model")
    rates = {"behaviour_model": settings.learning_rate}
    super().__init__(arrays, settings, optimizer, {"behaviour_model": self.behaviour_model}, rates)

  def predict(self, context: Rows) -> tuple[Tensor, Tensor]:
    """Mean and variance of the embedding, from state and action alone: `[T, C, L]` each."""
    mean, raw_variance = self.behaviour_model(context.observation, context.action).tanh().chunk(2, dim=-1)
    return mean, softplus(raw_variance)

  def model_loss(self, context: Rows, embedding: Tensor) -> Tensor:
    """Negative log-likelihood of the embeddings, per coordinate and without the constant."""
    mean, variance = self.predict(context)
    error = (embedding.detach() - mean) ** 2 / (2.0 * variance) + torch.log(variance.sqrt())
    return self.settings.club_model_loss_weight * error.mean()

  def information(self, context: Rows, embedding: Tensor) -> Tensor:
    """The bound on what the embeddings hold of state and action, over all pairs of a task."""
    mean, variance = (each.detach() for each in self.predict(context))
    own = (embedding - mean) ** 2 / variance
    pairs = (embedding.unsqueeze(1) - mean.unsqueeze(2)) ** 2  # [T, i, j, L]
    crossed = pairs.mean(2) / variance
    return self.settings.club_loss_weight * (crossed.mean() - own.mean())

  def update(self, context: Rows, labels: Labels, batches: Sequence[Rows], noises: Sequence[Noise]) -> Losses:
    """One update; arguments as of FOCAL's."""
    embedding = self.embed(context)
    z_of_task = embedding.mean(1)
    model_loss = self.model_loss(context, embedding)
    self._minimise(model_loss, "behaviour_model")
    rows, drawn, z = self._act(batches[0], z_of_task, noises[0])
    losses = {"behaviour_model": model_loss} | self._step_discriminator(rows, drawn, z, noises[0])
    for batch, noise in zip(batches[1:], noises[1:], strict=True):
      self._step_discriminator(*self._act(batch, self.embed(context).mean(1), noise), noise)
    divergence = self._divergence(self.discriminator, rows, drawn.action, z)

    metric = metric_loss(z_of_task, labels)
    information = self.information(context, embedding)
    losses |= self._step_actor_critic(rows, drawn, z, divergence)
    self._minimise(self.settings.z_loss_weight * metric + information, "encoder")
    return losses | {"metric_unweighted": metric, "information": information}


class NoisyEncoder(Perceptron):
  """UNICORN's encoder: one learned variance for each coordinate, and noise before the tanh."""

  def __init__(self, arrays: Arrays, name: str, variance_clip: tuple[float, float]) -> None:
    super().__init__(arrays, name)
    self.log_variance = parameter(arrays[f"{name}/log_variance"])
    self.variance_clip = variance_clip

  def embed(self, rows: Tensor, noise: Tensor) -> Tensor:
    """`[T, C, n_in], [T, C, L] -> [T, C, L]`."""
    variance = self.log_variance.exp().clamp(*self.variance_clip)
    return (self(rows) + variance.sqrt() * noise).tanh()


class EnsembleLinear(nn.Module):
  """A linear layer for each member of an ensemble, W as `[E, n_in, n_out]`."""

  def __init__(self, arrays: Arrays, name: str) -> None:
    super().__init__()
    self.W, self.b = parameter(arrays[f"{name}/W"]), parameter(arrays[f"{name}/b"])

  def forward(self, inputs: Tensor) -> Tensor:
    """`[..., N, n_in] -> [E, N, n_out]`."""
    return inputs.matmul(self.W) + self.b


class GaussianDecoder(nn.Module):
  """UNICORN's decoders: an ensemble that predicts mean and log variance, the latter between learned bounds."""

  def __init__(self, arrays: Arrays, name: str) -> None:
    super().__init__()
    self.layers = nn.ModuleList(EnsembleLinear(arrays, f"{name}/layer{i}") for i in range(hidden_layers(arrays, name)))
    self.out = EnsembleLinear(arrays, f"{name}/out")
    self.min_logvar, self.max_logvar = (parameter(arrays[f"{name}/{bound}"]) for bound in ("min_logvar", "max_logvar"))

  def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """`[N, n_in] -> [E, N, S], [E, N, S]`."""
    hidden = inputs
    for layer in self.layers:
      hidden = torch.relu(layer(hidden))
    mean, raw = self.out(hidden).chunk(2, dim=-1)
    below = self.max_logvar - softplus(self.max_logvar - raw)
    return mean, self.min_logvar + softplus(below - self.min_logvar)

  def loss(self, inputs: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of targets `[N, S]`, per coordinate, and what keeps the bounds together."""
    mean, log_variance = self(inputs)
    error = (mean - target) ** 2 * torch.exp(-log_variance) + log_variance
    return error.mean() + 0.01 * (self.max_logvar.sum() - self.min_logvar.sum())


class Unicorn(Agent):
  """Li et al. 2024, encoder and decoders of the self-supervised form; structure of betray12138/UNICORN."""

  def __init__(self, arrays: Arrays, settings: Settings, optimizer: MakeOptimizer | None = None) -> None:
    self.encoder = NoisyEncoder(arrays, "encoder", settings.variance_clip)
    self.state, self.reward = (GaussianDecoder(arrays, f"decoder/{name}") for name in ("state", "reward"))
    nets = {"encoder": self.encoder, "decoder/state": self.state, "decoder/reward": self.reward}
    super().__init__(nets, dict.fromkeys(nets, settings.learning_rate), settings, optimizer)

  def update(self, context: Rows, labels: Labels, noise: Noise) -> Losses:
    """One update; noise of `embedding` `[T, C, L]`."""
    inputs = context.columns(next_observation=True, terminal=True)
    z = self.encoder.embed(inputs, noise["embedding"]).mean(1)
    rows = context.flat()
    decoded = torch.cat([repeat(z, context.reward.shape[1]), rows.observation, rows.action], dim=-1)
    state = self.state.loss(decoded, rows.next_observation - rows.observation)
    reward = self.reward.loss(decoded, rows.reward.unsqueeze(-1))
    metric = metric_loss(z, labels)
    total = state + reward + self.settings.beta_encoder * metric
    self._minimise(total, *self.nets)
    return {
      "reconstruction_state": state, "reconstruction_reward": reward, "metric_unweighted": metric, "total": total
    }  # fmt: skip


class Corro(Agent):
  """Yuan and Lu 2022; structure of PKU-RL/CORRO, whose three stages train one after the other."""

  def __init__(self, arrays: Arrays, settings: Settings, optimizer: MakeOptimizer | None = None) -> None:
    self.encoder, self.inference, self.decoder, self.qf1, self.qf2 = (
      Perceptron(arrays, name) for name in ("encoder", "generator/encoder", "generator/decoder", "qf1", "qf2")
    )
    self.policy = SquashedGaussian(arrays, "policy", settings.log_std_clip)
    self.aggregator = nn.ModuleDict({"score": linear(arrays, "aggregator/score")})
    self.target_qf1, self.target_qf2 = (
      Perceptron(arrays, f"target_{name}") if f"target_{name}/out/W" in arrays else copy.deepcopy(net)
      for name, net in (("qf1", self.qf1), ("qf2", self.qf2))
    )
    stepped = {
      "encoder": self.encoder,
      "generator/encoder": self.inference,
      "generator/decoder": self.decoder,
      "qf1": self.qf1,
      "qf2": self.qf2,
      "policy": self.policy,
      "aggregator": self.aggregator,
    }
    targets = {"target_qf1": self.target_qf1, "target_qf2": self.target_qf2}
    super().__init__(stepped | targets, dict.fromkeys(stepped, settings.learning_rate), settings, optimizer)

  def embed(self, rows: Rows) -> Tensor:
    """Transitions on the unit sphere: `[..., L]`."""
    return nn.functional.normalize(self.encoder(rows.columns(next_observation=True)), dim=-1)

  def update_generator(self, rows: Rows, noise: Noise) -> Losses:
    """One update of the conditional autoencoder on rows `[G, ...]`; noise of `generator_belief` `[G, Lc]`."""
    mean, log_variance = self.inference(rows.columns(next_observation=True)).chunk(2, dim=-1)
    code = mean + torch.exp(0.5 * log_variance) * noise["generator_belief"]
    next_observation, reward = self._decode(rows.observation, rows.action, code)
    kl = 0.5 * (log_variance.exp() + mean**2 - 1.0 - log_variance).sum(-1).mean()
    of_state = mean_square(next_observation - rows.next_observation)
    of_reward = mean_square(reward - rows.reward)
    loss = self.settings.beta * kl + of_state + of_reward
    self._minimise(loss, "generator/encoder", "generator/decoder")
    return {
      "generator": loss, "generator_kl": kl, "generator_next_observation": of_state, "generator_reward": of_reward
    }  # fmt: skip

  def _decode(self, observation: Tensor, action: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
    outputs = self.decoder(observation, action, code)
    return outputs[..., :-1], outputs[..., -1]

  def negatives(self, query: Rows, noise: Noise) -> Rows:
    """Other outcomes of the queries' states and actions: by noise of `reward` `[Q, K]`, or `generator` `[Q, K, Lc]`."""
    number = next(iter(noise.values())).shape[1]
    observation, action, reward, next_observation = (
      column.unsqueeze(1).repeat(1, number, *[1] * (column.dim() - 1)) for column in query[:4] if column is not None
    )
    if "reward" in noise:
      return Rows(observation, action, reward + self.settings.reward_std * noise["reward"], next_observation)
    with torch.no_grad():
      next_observation, reward = self._decode(observation, action, noise["generator"])
    return Rows(observation, action, reward, next_observation)

  def update_encoder(self, query: Rows, key: Rows, noise: Noise) -> Losses:
    """One update of the transition encoder on queries and keys `[Q, ...]`; noise as of `negatives`."""
    of_query, of_key, of_negatives = (self.embed(rows) for rows in (query, key, self.negatives(query, noise)))
    attraction = (of_query * of_key).sum(-1, keepdim=True)
    repulsion = torch.bmm(of_negatives, of_query.unsqueeze(-1)).squeeze(-1)
    logits = torch.cat([attraction, repulsion], dim=1) / self.settings.infonce_temp
    loss = nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
    self._minimise(loss, "encoder")
    return {"contrastive": loss}

  def latent(self, context: Rows) -> Tensor:
    """The weighted sum of a context's embeddings, which are fixed: `[T, L]`."""
    with torch.no_grad():
      embedding = self.embed(context)
    attention = torch.softmax(self.aggregator["score"](embedding), dim=1)  # [T, C, 1]
    return (attention * embedding).sum(1)

  def update_agent(self, context: Rows, batch: Rows, noise: Noise) -> Losses:
    """One update of critics, aggregator and policy; noise of `next_action` and `action` `[T, B, A]`."""
    rows, z = batch.flat(), repeat(self.latent(context), batch.reward.shape[1])
    target = self._target(rows, z, noise["next_action"].flatten(0, 1))
    critic1, critic2 = (
      mean_square(critic(rows.observation, z, rows.action).squeeze(-1) - target) for critic in (self.qf1, self.qf2)
    )
    self._minimise(critic1 + critic2, "qf1", "qf2", "aggregator")
    follow(self.target_qf1, self.qf1, self.settings.soft_target_tau)
    follow(self.target_qf2, self.qf2, self.settings.soft_target_tau)

    z = z.detach()
    drawn = self.policy.draw(rows.observation, z, noise["action"].flatten(0, 1))
    inputs = rows.observation, z, drawn.action
    min_q = torch.min(self.qf1(*inputs), self.qf2(*inputs)).squeeze(-1)
    policy = (self.settings.entropy_alpha * drawn.log_prob - min_q).mean()
    self._minimise(policy, "policy")
    return {"critic1": critic1, "critic2": critic2, "policy": policy}

  def _target(self, rows: Rows, z: Tensor, noise: Tensor) -> Tensor:
    assert rows.terminal is not None
    with torch.no_grad():
      drawn = self.policy.draw(rows.next_observation, z, noise)
      inputs = rows.next_observation, z, drawn.action
      next_q = torch.min(self.target_qf1(*inputs), self.target_qf2(*inputs)).squeeze(-1)
      next_value = next_q - self.settings.entropy_alpha * drawn.log_prob
      return rows.reward + self.settings.discount * (1.0 - rows.terminal) * next_value
