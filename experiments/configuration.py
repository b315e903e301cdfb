"""The fields of a configuration and their values; `experiments.validation` checks a configuration as a whole.

A configuration has one of three sections, which says where its batches come from: `dataset` (recorded data),
`collection` (a replay buffer that the agent fills) or `rollouts` (episodes of the present policy).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, get_args

from macaw_jax import envs
from macaw_jax.algorithms import ON_POLICY, RECORDED, REPLAYED
from macaw_jax.algorithms.lookup import EXPECTED as EXPECTED_OWN
from macaw_jax.algorithms.lookup import learns_from_recorded_data
from macaw_jax.algorithms.settings import suggestion
from macaw_jax.data.dataset import Quality
from macaw_jax.data.retrieval import Draw
from macaw_jax.data.sampling import Order
from macaw_jax.envs.names import EXPECTED
from macaw_jax.envs.rollout import Engine
from macaw_jax.envs.variants import NUMBERS
from macaw_jax.evaluation.protocols import RECORDED as SUPPORTS
from macaw_jax.evaluation.protocols import SUPPORT_ORDERS

MAX_SEED = 2**32 - 1
OPEN_SECTIONS = ("algorithm", "variants")  # their fields are those of an algorithm
MOST_SEEDS = 10_000  # of a population; each has its own directory


class Field(NamedTuple):
  """The values that a field may hold."""

  type: type | tuple[type, ...]
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


FAMILY = Field(str, envs.is_name, f"one of {', '.join(sorted(envs.FAMILIES))}, {EXPECTED}")
INTEGERS = Field(
  (tuple, list),  # the latter as the file of a run has them
  lambda value: all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in value),
  "integers from 0 up, as (17,)",
)
_PATH = Field(str, bool, "a path")
_DISCOUNT = Field(float, lambda value: 0.0 < value <= 1.0, "a number above 0 and at most 1")
_ENGINE = one_of(get_args(Engine))
COMMON: dict[str, Field] = {
  "seed": Field(int, lambda value: 0 <= value <= MAX_SEED, "an integer from 0 to 2^32 - 1"),
  "output_directory": _PATH._replace(optional=True),
  "training.steps": at_least(1),
  "training.evaluate_every": at_least(1),
  "training.checkpoint_every": at_least(1),
  "training.keep_checkpoints": at_least(1),
  "training.max_skips_in_a_row": at_least(1),
  "evaluation.episodes": at_least(1),
  "population.seeds": Field(int, lambda value: 1 <= value <= MOST_SEEDS, f"an integer from 1 to {MOST_SEEDS}"),
  "population.grid": Field(str, lambda value: True, "text such as 'learning_rate=0.001,0.003'"),
  "population.variants": Field(str, lambda value: True, "all, names in config.variants as 'maml,norml', or ''"),
  "devices.seed": at_least(1),
  "devices.task": at_least(1),
  "devices.distributed": Field(bool, lambda value: True, "True or False"),
}

RECORDED_FIELDS = COMMON | {
  "algorithm.name": Field(str, learns_from_recorded_data, f"one of {', '.join(RECORDED)}, {EXPECTED_OWN}"),
  "dataset.directory": _PATH,
  "dataset.quality": one_of(get_args(Quality)),
  "dataset.transitions_per_task": at_least(1)._replace(optional=True),
  "dataset.skip": at_least(1),
  "dataset.scaling": one_of(("fitted", "none")),
  "dataset.split": one_of(("in_distribution", "extrapolation")),
  "dataset.train_tasks": at_least(1)._replace(optional=True),
  "dataset.shown_task": one_of(("none", *NUMBERS)),
  "training.log_every": at_least(1),
  "training.tasks_per_update": at_least(1),
  "training.support_size": at_least(1),
  "training.query_size": at_least(1)._replace(optional=True),
  "training.order": one_of(get_args(Order)),
  "training.repeated_tasks": Field(bool, lambda value: True, "True or False"),
  "evaluation.support_size": at_least(1),
  "evaluation.support": one_of((*SUPPORTS, "random", "online")),
  "evaluation.quality": one_of(get_args(Quality)),
  "evaluation.own_episodes": at_least(0),
  "evaluation.order": one_of(tuple(SUPPORT_ORDERS)),
  "evaluation.engine": _ENGINE,
  "evaluation.train_tasks": at_least(0),
  "retrieval.enabled": Field(bool, lambda value: True, "True or False"),
  "retrieval.rows": at_least(1),
  "retrieval.rows_per_task": at_least(1),
  "retrieval.draw": one_of(get_args(Draw)),
}
# Fields that a run may be without, because it is older than they are, with values that leave it as it was.
ADDED_TO_RECORDED: dict[str, dict[str, Any]] = {
  "dataset": {"scaling": "fitted", "train_tasks": None, "shown_task": "none"},
  "training": {"repeated_tasks": False},
  "evaluation": {"quality": "all", "own_episodes": 0},
  "retrieval": {"enabled": False, "rows": 1_024, "rows_per_task": 1_000, "draw": "mean"},
}

ADDED_TO_REPLAYED: dict[str, dict[str, Any]] = {"training": {"repeated_tasks": True}}

REPLAYED_FIELDS = COMMON | {
  "algorithm.name": one_of(tuple(REPLAYED)),
  "collection.family": FAMILY,
  "collection.critic_reward": FAMILY._replace(optional=True),
  "collection.discount": _DISCOUNT,
  "collection.initial_episodes": at_least(1),
  "collection.tasks_per_iteration": at_least(1),
  "collection.prior_episodes": at_least(1),
  "collection.posterior_episodes": at_least(0),
  "collection.extra_episodes": at_least(0),
  "collection.ignored_observations": INTEGERS,
  "training.updates_per_iteration": at_least(1),
  "training.tasks_per_update": at_least(1),
  "training.repeated_tasks": Field(bool, lambda value: True, "True or False"),
  "training.support_size": at_least(1),
  "training.query_size": at_least(1),
  "evaluation.exploration_episodes": at_least(1),
  "evaluation.adapted_episodes": at_least(1),
  "evaluation.engine": _ENGINE,
  "evaluation.train_tasks": at_least(0),
}

ON_POLICY_FIELDS = COMMON | {
  "algorithm.name": one_of(tuple(ON_POLICY)),
  "rollouts.family": FAMILY,
  "rollouts.discount": _DISCOUNT,
  "rollouts.episodes": at_least(1),
  "rollouts.inner_steps": at_least(0),
  "rollouts.tasks_per_update": at_least(1),
  "rollouts.horizon": at_least(1)._replace(optional=True),
  "rollouts.engine": _ENGINE,
  "training.log_every": at_least(1),
  "evaluation.tasks": at_least(1),
  "evaluation.support_episodes": at_least(1),
  "evaluation.horizon": at_least(1)._replace(optional=True),
}


def field_faults(values: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, str]:
  """A line for each field that is missing, unknown or of a wrong value, by its dotted name; open sections apart."""
  faults = {}
  names_of = partial(_fields_of, fields)
  for name, field in fields.items():
    section = name.rpartition(".")[0]
    if section in values:
      faults[section] = f"config.{section} = {values[section]!r}: expected the fields {', '.join(names_of(section))}"
      faults[name] = ""  # wrong, and no line of its own
    elif name not in values:
      faults[name] = f"config.{name} is missing; expected {field.expected}"
    elif not field.takes(values[name]):
      faults[name] = f"config.{name} = {values[name]!r}: expected {field.expected}"
  for name in values:
    section = name.rpartition(".")[0]
    if name in fields or name in faults or section in fields or name.split(".")[0] in OPEN_SECTIONS:
      continue
    if names_of(section):
      place = f"config.{section}".rstrip(".")
      faults[name] = f"config.{name} is unknown; {suggestion(name.rpartition('.')[2], names_of(section), place)}"
    else:
      faults[section] = f"config.{section} is unknown; {suggestion(section, names_of(''), 'config')}"
  return faults


def _fields_of(fields: Iterable[str], section: str) -> tuple[str, ...]:
  """The fields and sections of a section; the empty name is that of the whole."""
  inside = f"{section}." if section else ""
  return tuple(dict.fromkeys(name.removeprefix(inside).split(".")[0] for name in fields if name.startswith(inside)))


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
  """The nested settings of the algorithm without its name, as `algorithms.settings` takes them."""
  return {name: value for name, value in config["algorithm"].to_dict().items() if name != "name"}
