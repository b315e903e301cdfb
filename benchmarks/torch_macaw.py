"""One meta-update of MACAW in PyTorch, as the released code is built and as fast as PyTorch allows.

`Loop` goes through the tasks one by one, with a functional copy of every parameter, generators included, and gradients
of second order through the autograd graph. `Factored` handles all tasks at once and never copies a generator: the
closed form of `macaw_jax.adaptation.descent`, one pass through the trunk for mean and advantage head, one vector of
step sizes a network, a fused Adam. It runs eagerly or compiled.

Both compute what `macaw_jax.algorithms.macaw.macaw` computes with its defaults (Monte-Carlo targets, learned step
sizes and advantage coefficient). Parameters come and gradients go as a flat dict of arrays:

  value.<layer>.<array>, policy.<layer>.<array>    layers from input to output, those of the advantage head last
  step_size.<the same>                             of that array, before the softplus
  advantage_coefficient                            before the softplus

Leading axes `...` are none for one task, or `[T]` for all of them.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

torch.set_num_threads(1)


Layer = dict[str, Tensor]
Weights = list[Layer]  # One layer's arrays after another's, as learned or as effective weights.

STANDARD_DEVIATION, MAXIMUM_WEIGHT, SMALLEST_DEVIATION = 0.2, 20.0, 1e-8
HEAD_LAYERS = 2
PARTS = ("value", "policy")


Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Observation, action and Monte-Carlo return of transitions, `[T, ..., O], [T, ..., A], [T, ...]`."""


class Batch(NamedTuple):
  """The fields of transitions that MACAW reads."""

  observation: Tensor  # [..., B, O]
  action: Tensor  # [..., B, A]
  mc_return: Tensor  # [..., B]


class Settings(NamedTuple):
  """The settings of an update, beside parameters and data. The rates are those of the three Adams."""

  tasks: int
  batch: int
  inner_steps: int
  first_order: bool
  value_rate: float
  policy_rate: float
  rule_rate: float
  device: str = "cpu"


def linear(layer: Layer, inputs: Tensor) -> Tensor:
  """A layer of any kind, as learned or as effective weights: `[..., B, n_in] -> [..., B, n_out]`."""
  if "generator" in layer:
    weights = layer["latent"] @ layer["generator"].flatten(1)
    layer = {"weights": weights.view_as(layer["generator_bias"]) + layer["generator_bias"]}
  if "weights" in layer:
    kernel, bias = layer["weights"][..., :-1, :], layer["weights"][..., -1:, :]
  else:
    kernel, bias = layer["kernel"], layer["bias"].unsqueeze(-2)
  if "latent" in layer:
    bias = bias + layer["latent"].unsqueeze(-2) @ layer["bias_generator"]
  if kernel.dim() == 3:
    return torch.baddbmm(bias, inputs, kernel)
  return torch.addmm(bias, inputs, kernel)


def perceptron(layers: Weights, inputs: Tensor) -> Tensor:
  """Layers with ReLU between them."""
  hidden = linear(layers[0], inputs)
  for layer in layers[1:]:
    hidden = linear(layer, hidden.relu())
  return hidden


def value_of(layers: Weights, observation: Tensor) -> Tensor:
  """V(s): `[..., B, O] -> [..., B]`."""
  return perceptron(layers, observation).squeeze(-1)


def policy_of(layers: Weights, batch: Batch, with_head: bool) -> tuple[Tensor, Tensor | None]:
  """Mean `[..., B, A]` and, where asked for, the head's prediction of the advantage `[..., B]`, in one pass."""
  *trunk, output = layers[:-HEAD_LAYERS]
  features = perceptron(trunk, batch.observation).relu()
  mean = linear(output, features).tanh()
  if not with_head:
    return mean, None
  inputs = torch.cat([features, batch.action.relu()], dim=-1)
  return mean, perceptron(layers[-HEAD_LAYERS:], inputs).squeeze(-1)


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
  """`[..., B], [..., B] -> [...]`."""
  return (prediction - target).square().mean(-1)


