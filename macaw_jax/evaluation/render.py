"""Moving pictures of episodes: bodies and cart-poles from the side, points and mazes from above, bandits as bars."""

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.bandit import NUM_ARMS, Bandit
from macaw_jax.envs.cartpole import PLACE_LIMIT, POLE_HALF_LENGTH, STEP_SECONDS, CartPole
from macaw_jax.envs.family import MujocoDynamics, State, Task, TaskFamily
from macaw_jax.envs.import_mujoco import import_mujoco
from macaw_jax.envs.maze import SIZE, Maze

# EGL draws without a display, on a GPU or in software; OSMesa in software; "" is the platform's own choice.
BACK_ENDS = ("egl", "osmesa", "")
SECONDS_ALLOWED = 300
MOST_FRAMES = 100
# How long a picture stands where steps have no duration of their own.
POINT_STEP_SECONDS = 0.1
CELL_STEP_SECONDS = 0.2
PULL_SECONDS = 0.1


class RenderingUnavailable(RuntimeError):  # noqa: N818 -- a state of the machine that a caller reports and goes on.
  """No picture can be made here; the message says why."""


def render_gif(
  family: TaskFamily,
  states: State,
  path: str | Path,
  *,
  task: Task | None = None,
  width: int = 480,
  height: int = 270,
  stride: int | None = None,
) -> None:
  """Writes one episode as a GIF, at the speed of real time.

  Args:
    family: whose episode it is.
    states: the states of one episode, leaves `[H + 1, ...]`.
    path: the file to write.
    task: the episode's task; of a point, its `goal` is drawn; a bandit and a maze need theirs.
    width: of the picture, in pixels; a point and a maze are drawn in a square of the smaller side.
    height: of the picture, in pixels.
    stride: draws every stride-th state; by default so that there are about a hundred pictures.

  Raises:
    RenderingUnavailable: this machine has no off-screen OpenGL or no pillow, or the family's states have no picture.
  """
  if stride is None:
    stride = max(1, family.horizon // MOST_FRAMES)
  if isinstance(family.dynamics, MujocoDynamics):
    frames = _mujoco_frames(family.dynamics, np.asarray(states.qpos)[::stride], width, height)
    step_seconds = (
      import_mujoco().MjModel.from_xml_path(family.dynamics.xml_path).opt.timestep * family.dynamics.frame_skip
    )
  elif isinstance(states, CartPole):
    frames = _cartpole_frames(np.asarray(states.position)[::stride], np.asarray(states.angle)[::stride], width, height)
    step_seconds = STEP_SECONDS
  elif isinstance(states, Bandit | Maze) and task is None:
    raise RenderingUnavailable(f"{family.name}: an episode is drawn with its task, and there is none.")
  elif isinstance(states, Bandit):
    frames = _bandit_frames(family, task, states, stride, width, height)
    step_seconds = PULL_SECONDS
  elif isinstance(states, Maze):
    frames = _maze_frames(task, np.asarray(states.cell)[::stride], min(width, height))
    step_seconds = CELL_STEP_SECONDS
  elif isinstance(states, tuple | dict | list) or np.ndim(states) != 2 or np.shape(states)[1] != 2:
    raise RenderingUnavailable(
      f"{family.name}: only MuJoCo bodies, cart-poles, points in the plane, mazes and bandits can be drawn."
    )
  elif not np.isfinite(states).all():
    raise RenderingUnavailable(f"{family.name}: not every state of the episode is finite.")
  else:
    goal = task.get("goal") if isinstance(task, dict) else None
    is_point = goal is not None and np.shape(goal) == (2,)  # a task of one's own may call another thing so
    frames = _point_frames(np.asarray(states)[::stride], goal if is_point else None, min(width, height))
    step_seconds = POINT_STEP_SECONDS
  _write_gif(frames, Path(path), seconds=stride * step_seconds)


def _mujoco_frames(dynamics: MujocoDynamics, qpos: np.ndarray, width: int, height: int) -> np.ndarray:
  """Pictures [F, height, width, 3], drawn by a child process with the first OpenGL back end that works."""
  chosen = os.environ.get("MUJOCO_GL")
  reasons = []
  with tempfile.TemporaryDirectory() as folder:
    qpos_path, frames_path = Path(folder, "qpos.npy"), Path(folder, "frames.npy")
    np.save(qpos_path, qpos)
    program = str(Path(__file__).with_name("mujoco_frames.py"))
    # -P: the program's folder must not hide modules of the standard library.
    command = [sys.executable, "-P", program, dynamics.xml_path, *map(str, (qpos_path, width, height, frames_path))]
    for back_end in BACK_ENDS if chosen is None else (chosen,):
      environment = {**os.environ, "MUJOCO_GL": back_end}
      try:
        child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS_ALLOWED)
      except subprocess.TimeoutExpired:
        reasons.append(f"{back_end or 'default'}: nothing drawn in {SECONDS_ALLOWED} s")
        continue
      if child.returncode == 0:
        frames: np.ndarray = np.load(frames_path)
        return frames
      message = child.stderr.strip().splitlines()
      reasons.append(f"{back_end or 'default'}: {message[-1] if message else f'exit status {child.returncode}'}")
  raise RenderingUnavailable("No OpenGL back end draws off screen here. " + "; ".join(reasons))


