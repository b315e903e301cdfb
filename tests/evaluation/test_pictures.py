import sys

import numpy as np
import pytest
from finished_runs import shift_groups

from macaw_jax.evaluation.comparison import Curve
from macaw_jax.evaluation.pictures import plot_comparison, plot_learning_curve, plot_shift

pytest.importorskip("matplotlib")


def curve(label, family, steps=None, rise=1.0):
  updates = np.arange(0, 1000, 50)
  noise = np.random.default_rng(0).normal(size=(3, len(updates)))
  return Curve(
    label=label,
    family=family,
    quantity="return",
    updates=updates,
    environment_steps=steps,
    before=-30.0 + noise,
    after=-30.0 + 20.0 * rise * (1 - np.exp(-updates / 300)) + noise,
  )


def rows(*names):
  return [{"step": step, **{name: float(step % 7) for name in names}} for step in range(0, 300, 10)]


DRAWINGS = {
  "comparison": lambda path: plot_comparison(
    [
      curve("norml", "point_rotated"),
      curve("maml", "point_rotated", 20.0 * np.arange(20), rise=0.5),
      curve("pearl (collection.family=point_robot, latent_size=5)", "point_robot", 20.0 * np.arange(20)),
    ],
    path,
  ),
  "shift": lambda path: plot_shift(shift_groups(), path),
  "recorded": lambda path: plot_learning_curve(
    rows("value_loss", "policy_loss", "test/return_before", "test/return_after"), path, "macaw, seed 0"
  ),
  "on_policy": lambda path: plot_learning_curve(
    rows("return_before", "return_after", "test/return_before", "test/return_after"), path, "norml, seed 0"
  ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_is_drawn(name, tmp_path):
  from matplotlib.image import imread

  DRAWINGS[name](tmp_path / "picture.png")
  colours = imread(tmp_path / "picture.png")[..., :3].reshape(-1, 3)
  assert len(np.unique(colours, axis=0)) > 50


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_machine_without_matplotlib_is_told_so(name, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
  with pytest.raises(ImportError):
    DRAWINGS[name](tmp_path / "picture.png")


def test_axes_say_what_scores_are(tmp_path, monkeypatch):
  from matplotlib.figure import Figure

  drawn = []
  monkeypatch.setattr(Figure, "savefig", lambda figure, path, dpi: drawn.append(figure))
  scored = curve("macaw", "cheetah")._replace(quantity="score", scales=("score 0: zeros; score 100: the best",))
  plot_comparison([scored, scored], tmp_path)
  DRAWINGS["shift"](tmp_path)
  comparison, shift = (figure.axes[0].get_ylabel() for figure in drawn)
  assert comparison == "normalised score, mean over test tasks\nscore 0: zeros; score 100: the best"
  assert shift.splitlines()[1:] == ["score 0: the manifest's random return; score 100: the", "manifest's expert return"]


def test_a_panel_a_family_over_environment_steps_where_all_have_them(tmp_path, monkeypatch):
  from matplotlib.figure import Figure

  drawn = []
  monkeypatch.setattr(Figure, "savefig", lambda figure, path, dpi: drawn.append(figure))
  DRAWINGS["comparison"](tmp_path)
  first, second = drawn[0].axes
  assert (first.get_title(), first.get_xlabel()) == ("point_rotated", "meta-updates")
  assert (second.get_title(), second.get_xlabel()) == ("point_robot", "environment steps")
  assert second.lines[1].get_xdata()[-1] == 380.0