def advantage_weights(advantage: Tensor) -> Tensor:
  """exp(min((A - mean A) / std A, log maximum weight)): `[..., B] -> [..., B]`."""
  deviation, mean = torch.std_mean(advantage, dim=-1, keepdim=True)
  normalised = (advantage - mean) / deviation.clamp(min=SMALLEST_DEVIATION)
  return normalised.clamp(max=math.log(MAXIMUM_WEIGHT)).exp()


def weighted_regression(mean: Tensor, action: Tensor, weights: Tensor) -> Tensor:
  """Mean of -w log pi(a | s): `[..., B, A], [..., B, A], [..., B] -> [...]`."""
  constant = action.shape[-1] * (math.log(STANDARD_DEVIATION) + 0.5 * math.log(2.0 * math.pi))
  error = (action - mean).square().sum(-1) * (0.5 / STANDARD_DEVIATION**2)
  return (weights * (error + constant)).mean(-1)


def value_loss(layers: Weights, batch: Batch) -> Tensor:
  """Mean (V(s) - R)^2: `[...]`."""
  return squared_error(value_of(layers, batch.observation), batch.mc_return)


def inner_policy_loss(layers: Weights, batch: Batch, advantage: Tensor, coefficient: Tensor) -> Tensor:
  """Advantage-weighted regression and the coefficient times the regression on the advantage: `[...]`."""
  mean, prediction = policy_of(layers, batch, with_head=True)
  assert prediction is not None
  regression = weighted_regression(mean, batch.action, advantage_weights(advantage))
  return regression + coefficient * squared_error(prediction, advantage)


def outer_policy_loss(layers: Weights, batch: Batch, advantage: Tensor) -> Tensor:
  """Advantage-weighted regression: `[...]`."""
  mean, _ = policy_of(layers, batch, with_head=False)
  return weighted_regression(mean, batch.action, advantage_weights(advantage))


def tensors(columns: Columns, device: str) -> Batch:
  """Transitions as tensors on a device."""
  return Batch(*(torch.from_numpy(column).to(device) for column in columns))


def tasks_of(columns: Columns, device: str) -> list[Batch]:
  """The batch of each task."""
  return [tensors(of_task, device) for of_task in zip(*columns, strict=True)]


def split_rows(batch: Batch, parts: int) -> list[Batch]:
  """Equal shares of the axis B, in order."""
  size = batch.mc_return.shape[-1] // parts
  observation, action = (column.split(size, dim=-2) for column in batch[:2])
  return [Batch(*share) for share in zip(observation, action, batch.mc_return.split(size, dim=-1), strict=True)]


def in_layers(params: dict[str, Tensor], part: str) -> Weights:
  """The layers of a part, in order, from the flat dict."""
  layers: dict[int, Layer] = {}
  for name, parameter in params.items():
    name_of_part, *rest = name.split(".")
    if name_of_part == part:
      layers.setdefault(int(rest[0]), {})[rest[1]] = parameter
  return [layers[index] for index in range(len(layers))]


def parameter_groups(params: dict[str, Tensor], settings: Settings) -> list[tuple[list[Tensor], float]]:
  """The parameters that each of the three Adams steps, and its rate."""
  groups: dict[str, list[Tensor]] = {"value": [], "policy": [], "rule": []}
  for name, parameter in params.items():
    part = name.split(".")[0]
    groups[part if part in groups else "rule"].append(parameter)
  return list(zip(groups.values(), (settings.value_rate, settings.policy_rate, settings.rule_rate), strict=True))


class CannotCompileError(Exception):
  """PyTorch's compiler gave up; with its reason."""


