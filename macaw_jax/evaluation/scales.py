"""The meaning of scores 0 and 100 of rows, in words, and which tasks have no score."""

from collections.abc import Mapping, Sequence

from macaw_jax.data.references import NAMES, UNSTATED, scale_text, task_list
from macaw_jax.evaluation.rows import Row


def scored(rows: Sequence[Row]) -> list[Row]:
  """The rows that have scores."""
  return [row for row in rows if row.scores is not None]


def scales_of(rows: Sequence[Row]) -> list[str]:
  """The meaning of scores 0 and 100, once for each meaning that the rows' scores have."""
  texts = [row.scale or tuple(UNSTATED[name] for name in NAMES) for row in scored(rows)]
  return [scale_text(dict(zip(NAMES, pair, strict=True))) for pair in dict.fromkeys(texts)]


def unscored_text(rows: Sequence[Row]) -> str:
  """A line about the tasks of a split that have no score although their references are known; empty without such."""
  has_score: dict[int, bool] = {}
  for row in rows:
    has_score[row.task_index] = has_score.get(row.task_index, False) or row.scores is not None
  without = [task for task, has in has_score.items() if not has]
  if not without or all(row.references is None and row.scores is None for row in rows):
    return ""
  others = "; mean scores are over the others" if len(without) < len(has_score) else ""
  return (
    f"{len(without)} of {len(has_score)} {rows[0].split} tasks have no score, because their random and expert returns "
    f"are equal: {task_list(without)}{others}"
  )


def scale_sentence(scales: Mapping[str, Sequence[str]]) -> str:
  """The scales of several runs, by their labels, as a sentence: once where all have the same, empty without any."""
  texts = {label: "; ".join(of_run) or "none" for label, of_run in scales.items()}
  if len(set(texts.values())) > 1:
    return f"Scales differ: {'. '.join(f'{label}: {text}' for label, text in texts.items())}."
  text = next(iter(texts.values()))
  return "" if text == "none" else f"{text[0].upper()}{text[1:]}."
