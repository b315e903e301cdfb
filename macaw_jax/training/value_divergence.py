"""Whether the value networks of a run diverge: a value error that no return of the data explains.

Returns are divided by their root mean square by default, so that a value function that is zero everywhere has a mean
squared error of one. One that is a hundred times as wrong as that has not failed to learn; it learns from itself.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

MOST_ERROR = 100.0  # in mean squares of the returns
VALUES_DIVERGE = "values_diverge"  # the metric: 1 where a value loss is above that, else 0


class Divergence(NamedTuple):
  """A value loss that is too large."""

  metric: str
  loss: float
  error: float  # the loss in mean squares of the returns


def divergence(metrics: Mapping[str, Any], value_losses: Mapping[str, float]) -> Divergence | None:
  """The value loss that is the farthest above `MOST_ERROR`; None where none is.

  Args:
    metrics: of an update.
    value_losses: `Algorithm.value_losses` times the mean square of the returns that the agent sees; those that are no
      metric are passed over.
  """
  found = [
    Divergence(name, float(metrics[name]), float(metrics[name]) / square)
    for name, square in value_losses.items()
    if name in metrics
  ]
  # A loss that is not a number is none of these: such an update is skipped, and reported.
  return max((each for each in found if each.error > MOST_ERROR), key=lambda each: each.error, default=None)


def describe_divergence(found: Divergence, problem: Mapping[str, Any]) -> str:
  """The line about what diverges, by how much, and what may be changed.

  Args:
    found: that diverges.
    problem: the fields of `Problem`, as far as they are known.
  """
  share = ""
  if problem.get("horizon"):
    discount, horizon = problem["discount"], problem["horizon"]
    share = f" ({discount:g}^{horizon} = {discount**horizon:.2f} of a return is then the bootstrap)"
  return (
    f"value networks diverge: {found.metric} = {found.loss:.3g}, {found.error:.3g} times the mean square of the "
    "returns in the data, where 1 is the error of a value of zero everywhere. Value targets that bootstrap at the end "
    f"of short episodes do this{share}, and so do large learning rates or step sizes of the value network: choose "
    "monte_carlo targets where the algorithm has them, or lower the rates"
  )
