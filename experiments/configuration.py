"""The fields of a configuration and what each may hold; `experiments.validation` checks a configuration as a whole."""

from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import ml_collections

from macaw_jax.algorithms import ALGORITHMS, ON_POLICY
from macaw_jax.data.dataset import Quality
from macaw_jax.data.manifest import MANIFEST_FILE
from macaw_jax.data.sampling import Order
from macaw_jax.envs.rollout import Engine
from macaw_jax.evaluation.protocols import PROTOCOLS, SUPPORT_ORDERS

MAX_SEED = 2**32 - 1
MOST_SEEDS = 10_000  # of a population; each has its own directory
STARTER_DATA = Path("starter_data")
COLLECT_CONFIGS = Path("configs/collect")


class ConfigurationError(ValueError):
  """A configuration that cannot be run.

  Attributes:
    problems: all that is wrong with it, one line each.
  """

  def __init__(self, *problems: str):
    super().__init__("\n".join(problems))
    self.problems = problems


class Field(NamedTuple):
  """What a field may hold."""

  type: type
  allows: Callable[[Any], bool]
  expected: str
  optional: bool = False

  def takes(self, value: Any) -> bool:
    """Whether the field may hold this value."""
    if value is None:
      return self.optional
    return isinstance(value, self.type) and isinstance(value, bool) == (self.type is bool) and self.allows(value)


def at_least(minimum: int) -> Field:
  """An integer from `minimum` up."""
  return Field(int, lambda value: value >= minimum, f"an integer of at least {minimum}")


def one_of(values: tuple[str, ...]) -> Field:
  """One of some texts."""
  return Field(str, lambda value: value in values, f"one of {', '.join(values)}")


_TEXT = Field(str, bool, "a path")

FIELDS: dict[str, Field] = {
  "seed": Field(int, lambda value: 0 <= value <= MAX_SEED, "an integer from 0 to 2^32 - 1"),
  "output_directory": _TEXT._replace(optional=True),
  "dataset.directory": _TEXT,
  "dataset.quality": one_of(get_args(Quality)),
  "dataset.transitions_per_task": at_least(1)._replace(optional=True),
  "dataset.skip": at_least(1),
  "dataset.split": one_of(("in_distribution", "extrapolation")),
  "algorithm.name": one_of(tuple(name for name in ALGORITHMS if name not in ON_POLICY)),
  "training.steps": at_least(1),
  "training.tasks_per_update": at_least(1),
  "training.support_size": at_least(1),
  "training.query_size": at_least(1),
  "training.order": one_of(get_args(Order)),
  "training.log_every": at_least(1),
  "training.evaluate_every": at_least(1),
  "training.checkpoint_every": at_least(1),
  "training.keep_checkpoints": at_least(1),
  "training.max_skips_in_a_row": at_least(1),
  "evaluation.episodes": at_least(1),
  "evaluation.support_size": at_least(1),
  "evaluation.support": one_of(tuple(PROTOCOLS)),
  "evaluation.order": one_of(tuple(SUPPORT_ORDERS)),
  "evaluation.engine": one_of(get_args(Engine)),
  "evaluation.train_tasks": at_least(0),
  "population.seeds": Field(int, lambda value: 1 <= value <= MOST_SEEDS, f"an integer from 1 to {MOST_SEEDS}"),
  "population.grid": Field(str, lambda value: True, "text such as 'temperature=0.5,1'"),
  "devices.seed": at_least(1),
  "devices.task": at_least(1),
  "devices.distributed": Field(bool, lambda value: True, "True or False"),
}


def collects(config: Container[str]) -> bool:
  """Whether the run collects its own data (`experiments.online_run`), and has no dataset."""
  return "collection" in config


def is_on_policy(config: Container[str]) -> bool:
  """Whether every update learns from episodes that it has acted itself (`experiments.on_policy_experiment`)."""
  return "rollouts" in config


def support_directory(config: ml_collections.ConfigDict) -> Path:
  """The dataset that evaluation draws supports from."""
  directory = config.dataset.directory
  return Path(other_policies_directory(directory) if config.evaluation.support == "other_policies" else directory)


def other_policies_directory(directory: str) -> str:
  """Where the episodes are that a collection's final agent acted for other tasks, beside the dataset itself."""
  return f"{directory.rstrip('/')}_other_policies"


def hyperparameters(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """What the algorithm's factory gets."""
  return {name: value for name, value in config.algorithm.to_dict().items() if name != "name"}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Nested values by dotted names: `{"training": {"steps": 1}}` gives `{"training.steps": 1}`."""
  flat: dict[str, Any] = {}
  for name, value in values.items():
    flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
  return flat


def missing_dataset(directory: Path) -> str:
  """Says what there is instead, and how to make it."""
  starters = sorted(str(path.parent) for path in STARTER_DATA.glob(f"*/{MANIFEST_FILE}"))
  configs = {
    path.stem: path for path in sorted(COLLECT_CONFIGS.glob("*.py")) if path.stem not in ("__init__", "defaults")
  }
  chosen = configs.get(directory.name)
  command = f"python -m experiments.collect --config={chosen or COLLECT_CONFIGS / '<family>.py'}"
  if not chosen and configs:
    command += f" (families: {', '.join(configs)})"
  return (
    f"config.dataset.directory = {str(directory)!r}: no dataset there. "
    f"Starter data in this directory: {', '.join(starters) or 'none'}. To collect a full dataset: {command}"
  )
