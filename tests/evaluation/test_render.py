import numpy as np
import pytest
from PIL import Image

from macaw_jax import envs
from macaw_jax.envs.bandit import Bandit
from macaw_jax.envs.cartpole import CartPole
from macaw_jax.envs.family import Physics
from macaw_jax.envs.maze import Maze
from macaw_jax.evaluation import render
from macaw_jax.evaluation.render import RenderingUnavailable, render_gif


def test_cheetah_gif_shows_a_moving_body(tmp_path):
  qpos = np.zeros((5, 9))
  qpos[:, 3] = np.linspace(0, 0.9, 5)  # the back thigh swings
  path = tmp_path / "cheetah.gif"
  try:
    render_gif(envs.make("cheetah_dir"), Physics(qpos, np.zeros((5, 9))), path, width=160, height=90)
  except RenderingUnavailable as reason:
    pytest.skip(str(reason))
  with Image.open(path) as gif:
    assert gif.size == (160, 90)
    assert gif.n_frames == 3  # states 0, 2 and 4
    assert gif.info["duration"] == 100  # milliseconds: two control steps of 0.05 s
    first = np.asarray(gif.convert("RGB"), float)
    gif.seek(2)
    last = np.asarray(gif.convert("RGB"), float)
  assert np.std(first) > 10  # not one colour
  changed = np.any(np.abs(first - last) > 60, axis=-1)
  assert 0 < np.mean(changed) < 0.2  # the leg, not the landscape


def test_camera_follows_the_body(tmp_path):
  standing = np.zeros((1, 9))
  away = standing.copy()
  away[0, 0] = 30.0
  pictures = []
  for name, qpos in (("here.gif", standing), ("away.gif", away)):
    try:
      render_gif(envs.make("cheetah_dir"), Physics(qpos, np.zeros((1, 9))), tmp_path / name, width=160, height=90)
    except RenderingUnavailable as reason:
      pytest.skip(str(reason))
    with Image.open(tmp_path / name) as gif:
      pictures.append(np.asarray(gif.convert("RGB"), float))
  orange = [(p[..., 0] > 150) & (p[..., 2] < 100) for p in pictures]
  assert np.sum(orange[0]) > 50
  assert np.mean(orange[0] != orange[1]) < 0.01


def test_without_a_back_end_the_reason_is_given(tmp_path, monkeypatch):
  monkeypatch.setenv("MUJOCO_GL", "abacus")
  with pytest.raises(RenderingUnavailable, match=r"abacus: .*MUJOCO_GL"):
    render_gif(envs.make("cheetah_dir"), Physics(np.zeros((1, 9)), np.zeros((1, 9))), tmp_path / "no.gif")
  assert not (tmp_path / "no.gif").exists()


def test_point_robot_gif_shows_point_and_goal(tmp_path):
  path = tmp_path / "point.gif"
  states = np.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
  render_gif(envs.make("point_robot"), states, path, task={"goal": np.array([0.0, 0.5])}, height=110, stride=1)
  with Image.open(path) as gif:
    assert gif.size == (110, 110)
    assert gif.n_frames == 3
    gif.seek(2)
    picture = np.asarray(gif.convert("RGB"), int)
  # 110 pixels are 2.2 wide: one unit is 50 pixels, the centre is (55, 55), up is less.
  red, green, blue = picture[55, 105]
  assert red > 180 > green > blue  # the point, at x = 1
  red, green, _ = picture[30, 55]
  assert green > 100 > red  # the goal, at y = 0.5


def test_cartpole_gif_shows_the_pole_and_the_cart_in_their_place(tmp_path):
  path = tmp_path / "cartpole.gif"
  states = CartPole(np.array([0.0, 1.2]), np.zeros(2), np.array([0.0, np.pi / 2]), np.zeros(2))
  render_gif(envs.make("cartpole_bias"), states, path, width=528, height=270, stride=1)
  with Image.open(path) as gif:
    assert gif.size == (528, 270)
    assert gif.info["duration"] == 20  # milliseconds: a control step
    first = np.asarray(gif.convert("RGB"), int)
    gif.seek(1)
    second = np.asarray(gif.convert("RGB"), int)

  def colour(picture, x, y):
    red, green, _ = picture[y, x]
    return "pole" if red > 180 > green else "cart" if green > 100 > red else "nothing"

  # 528 pixels are 5.28 m wide: a metre is 100 pixels, the middle is 264, the rail at 135 + 50.
  assert (colour(first, 264, 100), colour(first, 245, 185), colour(first, 330, 185)) == ("pole", "cart", "nothing")
  # The cart 1.2 m to the right, the pole lying down to its right.
  assert (colour(second, 264, 100), colour(second, 365, 185), colour(second, 460, 185)) == ("nothing", "cart", "pole")


