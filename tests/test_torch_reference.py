"""The versions in PyTorch compute, in double precision, what the released code of each method computed."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import torch_context, torch_norml  # noqa: E402

FILES = pathlib.Path(__file__).parent / "reference"
PREFIX, TOLERANCE = "f64/", 1e-6


@dataclasses.dataclass
class Reference:
  """One file: inputs as double-precision tensors, and the numbers to compare with."""

  meta: dict
  stored: dict[str, np.ndarray]

  def tensor(self, name):
    return torch.tensor(self.stored[name]).double()

  def group(self, prefix):
    """The inputs below a name."""
    names = [name for name in self.stored if name.startswith(f"{prefix}/")]
    return {name.removeprefix(f"{prefix}/"): self.stored[name].astype(np.float64) for name in names}

  def rows(self, prefix):
    return torch_context.Rows(**{name: torch.tensor(column) for name, column in self.group(prefix).items()})

  def noise(self):
    return {name: torch.tensor(array) for name, array in self.group("noise").items()}

  def settings(self):
    fields = {field.name for field in dataclasses.fields(torch_context.Settings)}
    known = {name: value for name, value in self.meta.items() if name in fields}
    if "policy_lr" in self.meta:
      known["learning_rate"] = self.meta["policy_lr"]
    return torch_context.Settings(**known)

  def expect(self, name, found, absolute=0.0):
    expected, found = self.stored[PREFIX + name], np.asarray(found)
    assert found.shape == expected.shape, name
    difference = np.linalg.norm(found - expected)
    assert difference <= TOLERANCE * np.linalg.norm(expected) + absolute, f"{name}: {difference:.1e}"

  def expect_all(self, prefix, found):
    """Every number below a name is among those found."""
    names = [name.removeprefix(PREFIX) for name in self.stored if name.startswith(f"{PREFIX}{prefix}/")]
    assert names, prefix
    for name in names:
      self.expect(name, found[name.removeprefix(f"{prefix}/")])


def load(path):
  with np.load(path, allow_pickle=False) as stored:
    arrays = {name: stored[name] for name in stored.files if name != "meta"}
    return Reference(json.loads(str(stored["meta"])), arrays)


def references(method):
  paths = sorted(FILES.glob(f"{method}*.npz"))
  return pytest.mark.parametrize("reference", [pytest.param(load(path), id=path.stem) for path in paths])


def standing(parameters, rate):
  """An optimiser that leaves its parameters where they are: then all gradients are at the stored ones."""
  return torch.optim.SGD(parameters, lr=0.0)


both_orders = pytest.mark.parametrize("order", ["sequential/", ""], ids=["sequential", "simultaneous"])


def update(make, reference, order, run):
  """An agent after `run(agent)`, its losses, and the gradients by which it stepped."""
  agent = make(reference.group("param"), reference.settings(), None if order else standing)
  gradients = agent.record()
  losses = {name: loss.detach().numpy() for name, loss in run(agent).items()}
  return agent, losses, gradients


def expect_losses(reference, order, losses, *names):
  for name in names:
    later = f"{order}loss/{name}"
    reference.expect(later if PREFIX + later in reference.stored else f"loss/{name}", losses[name])


def expect_gradients(reference, order, gradients, **of):
  """`part=loss`: the gradient that steps a part, after the earlier steps where the file has it so."""
  for part, loss in of.items():
    later = f"{order}grad/{loss}/{part}"
    is_there = any(name.startswith(f"{PREFIX}{later}/") for name in reference.stored)
    found = {name.removeprefix(f"{part}/"): array for name, array in gradients.items() if name.startswith(f"{part}/")}
    reference.expect_all(later if is_there else f"grad/{loss}/{part}", found)


@references("pearl")
@both_orders
def test_pearl(reference, order):
  agent, losses, gradients = update(
    torch_context.Pearl,
    reference,
    order,
    lambda agent: agent.update(reference.rows("context"), reference.rows("batch"), reference.noise()),
  )
  expect_losses(reference, order, losses, "kl", "critic", "value", "policy")
  expect_gradients(
    reference, order, gradients, encoder="total", qf1="critic", qf2="critic", vf="value", policy="policy"
  )
  if order:
    reference.expect_all("sequential/param_after", agent.arrays())


def one_batch(reference):
  def run(agent):
    batches, noises = [reference.rows("batch")], [reference.noise()]
    return agent.update(reference.rows("context"), reference.stored["labels"], batches, noises)

  return run


@references("focal")
@both_orders
def test_focal(reference, order):
  agent, losses, gradients = update(torch_context.Focal, reference, order, one_batch(reference))
  names = ["metric_unweighted", "discriminator", "gradient_penalty", "critic", "value", "policy", "multiplier"]
  expect_losses(reference, order, losses, *names, "divergence_mean")
  parts = {"encoder": "metric", "discriminator": "discriminator", "qf1": "critic", "qf2": "critic", "vf": "value"}
  expect_gradients(reference, order, gradients, **parts)
  if not order:
    expect_gradients(reference, order, gradients, policy="policy")
  if order:
    reference.expect_all("sequential/param_after", agent.arrays())
  reference.expect("out/alpha_after", agent.alpha)


@references("csro")
@both_orders
def test_csro(reference, order):
  agent, losses, gradients = update(torch_context.Csro, reference, order, one_batch(reference))
  names = ["metric_unweighted", "discriminator", "gradient_penalty", "critic", "value", "policy", "behaviour_model"]
  expect_losses(reference, order, losses, *names, "information", *([] if order else ["multiplier"]))
  parts = {"discriminator": "discriminator", "qf1": "critic", "qf2": "critic", "vf": "value", "policy": "policy"}
  expect_gradients(reference, order, gradients, behaviour_model="behaviour_model", **parts)
  if not order:
    expect_gradients(reference, order, gradients, encoder="encoder_total")
  if order:
    reference.expect_all("sequential/param_after", agent.arrays())
    reference.expect("sequential/alpha_after", agent.alpha)


@references("unicorn")
def test_unicorn(reference):
  agent, losses, gradients = update(
    torch_context.Unicorn,
    reference,
    "sequential/",
    lambda agent: agent.update(reference.rows("context"), reference.stored["labels"], reference.noise()),
  )
  for name in ("reconstruction_state", "reconstruction_reward", "metric_unweighted", "total"):
    reference.expect(f"loss/{name}", losses[name])
  reference.expect_all("grad/total", gradients)
  reference.expect_all("sequential/param_after", agent.arrays())


@references("corro")
@both_orders
def test_corro_agent(reference, order):
  agent, losses, gradients = update(
    torch_context.Corro,
    reference,
    order,
    lambda agent: agent.update_agent(reference.rows("context"), reference.rows("batch"), reference.noise()),
  )
  expect_losses(reference, order, losses, "critic1", "critic2", "policy")
  expect_gradients(reference, order, gradients, qf1="critic", qf2="critic", policy="policy", aggregator="critic")
  if order:
    reference.expect_all("sequential/param_after", agent.arrays())


@references("corro")
@pytest.mark.parametrize("kind", ["reward_randomize", "generative"])
def test_corro_encoder(reference, kind):
  noise = "reward" if kind == "reward_randomize" else "generator"
  _, losses, gradients = update(
    torch_context.Corro,
    reference,
    "",
    lambda agent: agent.update_encoder(
      reference.rows("query"), reference.rows("key"), {noise: reference.tensor(f"noise/{noise}")}
    ),
  )
  reference.expect(f"loss/contrastive_{kind}", losses["contrastive"])
  expect_gradients(reference, "", gradients, encoder=f"contrastive_{kind}")


@references("corro")
def test_corro_generator(reference):
  _, losses, gradients = update(
    torch_context.Corro,
    reference,
    "",
    lambda agent: agent.update_generator(reference.rows("generator"), reference.noise()),
  )
  expect_losses(reference, "", losses, "generator", "generator_kl", "generator_next_observation", "generator_reward")
  reference.expect_all("grad/generator", gradients)


def episodes_of_tasks(reference, prefix):
  columns = reference.group(prefix)
  number = len(columns["mask"])
  return [torch_norml.Episodes(**{name: column[task] for name, column in columns.items()}) for task in range(number)]


def norml_agent(reference, case, normalise):
  meta = reference.meta
  of_case = meta["cases"][case]
  arrays = reference.group("param")
  if not of_case["rate_per_parameter"]:
    rates = {name: np.full_like(array, of_case["inner_rate"]) for name, array in arrays.items() if "rate/" in name}
    arrays |= rates
  names = ("learned_advantage", "offset", "learn_rates", "whiten_values")
  settings = torch_norml.Settings(
    normalise=normalise,
    **{name: of_case[name] for name in names},
    **{name: meta[name] for name in ("discount", "clip", "activation", "advantage_activation")},
  )
  return torch_norml.Norml(arrays, settings)


def group_wise(reference, prefix, found):
  """Gradients, each as far as it may be from its own relative to the norm of its group: some nearly cancel."""
  names = [name for name in reference.stored if name.startswith(f"{PREFIX}{prefix}/")]
  assert {name.removeprefix(f"{PREFIX}{prefix}/") for name in names} == set(found)
  for group in {name.removeprefix(f"{PREFIX}{prefix}/").split("/")[0] for name in names}:
    of_group = [name for name in names if name.startswith(f"{PREFIX}{prefix}/{group}/")]
    norm = np.sqrt(sum(np.sum(reference.stored[name] ** 2) for name in of_group))
    for name in of_group:
      reference.expect(name.removeprefix(PREFIX), found[name.removeprefix(f"{PREFIX}{prefix}/")], TOLERANCE * norm)


@references("norml")
def test_norml(reference):
  supports, queries = (episodes_of_tasks(reference, prefix) for prefix in ("support", "query"))
  for case in reference.meta["cases"]:
    for normalise in ("last_task", "none", "per_task"):
      agent = norml_agent(reference, case, normalise)
      adapted, inner = zip(*(agent.adapt(support) for support in supports), strict=True)
      reference.expect(f"{case}/loss/inner", [loss.item() for loss in inner])
      reference.expect_all(
        f"{case}/adapted", {name: torch.stack([each[name] for each in adapted]).detach() for name in adapted[0]}
      )
      losses = agent.update(supports, queries)
      reference.expect(f"{case}/{normalise}/loss/outer", losses.detach(), absolute=1e-9)
      group_wise(reference, f"{case}/{normalise}/grad", agent.gradients())
    returns = [torch_norml.discounted_returns(query, agent.settings.discount) for query in queries]
    values = [
      torch_norml.fitted_values(query, of_task, agent.settings.whiten_values)
      for query, of_task in zip(queries, returns, strict=True)
    ]
    reference.expect(f"{case}/out/query_returns", returns)
    reference.expect(f"{case}/out/query_values", values)