def _point_frames(points: np.ndarray, goal: np.ndarray | None, size: int) -> np.ndarray:
  """Pictures [F, size, size, 3] of a point, its path so far and its goal; the square [-1, 1]^2 is outlined."""
  image_module, draw_module = _pillow("Image"), _pillow("ImageDraw")
  shown = points if goal is None else np.concatenate([points, np.asarray(goal)[None]])
  reach = max(1.0, float(np.abs(shown).max())) * 1.1  # half the side of what is seen

  def pixel(point: np.ndarray) -> tuple[float, float]:
    return (1 + float(point[0]) / reach) * size / 2, (1 - float(point[1]) / reach) * size / 2

  def disc(point: np.ndarray, radius: float) -> tuple[float, float, float, float]:
    x, y = pixel(point)
    return x - radius * size, y - radius * size, x + radius * size, y + radius * size

  frames = []
  for t in range(len(points)):
    picture = image_module.new("RGB", (size, size), (247, 246, 242))
    draw = draw_module.Draw(picture)
    draw.rectangle([*pixel(np.array([-1, 1])), *pixel(np.array([1, -1]))], outline=(205, 203, 196))
    if goal is not None:
      draw.ellipse(disc(goal, 0.03), fill=(58, 125, 92))
    if t > 0:
      draw.line([pixel(point) for point in points[: t + 1]], fill=(150, 150, 160), width=2)
    draw.ellipse(disc(points[t], 0.022), fill=(206, 112, 38))
    frames.append(np.asarray(picture))
  return np.stack(frames)


def _cartpole_frames(position: np.ndarray, angle: np.ndarray, width: int, height: int) -> np.ndarray:
  """Pictures [F, height, width, 3] of a cart, its pole and the rail, whose ends are where an episode ends."""
  image_module, draw_module = _pillow("Image"), _pillow("ImageDraw")
  unit = width / (2.2 * PLACE_LIMIT)  # pixels a metre
  rail = height / 2 + POLE_HALF_LENGTH * unit

  def across(place: float) -> float:
    return width / 2 + place * unit

  frames = []
  for x, tilt in zip(position, angle, strict=True):
    picture = image_module.new("RGB", (width, height), (247, 246, 242))
    draw = draw_module.Draw(picture)
    draw.line([across(-PLACE_LIMIT), rail, across(PLACE_LIMIT), rail], fill=(150, 150, 160), width=2)
    draw.rectangle([across(x - 0.25), rail - 0.15 * unit, across(x + 0.25), rail + 0.15 * unit], fill=(58, 125, 92))
    tip = across(x + 2 * POLE_HALF_LENGTH * np.sin(tilt)), rail - 2 * POLE_HALF_LENGTH * np.cos(tilt) * unit
    draw.line([across(x), rail, *tip], fill=(206, 112, 38), width=max(1, round(0.08 * unit)))
    frames.append(np.asarray(picture))
  return np.stack(frames)


