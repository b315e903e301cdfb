"""How an agent's scores depend on the policy that collected the support it adapts to.

A run that was evaluated with several kinds of support has rows of several protocols, which are compared here.
"""

from collections.abc import Sequence

import numpy as np

from macaw_jax.evaluation.comparison import DIGITS, QUANTITIES, Group, estimate, quantity_of, scale_notes, values_of
from macaw_jax.evaluation.statistics import mean
from macaw_jax.evaluation.tables import markdown_table

CONTEXT_SHIFT = "context_shift"  # how the name of its file begins, which has the fields of `results.json`

ONLINE = "online"
_SUPPORTS = {
  "own": "offline",
  "other, start": "offline_other_policy_start",
  "other, middle": "offline_other_policy_middle",
  "other policies": "offline_other_policy",
  "random": "offline_random_policy",
}


def shift_columns(groups: Sequence[Group], quantity: str | None = None) -> list[dict[str, np.ndarray]]:
  """The columns of each group: seeds by tasks `[S, T]`, by heading.

  They are, as far as all seeds of the group have rows of them: `before` adaptation; after adaptation to the tasks' own
  data, `own`; to those of `other policies`, and of these when they had learned little and half (`other, start`,
  `other, middle`); to those of a `random` policy; and to k episodes of the agent's own, `online k=1` and so on.

  Args:
    groups: runs that were evaluated with several kinds of support.
    quantity: "score" or "return"; as `quantity_of` says if not given.
  """
  quantity = quantity or quantity_of(groups)
  return [_columns(group, quantity) for group in groups]


def shift_table(groups: Sequence[Group]) -> str:
  """One line a group in markdown, with the meaning of the columns below it; "-" where a group lacks one.

  Scores have a second table below them with the returns.
  """
  quantities = dict.fromkeys([quantity_of(groups), "return"])
  parts = [
    part
    for quantity in quantities
    for part in (_table(groups, quantity), _legend(quantity), *scale_notes(groups, quantity))
  ]
  return "\n\n".join(parts)


def _table(groups: Sequence[Group], quantity: str) -> str:
  of_groups = shift_columns(groups, quantity)
  found = headings_of(of_groups)
  rows = [
    [
      group.label,
      *(estimate(columns[name], mean, DIGITS[quantity]) if name in columns else "-" for name in found),
      str(len(group.runs)),
    ]
    for group, columns in zip(groups, of_groups, strict=True)
  ]
  return markdown_table(["run", *found, "seeds"], rows)


def _legend(quantity: str) -> str:
  return (
    f"{QUANTITIES[quantity]}, mean over seeds and test tasks [95 % interval, from a bootstrap of the seeds within each "
    "task]: before adaptation; after adaptation to the task's own data, to episodes collected in it by other tasks' "
    "policies (start, middle: when these had learned little, and half), and to those of a random policy; and to k "
    "episodes of the agent's own."
  )


def headings_of(columns: Sequence[dict[str, np.ndarray]]) -> list[str]:
  """All headings of `shift_columns` that a group has, in the order of the table."""
  online = max((list(each) for each in columns), key=lambda names: sum(name.startswith(ONLINE) for name in names))
  ordered = ["before", *_SUPPORTS, *(name for name in online if name.startswith(ONLINE))]
  return [name for name in ordered if any(name in each for each in columns)]


def _columns(group: Group, quantity: str) -> dict[str, np.ndarray]:
  stages = {row.protocol: row.stages for row in group.runs[0].test_rows}
  shared = [name for name in stages if all(any(row.protocol == name for row in run.test_rows) for run in group.runs)]
  protocols = [name for name in (*_SUPPORTS.values(), ONLINE) if name in shared]
  columns = {"before": values_of(group.runs, quantity, 0, protocols[0])} if protocols else {}
  columns |= {
    heading: values_of(group.runs, quantity, -1, protocol)
    for heading, protocol in _SUPPORTS.items()
    if protocol in protocols
  }
  if ONLINE in protocols:
    columns |= {
      f"{ONLINE} k={stage}": values_of(group.runs, quantity, index, ONLINE)
      for index, stage in enumerate(stages[ONLINE])
      if stage
    }
  return columns
