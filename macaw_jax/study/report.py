"""The report of a study: one HTML file that needs nothing beside it, with figures, tables, and how it was made."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from macaw_jax.durable import write_durably
from macaw_jax.study.drawing import draw, points
from macaw_jax.study.figures import FIGURES, Data, Figure
from macaw_jax.study.tables import Table, aggregate_tables, comparison_tables, run_table, stage_tables

SCORES = (
  "Over seeds and test tasks: the mean; the median over tasks of the mean over seeds; the interquartile mean; and by "
  "how much scores miss 100. Brackets are 95 % bootstrap intervals, seeds drawn anew within each task. If tasks have "
  "no scale, the numbers are returns."
)
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 62rem; margin: 0 auto;
  padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; } h2 { margin-top: 2.5rem; font-size: 1.3rem; }
figure { margin: 1.5rem 0; }
.panels { display: flex; flex-wrap: wrap; gap: 0.5rem; }
.panels svg { flex: 1 1 22rem; min-width: 0; max-width: 34rem; height: auto; }
figcaption { color: #444; font-size: 0.92rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.9rem; margin: 0.5rem 0 1.5rem; }
th, td { border-bottom: 1px solid #d9d9d9; padding: 0.3rem 0.7rem; text-align: left; white-space: nowrap; }
.facts td { white-space: normal; overflow-wrap: anywhere; } .facts td:first-child { min-width: 9rem; }
th { border-bottom: 2px solid #888; } caption { text-align: left; font-weight: 600; padding: 0.4rem 0; }
pre { background: #f5f5f5; padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; }
summary { cursor: pointer; color: #0a4f86; }
"""


def write_report(
  folder: Path,
  data: Data,
  *,
  title: str,
  question: str,
  figures: Sequence[str],
  settings: Mapping[str, Any],
  origin: Mapping[str, Any],
) -> Path:
  """Draws the figures into `folder/figures` and writes `folder/report.html`; the latter's path.

  Args:
    folder: of the study.
    data: its tables.
    title: of the page.
    question: that the study answers.
    figures: names in `FIGURES`, in order.
    settings: of the study, by dotted name.
    origin: command, hardware, versions, commit, times: what a reader needs to repeat it.
  """
  (folder / "figures").mkdir(exist_ok=True)
  made = [FIGURES[name](data) for name in figures]
  parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(question)}</p>"]
  parts += ["<h2>Figures</h2>", *(_figure(each, folder / "figures") for each in made)]
  if data.rows:
    parts += ["<h2>Scores</h2>", f"<p>{SCORES}</p>", *map(_table, [*aggregate_tables(data), *stage_tables(data)])]
  if comparisons := comparison_tables(data):
    parts += ["<h2>Comparisons</h2>", *map(_table, comparisons)]
  if data.runs:
    parts += ["<h2>Runs</h2>", _table(run_table(data))]
  parts += ["<h2>Settings</h2>", _facts(settings), "<h2>How it was made</h2>", _facts(origin)]
  document = "\n".join(
    [
      "<!doctype html>",
      '<html lang="en"><head><meta charset="utf-8">',
      '<meta name="viewport" content="width=device-width, initial-scale=1">',
      f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>",
      *parts,
      "</body></html>\n",
    ]
  )
  write_durably(folder / "report.html", document.encode())
  return folder / "report.html"


def _figure(figure: Figure, folder: Path) -> str:
  if not figure.panels:
    return f"<p>The figure {html.escape(figure.name)} has nothing to show: the tables hold too little for it.</p>"
  inline = "".join(svg[svg.index("<svg") :] for svg in draw(figure, folder))
  return (
    f'<figure id="{html.escape(figure.name)}"><div class="panels">{inline}</div>'
    f"<figcaption>{html.escape(figure.caption)}</figcaption>"
    f"<details><summary>The numbers</summary><pre>{html.escape(points(figure))}</pre></details></figure>"
  )


def _table(table: Table) -> str:
  head = "".join(f"<th>{html.escape(heading)}</th>" for heading in table.headings)
  lines = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in line)}</tr>" for line in table.lines)
  caption = f"<caption>{html.escape(table.title)}</caption>" if table.title else ""
  return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _facts(values: Mapping[str, Any]) -> str:
  lines = "".join(
    f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>" for name, value in values.items()
  )
  return f'<table class="facts"><tbody>{lines}</tbody></table>'
