"""Draws a figure of a study, by matplotlib, which is imported when one is drawn; writes its points as CSV.

Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; lines differ in their markers too.

All raise `ImportError` where matplotlib is not installed and `OSError` where a file cannot be written.
"""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.durable import write_durably
from macaw_jax.study.figures import Figure, Line, Panel

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
MARKERS = "osD^vPX*"
MOST_MARKED = 30  # points of a line
PANEL_SIZE = (5.2, 3.9)  # inches
COLUMNS = 2  # of panels
FORMATS = ("svg", "pdf", "png")


def draw(figure: Figure, folder: Path) -> list[str]:
  """Writes `<name>.svg`, `.pdf`, `.png` and `.csv` into a folder; an SVG of each panel as text, for a page to wrap."""
  for ending in FORMATS:
    write_durably(folder / f"{figure.name}.{ending}", picture(figure, ending))
  write_durably(folder / f"{figure.name}.csv", points(figure).encode())
  return [picture(figure._replace(panels=(panel,)), "svg").decode() for panel in figure.panels]


def picture(figure: Figure, ending: str) -> bytes:
  """The panels of a figure with one legend, in one of `FORMATS`; the same bytes each time."""
  import matplotlib
  from matplotlib.figure import Figure as Canvas

  columns = min(COLUMNS, len(figure.panels))
  lines = -(-len(figure.panels) // columns)
  with matplotlib.rc_context({"svg.hashsalt": figure.name, "svg.fonttype": "path"}):
    canvas = Canvas(figsize=(PANEL_SIZE[0] * columns, PANEL_SIZE[1] * lines), layout="constrained")
    axes = canvas.subplots(lines, columns, squeeze=False).ravel()
    for each, panel in zip(axes, figure.panels, strict=False):
      draw_panel(each, panel)
    for each in axes[len(figure.panels) :]:
      each.axis("off")
    labels = {text: handle for each in axes for handle, text in zip(*each.get_legend_handles_labels(), strict=True)}
    if len(labels) > 1:
      canvas.legend(labels.values(), labels, loc="outside lower center", ncols=min(3, len(labels)), fontsize="small")
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    written = io.BytesIO()
    canvas.savefig(written, format=ending, dpi=150, metadata=dated[ending])
  return written.getvalue()


def draw_panel(axes: Any, panel: Panel) -> None:
  """Draws one panel."""
  if panel.contour is not None:
    contour = panel.contour
    # A narrow pit would take all shades for itself.
    low, high = np.percentile(contour.values, (2, 98))
    levels = np.linspace(low, high, 16).round()
    drawn = axes.contourf(contour.x, contour.y, contour.values, levels, cmap="Greys_r", alpha=0.75, extend="both")
    axes.figure.colorbar(drawn, ax=axes, label=contour.label)
  places = sorted({float(x) for line in panel.lines for x in line.x})
  for number, line in enumerate(panel.lines):
    even = np.array([places.index(x) for x in line.x])
    draw_line(axes, panel, line._replace(x=even) if panel.even_x else line, number)
  axes.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel)
  if panel.categories:
    axes.set_xticks(range(len(panel.categories)), panel.categories, rotation=20, ha="right")
  if panel.log_x and all(np.min(line.x) > 0 for line in panel.lines):
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.minorticks_off()
  if panel.even_x:
    axes.set_xticks(range(len(places)), [f"{place:g}" for place in places])
  if panel.y_range:
    axes.set_ylim(*panel.y_range)
  if panel.reference is not None:
    axes.axhline(panel.reference, color="grey", linewidth=1)
  axes.grid(alpha=0.3)


def draw_line(axes: Any, panel: Panel, line: Line, number: int) -> None:
  """A line with a band; points with bars where the axis has no order."""
  # A ninth line has the first colour again, another marker, and dashes.
  turn, place = divmod(number, len(COLOURS))
  style = {"color": COLOURS[place], "label": line.label, "markerfacecolor": None if turn == 0 else "white"}
  marker = MARKERS[(place + 3 * turn) % len(MARKERS)]
  if panel.categories:
    offset = 0.08 * (number - (len(panel.lines) - 1) / 2)  # beside each other, so that no interval hides another
    bars = (line.y - line.low, line.high - line.y)
    axes.errorbar(line.x + offset, line.y, bars, fmt=marker, capsize=3, **style)
    return
  style["linestyle"] = ("-", "--", ":")[min(turn, 2)]
  axes.plot(line.x, line.y, marker=marker if len(line.x) <= MOST_MARKED else None, markersize=5, **style)
  axes.fill_between(line.x, line.low, line.high, color=style["color"], alpha=0.18, linewidth=0)


def points(figure: Figure) -> str:
  """The numbers of a figure as CSV: one line a point."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(["panel", "line", "category", "x", "y", "low", "high"])
  for panel in figure.panels:
    for line in panel.lines:
      for x, y, low, high in zip(line.x, line.y, line.low, line.high, strict=True):
        category = panel.categories[int(x)] if panel.categories else ""
        writer.writerow([panel.title, line.label, category, x, y, low, high])
  return text.getvalue()