def _bandit_frames(family: TaskFamily, task: Task, states: Bandit, stride: int, width: int, height: int) -> np.ndarray:
  """Pictures [F, height, width, 3] of the arms of a bandit, every stride-th state of an episode [H + 1, ...].

  A bar is as high as the mean of an arm's rewards so far, and as broad as its share of the pulls; a line is at its
  probability. The arm that was pulled last is in another colour.
  """
  image_module, draw_module = _pillow("Image"), _pillow("ImageDraw")
  pulls = np.asarray(states.pulls)
  pulled = np.diff(pulls, axis=0)  # [H, K]  one-hot
  before, after = jax.tree.map(lambda leaf: leaf[:-1], states), jax.tree.map(lambda leaf: leaf[1:], states)
  rewards = jax.vmap(family.reward, (None, 0, 0, 0))(task, before, jnp.asarray(pulled), after)
  wins = np.concatenate([np.zeros((1, NUM_ARMS)), np.cumsum(pulled * np.asarray(rewards)[:, None], axis=0)])
  slot, floor, top = width / NUM_ARMS, 0.93 * height, 0.86 * height

  frames = []
  for t in range(0, len(pulls), stride):
    picture = image_module.new("RGB", (width, height), (247, 246, 242))
    draw = draw_module.Draw(picture)
    draw.line([0, floor, width, floor], fill=(205, 203, 196), width=2)
    for arm in range(NUM_ARMS):
      middle, count = (arm + 0.5) * slot, pulls[t, arm]
      if count > 0:
        half = 0.45 * slot * max(count / t, 0.05)
        is_last = pulled[t - 1, arm] > 0
        colour = (206, 112, 38) if is_last else (150, 150, 160)
        height_of_mean = max(top * wins[t, arm] / count, 2)  # an arm that never paid is seen too
        draw.rectangle([middle - half, floor - height_of_mean, middle + half, floor], fill=colour)
      level = floor - top * float(task["probability"][arm])
      draw.line([middle - 0.45 * slot, level, middle + 0.45 * slot, level], fill=(58, 125, 92), width=2)
    frames.append(np.asarray(picture))
  return np.stack(frames)


def _maze_frames(task: Task, cells: np.ndarray, size: int) -> np.ndarray:
  """Pictures [F, size, size, 3] of a maze from above: walls, goal, the path so far [F, 2] and the cell."""
  image_module, draw_module = _pillow("Image"), _pillow("ImageDraw")
  side = 0.92 * size / SIZE
  margin = 0.04 * size

  def corner(row: float, column: float) -> tuple[float, float]:
    return margin + column * side, margin + row * side

  def disc(cell: np.ndarray, radius: float) -> tuple[float, float, float, float]:
    x, y = corner(cell[0] + 0.5, cell[1] + 0.5)
    return x - radius * side, y - radius * side, x + radius * side, y + radius * side

  walls = [(corner(r, c + 1), corner(r + 1, c + 1)) for r, c in np.argwhere(np.asarray(task["right"]) == 0.0)]
  walls += [(corner(r + 1, c), corner(r + 1, c + 1)) for r, c in np.argwhere(np.asarray(task["down"]) == 0.0)]
  frames = []
  for t in range(len(cells)):
    picture = image_module.new("RGB", (size, size), (247, 246, 242))
    draw = draw_module.Draw(picture)
    draw.ellipse(disc(np.asarray(task["goal"]), 0.3), fill=(58, 125, 92))
    if t > 0:
      draw.line([corner(*(cell + 0.5)) for cell in cells[: t + 1]], fill=(150, 150, 160), width=2)
    draw.ellipse(disc(cells[t], 0.22), fill=(206, 112, 38))
    draw.rectangle([*corner(0, 0), *corner(SIZE, SIZE)], outline=(60, 60, 66), width=2)
    for ends in walls:
      draw.line([*ends[0], *ends[1]], fill=(60, 60, 66), width=2)
    frames.append(np.asarray(picture))
  return np.stack(frames)


def _write_gif(frames: np.ndarray, path: Path, seconds: float) -> None:
  image_module = _pillow("Image")
  pictures = [image_module.fromarray(frame) for frame in frames]
  # One palette for all pictures, without dither: still parts stay still, and the file small.
  palette = pictures[len(pictures) // 2].quantize(128)
  pictures = [picture.quantize(palette=palette, dither=image_module.Dither.NONE) for picture in pictures]
  pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=round(1000 * seconds), loop=0)


def _pillow(module: str) -> ModuleType:
  try:
    return importlib.import_module(f"PIL.{module}")
  except ImportError as error:
    raise RenderingUnavailable('A GIF needs pillow: pip install "macaw_jax[plot]".') from error
