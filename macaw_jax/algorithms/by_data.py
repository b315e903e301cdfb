"""Settings that follow the data: what a factory chooses for one that is None, by a few properties of the problem.

  setting                                                    few tasks       many tasks
  value targets and advantage targets                        monte_carlo     bootstrapped, if little of a return is
  temperature of advantage weights                           1               0.5
  learning rates of fine-tuning                              1e-3            1e-4

Few tasks are five or fewer, which an update sees all at once. The measurements behind it are of two tasks and of 35 to
150; nothing in between was tried.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from macaw_jax.types import Problem

FEW_TASKS = 5
LARGEST_BOOTSTRAP = 0.5  # share of a return

Value = TypeVar("Value")


def has_few_tasks(problem: Problem) -> bool:
  """Whether the training tasks are at most five."""
  return problem.num_tasks <= FEW_TASKS


def value_target(problem: Problem) -> str:
  """'bootstrapped' at the time limit, where tasks are many and discount^horizon is at most one half; or 'monte_carlo'.

  A return to the end of an episode also says how much of the episode was left, which no observation shows and which
  passes for advantage; bootstrapping takes that out. At the first step of an episode the bootstrap is the share
  discount^horizon of a return: 0.13 of it for 200 steps at 0.99, and 0.82 for 20. There an adapted value network learns
  from itself, and diverges. Few tasks differ so much that it is not needed, and training without it is steadier.
  """
  if problem.horizon is None or has_few_tasks(problem):
    return "monte_carlo"
  return "bootstrapped" if problem.discount**problem.horizon <= LARGEST_BOOTSTRAP else "monte_carlo"


def temperature(problem: Problem) -> float:
  """One for few tasks; one half for many, which differ less, and which sharper weights tell apart."""
  return 1.0 if has_few_tasks(problem) else 0.5


def fine_tuning_rate(problem: Problem) -> float:
  """1e-3 for few tasks, and 1e-4 for many: the best of 3e-5 to 3e-3 on training tasks."""
  return 1e-3 if has_few_tasks(problem) else 1e-4


RULES: Mapping[str, Callable[[Problem], Any]] = MappingProxyType(
  {
    **dict.fromkeys(("inner_value_target", "outer_value_target", "value_target", "advantage_target"), value_target),
    "temperature": temperature,
    **dict.fromkeys(("fine_tune_value_learning_rate", "fine_tune_policy_learning_rate"), fine_tuning_rate),
  }
)
"""The rule of each setting that may be left to the data, by its name."""


def chosen(problem: Problem, setting: str, value: Value | None) -> Value:
  """The value of a setting; where it is None, that of the setting's rule."""
  return RULES[setting](problem) if value is None else value