class Loop:
  """The structure of the released code, without its bootstrapped targets."""

  def __init__(self, arrays: dict[str, np.ndarray], dataset: Columns, settings: Settings) -> None:
    self.settings = settings
    self.dataset = dataset
    self.params = {
      name: torch.tensor(array, device=settings.device, requires_grad=True) for name, array in arrays.items()
    }
    self.optimizers = [torch.optim.Adam(group, lr=rate) for group, rate in parameter_groups(self.params, settings)]
    self.generator = np.random.default_rng(0)
    self.compile_seconds: float | None = None

  def gradient(self, support: Columns, query: Columns) -> dict[str, np.ndarray]:
    """The meta-gradient on given batches `[T, B, ...]`."""
    device = self.settings.device
    self._accumulate(list(zip(tasks_of(support, device), tasks_of(query, device), strict=True)))
    return {
      # What the loss does not depend on, as the head's step sizes with one inner step, has no gradient at all.
      name: np.zeros(parameter.shape, np.float32) if parameter.grad is None else parameter.grad.cpu().numpy()
      for name, parameter in self.params.items()
    }

  def update(self) -> None:
    """One update: batches drawn task by task, gradients, Adam."""
    tasks = []
    for task in range(self.settings.tasks):
      rows = self.generator.choice(self.dataset[2].shape[1], 2 * self.settings.batch, replace=False)
      halves = rows[: self.settings.batch], rows[self.settings.batch :]
      observation, action, mc_return = self.dataset
      support, query = (
        tensors((observation[task, half], action[task, half], mc_return[task, half]), self.settings.device)
        for half in halves
      )
      tasks.append((support, query))
    self._accumulate(tasks)
    for optimizer in self.optimizers:
      optimizer.step()

  def _accumulate(self, tasks: Sequence[tuple[Batch, Batch]]) -> None:
    for optimizer in self.optimizers:
      optimizer.zero_grad()
    for support, query in tasks:
      value = self._descend("value", value_loss, support)
      (value_loss(value, query) / len(tasks)).backward()

      def advantage(batch: Batch, value: Weights = value) -> Tensor:
        with torch.no_grad():
          return batch.mc_return - value_of(value, batch.observation)

      def inner_loss(layers: Weights, batch: Batch, advantage: Callable[[Batch], Tensor] = advantage) -> Tensor:
        coefficient = softplus(self.params["advantage_coefficient"])
        return inner_policy_loss(layers, batch, advantage(batch), coefficient)

      policy = self._descend("policy", inner_loss, support)
      (outer_policy_loss(policy, query, advantage(query)) / len(tasks)).backward()

  def _descend(self, part: str, loss: Callable[[Weights, Batch], Tensor], support: Batch) -> Weights:
    params = {name: parameter for name, parameter in self.params.items() if name.startswith(part)}
    for batch in split_rows(support, self.settings.inner_steps):
      inner_loss = loss(in_layers(params, part), batch)
      gradients = torch.autograd.grad(inner_loss, list(params.values()), create_graph=not self.settings.first_order)
      params = {
        name: parameter - softplus(self.params[f"step_size.{name}"]) * gradient
        for (name, parameter), gradient in zip(params.items(), gradients, strict=True)
      }
    return in_layers(params, part)


class Product(NamedTuple):
  """One product with a generator M `[L, P]`: `latents M = weights`, or `weights M^T = latents`."""

  latents: Tensor  # [n, L]
  weights: Tensor  # [n, P]
  makes_weights: bool