def test_states_without_a_picture_are_refused(tmp_path):
  with pytest.raises(RenderingUnavailable, match="point_robot"):
    render_gif(envs.make("point_robot"), np.zeros((4, 3)), tmp_path / "no.gif")


def test_missing_pillow_is_a_reason(monkeypatch):
  def fail(name):
    raise ImportError(name)

  monkeypatch.setattr(render.importlib, "import_module", fail)
  with pytest.raises(RenderingUnavailable, match=r"macaw_jax\[plot\]"):
    render._pillow("Image")


def colour_at(picture, x, y):
  red, green, blue = (int(value) for value in picture[y, x])
  if red > 180 > green:
    return "orange"
  return "green" if green > 100 > red else "grey" if abs(red - green) < 20 and 120 < red < 180 < blue + 40 else "other"


def frames_of(path):
  with Image.open(path) as gif:
    for number in range(gif.n_frames):
      gif.seek(number)
      yield np.asarray(gif.convert("RGB"), int)


def test_bandit_gif_shows_pulls_means_and_probabilities(tmp_path):
  path = tmp_path / "bandit.gif"
  family = envs.make("bandit_10")
  task = {"probability": np.float32([1.0, 0.0, 0.5, 0.5, 0.5])}
  pulls = np.cumsum([[0] * 5, [1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 0, 0, 0]], axis=0)
  render_gif(family, Bandit(np.zeros((4, 2), np.uint32), pulls), path, task=task, width=500, height=100, stride=1)
  start, first, second, _ = frames_of(path)
  # An arm has 100 pixels; a mean of one stands 86 pixels above the floor, at 93.
  assert colour_at(start, 50, 50) == "other"
  assert colour_at(start, 250, 93 - 43) == "green"  # the probability of one half
  assert colour_at(first, 50, 50) == "orange"  # a reward of one, and the last pull
  assert colour_at(second, 50, 50) == "grey"  # no longer the last
  assert colour_at(second, 150, 50) == "other"  # a mean of zero has no height
  assert colour_at(first, 10, 50) == "orange"  # all of the pulls
  assert colour_at(second, 10, 50) == "other"  # half of them


def test_maze_gif_shows_walls_goal_and_path(tmp_path):
  path = tmp_path / "maze.gif"
  right, down = np.zeros((5, 4)), np.zeros((4, 5))
  right[0, 0] = 1.0
  task = {"right": right, "down": down, "goal": np.array([4.0, 4.0])}
  render_gif(envs.make("maze"), Maze(np.array([[0, 0], [0, 1]])), path, task=task, width=300, height=100, stride=1)
  first, second = frames_of(path)
  assert first.shape == (100, 100, 3)
  # A cell has 18.4 pixels, the first begins at 4; its middle is at 13, that of the second at 31.
  assert (colour_at(first, 13, 13), colour_at(first, 31, 13)) == ("orange", "other")
  assert (colour_at(second, 31, 13), colour_at(second, 20, 13)) == ("orange", "grey")
  assert colour_at(first, 86, 86) == "green"
  assert first[13, 22].min() > 200  # the passage to the right
  assert first[22, 13].max() < 120  # the wall below
  with Image.open(path) as gif:
    assert gif.info["duration"] == 200


@pytest.mark.parametrize(
  ("name", "states"), [("bandit_10", Bandit(np.zeros((1, 2)), np.zeros((1, 5)))), ("maze", Maze(np.zeros((1, 2))))]
)
def test_a_bandit_and_a_maze_are_drawn_with_their_task(name, states, tmp_path):
  with pytest.raises(RenderingUnavailable, match=f"{name}: an episode is drawn with its task"):
    render_gif(envs.make(name), states, tmp_path / "no.gif")
