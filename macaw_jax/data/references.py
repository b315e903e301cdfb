"""Scores 0 and 100 of a dataset: two returns for each task, "random" and "expert", and a text that says what they are.

A score is 100 (return - random) / (expert - random). A task whose two returns are equal has no scale, and no score.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NAMES = ("random", "expert")  # scores 0 and 100
MOST_TASKS_NAMED = 5  # in a line

COLLECTED = {"random": "uniformly random actions", "expert": "the agent that collected the data"}
GIVEN = {"random": "the random return given on import", "expert": "the expert return given on import"}
OWN_EXTREMES = {
  "random": "the lowest episode return of the task's own data",
  "expert": "the highest episode return of the task's own data",
}
MINARI = {"random": "the source's ref_min_score", "expert": "the source's ref_max_score"}
UNSTATED = {"random": "the manifest's random return", "expert": "the manifest's expert return"}


class References(NamedTuple):
  """The two returns of one task and what they are, both by `NAMES`."""

  returns: Mapping[str, float]
  texts: Mapping[str, str]


def inferred_texts(behaviour: Mapping[str, Any]) -> dict[str, str]:
  """The texts of a manifest that has none, as of versions 1 and 2, from what it says of the behaviour policy."""
  origin = str(behaviour.get("reference_returns", ""))
  if origin.startswith("lowest"):
    return dict(OWN_EXTREMES)
  if origin:
    return dict(GIVEN)
  return dict(COLLECTED if "agent" in behaviour else UNSTATED)


def scale_text(texts: Mapping[str, str]) -> str:
  """`score 0: uniformly random actions; score 100: the agent that collected the data`."""
  return f"score 0: {texts['random']}; score 100: {texts['expert']}"


def scale_faults(returns: Sequence[Mapping[str, float]]) -> list[str]:
  """A line about tasks without a scale, and one about tasks whose scores fall as returns rise, where there are such."""
  spans = [pair["expert"] - pair["random"] for pair in returns]
  kinds = {
    "no score, because their random and expert returns are equal": [span == 0.0 for span in spans],
    "scores that fall as returns rise, because their expert return is below their random return": [
      span < 0.0 for span in spans
    ],
  }
  return [
    f"{sum(has)} of {len(spans)} tasks have {text}: {task_list([index for index, has_it in enumerate(has) if has_it])}"
    for text, has in kinds.items()
    if any(has)
  ]


def to_document(returns: Mapping[str, float], texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
  """References as JSON: `{"random": {"return": -41.4, "text": "..."}, "expert": {...}}`."""
  return {name: {"return": returns[name], "text": texts[name]} for name in NAMES}


def from_document(document: Any) -> References:
  """The inverse of `to_document`. Raises `ValueError` for anything else."""
  try:
    returns = {name: document[name]["return"] for name in NAMES}
    texts = {name: document[name]["text"] for name in NAMES}
  except (IndexError, KeyError, TypeError) as error:
    raise ValueError("expected an object with a return and a text of 'random' and 'expert'") from error
  if not all(type(value) in (int, float) and math.isfinite(value) for value in returns.values()):
    raise ValueError(f"expected finite returns, got {str(returns)[:80]}")
  if not all(isinstance(text, str) and text for text in texts.values()):
    raise ValueError(f"expected texts, got {str(texts)[:80]}")
  return References({name: float(value) for name, value in returns.items()}, texts)


def task_list(indices: Sequence[int]) -> str:
  """`task 3`, or `tasks 0, 2, 5`; of many tasks the first ones."""
  shown = ", ".join(map(str, indices[:MOST_TASKS_NAMED]))
  return f"task{'' if len(indices) == 1 else 's'} {shown}{', ...' if len(indices) > MOST_TASKS_NAMED else ''}"