class Factored:
  """All tasks at once, and no copy of a generator.

  The gradient of a generator is a sum of outer products over all its products with latents and with gradients. It is
  computed by one matrix product from the factors, so that autograd adds up no arrays of a generator's size.
  """

  def __init__(
    self, arrays: dict[str, np.ndarray], dataset: Columns, settings: Settings, *, compiled: bool = False
  ) -> None:
    self.settings = settings
    self.dataset = tensors(dataset, settings.device)
    self.names = {part: [name for name in arrays if name.startswith(f"step_size.{part}.")] for part in PARTS}
    step_sizes = {f"step_size.{part}": np.stack([arrays[name] for name in self.names[part]]) for part in PARTS}
    others = {name: array for name, array in arrays.items() if not name.startswith("step_size.")}
    self.params = {
      name: torch.tensor(array, device=settings.device, requires_grad=not name.endswith(".generator"))
      for name, array in {**others, **step_sizes}.items()
    }
    groups = [{"params": group, "lr": rate} for group, rate in parameter_groups(self.params, settings)]
    self.optimizer = torch.optim.Adam(groups, fused=True)
    self.compile_seconds: float | None = None
    self.meta_gradient: Callable[..., list[Tensor]] = functools.partial(meta_gradient, settings)
    if compiled:
      torch._dynamo.reset()
      torch._dynamo.config.trace_autograd_ops = True
      torch._dynamo.config.error_on_recompile = True  # It would be taken for an update.
      self.meta_gradient = torch.compile(self.meta_gradient, fullgraph=True, dynamic=False)
      self._compile()

  def gradient(self, support: Columns, query: Columns) -> dict[str, np.ndarray]:
    """The meta-gradient on given batches `[T, B, ...]`."""
    batches = (tensors(columns, self.settings.device) for columns in (support, query))
    gradients = dict(zip(self.params, self.meta_gradient(self.params, *batches), strict=True))
    arrays = {name: gradient.cpu().numpy() for name, gradient in gradients.items()}
    for part in PARTS:
      arrays |= dict(zip(self.names[part], arrays.pop(f"step_size.{part}"), strict=True))
    return arrays

  def update(self) -> None:
    """One update: batches of all tasks, gradients, Adam."""
    tasks, num_rows, device = self.settings.tasks, self.dataset.mc_return.shape[1], self.settings.device
    rows = torch.stack([torch.randperm(num_rows, device=device)[: 2 * self.settings.batch] for _ in range(tasks)])
    task = torch.arange(tasks, device=device).unsqueeze(1)
    support, query = (Batch(*(column[task, half] for column in self.dataset)) for half in rows.chunk(2, dim=1))
    gradients = self.meta_gradient(self.params, support, query)
    for parameter, gradient in zip(self.params.values(), gradients, strict=True):
      parameter.grad = gradient
    self.optimizer.step()

  def _compile(self) -> None:
    start = time.perf_counter()
    support, query = (Batch(*(column[:, : self.settings.batch].clone() for column in self.dataset)) for _ in range(2))
    try:
      self.meta_gradient(self.params, support, query)
    except RuntimeError as error:
      raise CannotCompileError(" ".join(str(error).split()[:20])) from error
    self.compile_seconds = time.perf_counter() - start


def meta_gradient(settings: Settings, params: dict[str, Tensor], support: Batch, query: Batch) -> list[Tensor]:
  """The meta-gradient of every parameter, in order, from batches `[T, B, ...]`."""
  products: dict[str, list[Product]] = {name: [] for name in params if name.endswith(".generator")}
  descend = functools.partial(factored_descent, settings, params, products)
  shares = split_rows(support, settings.inner_steps)

  value = descend("value", [functools.partial(value_loss, batch=share) for share in shares])
  with torch.no_grad():
    advantages = [share.mc_return - value_of(value, share.observation) for share in shares]
  coefficient = softplus(params["advantage_coefficient"])
  policy_losses = [
    functools.partial(inner_policy_loss, batch=share, advantage=advantage, coefficient=coefficient)
    for share, advantage in zip(shares, advantages, strict=True)
  ]
  policy = descend("policy", policy_losses)
  values = value_of(value, query.observation)
  advantage = query.mc_return - values.detach()
  loss = (squared_error(values, query.mc_return) + outer_policy_loss(policy, query, advantage)).mean()

  plain = [parameter for name, parameter in params.items() if name not in products]
  outputs = [
    product.weights if product.makes_weights else product.latents for uses in products.values() for product in uses
  ]
  gradients = torch.autograd.grad(loss, [*plain, *outputs], allow_unused=True, materialize_grads=True)
  of_plain, of_outputs = iter(gradients[: len(plain)]), iter(gradients[len(plain) :])
  return [
    generator_gradient(parameter, products[name], of_outputs) if name in products else next(of_plain)
    for name, parameter in params.items()
  ]


def generator_gradient(generator: Tensor, uses: Sequence[Product], of_outputs: Iterator[Tensor]) -> Tensor:
  """The sum of outer products over all uses of a generator, given the gradients of their outputs."""
  latents, weights = [], []
  for use in uses:
    gradient = next(of_outputs)
    latents.append(use.latents if use.makes_weights else gradient)
    weights.append(gradient if use.makes_weights else use.weights)
  return (torch.cat(latents).detach().T @ torch.cat(weights).detach()).view_as(generator)


def factored_descent(
  settings: Settings,
  params: dict[str, Tensor],
  products: dict[str, list[Product]],
  part: str,
  losses: Sequence[Callable[[Weights], Tensor]],
) -> Weights:
  """A part's effective weights `[T, ...]` after one step on each loss `[T]`; its products with generators are noted."""
  learned = in_layers(params, part)
  scalars = iter(softplus(params[f"step_size.{part}"]).unbind())
  step_sizes = [{name: next(scalars) for name in layer} for layer in learned]
  trails = [
    (GeneratedTrail if "generator" in layer else PlainTrail)(
      layer, sizes, settings, products.get(f"{part}.{index}.generator", [])
    )
    for index, (layer, sizes) in enumerate(zip(learned, step_sizes, strict=True))
  ]
  for loss in losses:
    weights = [trail.weights for trail in trails]
    flat = [array for layer in weights for array in layer.values()]
    gradients = iter(torch.autograd.grad(loss(weights).sum(), flat, create_graph=not settings.first_order))
    for trail, layer in zip(trails, weights, strict=True):
      trail.step({name: next(gradients) for name in layer})
  return [trail.weights for trail in trails]


class PlainTrail:
  """The arrays of a layer without a generator, one copy a task."""

  def __init__(self, layer: Layer, step_sizes: Layer, settings: Settings, products: list[Product]) -> None:
    del products
    self.step_sizes = step_sizes
    self.weights = {name: array.expand(settings.tasks, *array.shape) for name, array in layer.items()}

  def step(self, gradients: Layer) -> None:
    """One step of gradient descent."""
    self.weights = {name: array - self.step_sizes[name] * gradients[name] for name, array in self.weights.items()}


class GeneratedTrail:
  """The steps of a weight-transform layer, in the notation of `macaw_jax.adaptation.descent`."""

  def __init__(self, layer: Layer, step_sizes: Layer, settings: Settings, products: list[Product]) -> None:
    self.generator, self.bias = layer["generator"].flatten(1), layer["generator_bias"].flatten()
    self.step_sizes, self.products, self.first_order = step_sizes, products, settings.first_order
    self.shape = (settings.tasks, *layer["generator_bias"].shape)
    latent = layer["latent"].unsqueeze(0)
    product = self._note(Product(latent, latent @ self.generator, makes_weights=True))
    self.latents: list[Tensor] = [latent.expand(settings.tasks, -1)]
    self.gradients: list[Tensor] = []
    self.weights = {"weights": (product.weights + self.bias).view(self.shape[1:]).expand(self.shape)}

  def step(self, gradients: Layer) -> None:
    """One step of gradient descent."""
    gradient = gradients["weights"].flatten(1)
    pull = gradient @ self.generator.T
    if not self.first_order:
      self._note(Product(pull, gradient, makes_weights=False))
    rate, bias_rate = self.step_sizes["generator"], self.step_sizes["generator_bias"]
    for past_latent, past_gradient in zip(self.latents, self.gradients, strict=False):
      pull = pull - rate * past_latent * (past_gradient * gradient).sum(-1, keepdim=True)
    latent = self.latents[-1] - self.step_sizes["latent"] * (pull.detach() if self.first_order else pull)
    self.gradients.append(gradient)

    weights = self._note(Product(latent, torch.addmm(self.bias, latent, self.generator), makes_weights=True)).weights
    for past_latent, past_gradient in zip(self.latents, self.gradients, strict=True):
      held = past_latent.detach() if self.first_order else past_latent
      similarity = (held * latent).sum(-1, keepdim=True)
      weights = weights - (rate * similarity + bias_rate) * past_gradient
    self.latents.append(latent)
    self.weights = {"weights": weights.view(self.shape)}

  def _note(self, product: Product) -> Product:
    self.products.append(product)
    return product
