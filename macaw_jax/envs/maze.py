"""Mazes: find a goal that is not shown, in a layout that is not shown, and find it again.

  task         passages between the cells of a 5 x 5 grid, which make a tree, and the cell of the goal
  start        cell (0, 0), the upper left one
  action [4]   up, right, down, left: the largest entry, the first of equal ones; into a wall, the cell stays the same
  observation  [29] = the cell (row by row, one-hot), then 1 for each of its four sides that is a wall, in the order of
               the actions
  reward       -1/60 for each step, and 1 more for that which arrives at the goal
  end          at the goal, or after 60 steps

So an episode returns 1 - steps / 60, and -1 without arriving. A layout grows from the start: again and again one of all
passages that would join a new cell, drawn uniformly. The goal is drawn uniformly from the cells that are 5 steps away
or farther.

  maze    2200 tasks, the first 2000 of them for training
  maze_8  its first eight tasks, to train and to test on: what one policy for eight known tasks can learn

Known answers: the fewest steps are `shortest_paths`, those of an agent that remembers. Who has to search walks a tree,
back out of every dead end: `search_steps` is the expectation of a random depth-first search.

Source: ours; Wang et al. 2016 (section 3.2) and Zintgraf et al. 2020 (VariBAD) have grids with a hidden goal.
"""

from functools import cache
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import AnalyticDynamics, Task, TaskFamily
from macaw_jax.types import Array, Key

SIZE = 5  # cells along a side
HORIZON = 60
NUM_TRAIN_TASKS = 2000
NUM_TEST_TASKS = 200
NUM_FEW_TASKS = 8
FEWEST_STEPS_TO_GOAL = 5
TASK_SEED = 1337
MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # up, right, down, left


class Maze(NamedTuple):
  """State of an episode."""

  cell: chex.Array  # [..., 2]  int32 row and column


def maze() -> TaskFamily:
  """2200 mazes `task["right"]` [5, 4], `task["down"]` [4, 5] and `task["goal"]` [2], see `make_tasks`."""
  num_tasks = NUM_TRAIN_TASKS + NUM_TEST_TASKS
  return _family("maze", num_tasks, tuple(range(NUM_TRAIN_TASKS)), tuple(range(NUM_TRAIN_TASKS, num_tasks)))


def maze_8() -> TaskFamily:
  """The first eight mazes of `maze`, each of them to train and to test on."""
  every = tuple(range(NUM_FEW_TASKS))
  return _family("maze_8", NUM_FEW_TASKS, every, every)


def reset(task: Task, key: Key) -> Maze:
  """The upper left cell."""
  return Maze(jnp.zeros(2, jnp.int32))


def step(task: Task, state: Maze, action: Array) -> Maze:
  """The cell behind the side that an action [4] names, where that side is open."""
  chex.assert_shape(action, (len(MOVES),))
  side = jnp.argmax(action)
  is_open = 1 - _walls(task, state)[side].astype(jnp.int32)
  return Maze(state.cell + is_open * jnp.asarray(MOVES, jnp.int32)[side])


def observe(task: Task, state: Maze) -> Array:
  """The cell one-hot, and which of its sides are walls, [29]."""
  row, column = state.cell
  return jnp.concatenate([jax.nn.one_hot(SIZE * row + column, SIZE**2), _walls(task, state)])


def state_of(task: Task, observation: Array) -> Maze:
  """The cell that an observation shows."""
  return Maze(jnp.stack(jnp.divmod(jnp.argmax(observation[: SIZE**2]), SIZE)).astype(jnp.int32))


def reward(task: Task, state: Maze, action: Array, next_state: Maze) -> Array:
  """-1/60, and 1 more at the goal."""
  return jnp.where(arrived(task, next_state), 1.0, 0.0) - 1.0 / HORIZON


def arrived(task: Task, state: Maze) -> Array:
  """Whether the cell is that of the goal."""
  return jnp.all(state.cell == task["goal"])


def make_tasks(random: np.random.RandomState, num_tasks: int) -> dict[str, np.ndarray]:
  """Mazes that grow from their start, all at once.

  Returns:
    Float32 arrays: `right` [N, 5, 4] and `down` [N, 4, 5], one where there is a passage from a cell to that on its
    right or below it, else zero; `goal` [N, 2], row and column.
  """
  cells = np.arange(SIZE**2).reshape(SIZE, SIZE)
  ends = np.concatenate(
    [
      np.stack([cells[:, :-1].ravel(), cells[:, 1:].ravel()], axis=1),
      np.stack([cells[:-1].ravel(), cells[1:].ravel()], axis=1),
    ]
  )  # [40, 2]  the two cells of each place for a passage
  every = np.arange(num_tasks)
  joined = np.zeros((num_tasks, SIZE**2), bool)
  joined[:, 0] = True
  passages = np.zeros((num_tasks, len(ends)), np.float32)
  for _ in range(SIZE**2 - 1):
    joins = joined[:, ends[:, 0]] != joined[:, ends[:, 1]]
    chosen = np.argmax(np.where(joins, random.uniform(size=joins.shape), -1.0), axis=1)
    passages[every, chosen] = 1.0
    joined[every[:, None], ends[chosen]] = True
  across = SIZE * (SIZE - 1)
  tasks = {
    "right": passages[:, :across].reshape(-1, SIZE, SIZE - 1),
    "down": passages[:, across:].reshape(-1, SIZE - 1, SIZE),
  }
  far = steps_from(tasks, np.zeros((num_tasks, 2), int)).reshape(num_tasks, -1) >= FEWEST_STEPS_TO_GOAL
  goal = np.argmax(np.where(far, random.uniform(size=far.shape), -1.0), axis=1)
  return {**tasks, "goal": np.stack(np.divmod(goal, SIZE), axis=1).astype(np.float32)}


def steps_from(tasks: Task, cells: np.ndarray) -> np.ndarray:
  """The fewest steps from one cell [N, 2] of each maze to every cell, [N, 5, 5], by breadth-first search of all mazes.

  Infinite where no passages lead.
  """
  right, down = np.asarray(tasks["right"]) > 0.0, np.asarray(tasks["down"]) > 0.0
  num_tasks = len(right)
  steps = np.full((num_tasks, SIZE, SIZE), np.inf)
  rows, columns = np.asarray(cells, int).T
  steps[np.arange(num_tasks), rows, columns] = 0.0
  for _ in range(SIZE**2 - 1):  # After round k all cells up to k steps away have their number.
    further = steps + 1.0
    nearest = steps.copy()
    for passage, first, second in ((right, np.s_[:, :, :-1], np.s_[:, :, 1:]), (down, np.s_[:, :-1], np.s_[:, 1:])):
      nearest[second] = np.minimum(nearest[second], np.where(passage, further[first], np.inf))
      nearest[first] = np.minimum(nearest[first], np.where(passage, further[second], np.inf))
    steps = nearest
  return steps


def shortest_paths(tasks: Task) -> np.ndarray:
  """The fewest steps from the start to the goal of each maze, [N]."""
  goals = np.asarray(tasks["goal"], int)
  return steps_from(tasks, np.zeros_like(goals))[np.arange(len(goals)), goals[:, 0], goals[:, 1]]


def search_steps(tasks: Task) -> np.ndarray:
  """The expected steps of a random depth-first search from the start to the goal of each maze, [N].

  In each cell it takes the passages that it has not taken yet in random order, and goes back when there is none. A
  branch that leads off the path to the goal is walked with probability one half, and costs two steps for each of its
  cells. So the expectation is the length of the path and one step for each cell that is neither on it nor behind the
  goal: 25 minus the number of cells that are reached through the goal, the goal itself among them.
  """
  goals = np.asarray(tasks["goal"], int)
  from_start, from_goal = steps_from(tasks, np.zeros_like(goals)), steps_from(tasks, goals)
  behind = from_start == shortest_paths(tasks)[:, None, None] + from_goal
  return SIZE**2 - behind.sum(axis=(1, 2))


def _walls(task: Task, state: Maze) -> Array:
  """One for each side of the cell that is a wall, in the order of the actions, [4]."""
  right, down = jnp.asarray(task["right"]), jnp.asarray(task["down"])
  sides = (
    jnp.pad(down, ((1, 0), (0, 0))),  # to the cell above
    jnp.pad(right, ((0, 0), (0, 1))),
    jnp.pad(down, ((0, 1), (0, 0))),
    jnp.pad(right, ((0, 0), (1, 0))),
  )
  row, column = state.cell
  return 1.0 - jnp.stack(sides)[:, row, column]


@cache
def _tasks() -> dict[str, np.ndarray]:
  """The tasks of `maze`, made once."""
  tasks = make_tasks(np.random.RandomState(TASK_SEED), NUM_TRAIN_TASKS + NUM_TEST_TASKS)
  for leaf in tasks.values():
    leaf.flags.writeable = False  # all families share them
  return tasks


def _family(name: str, num_tasks: int, train_tasks: tuple[int, ...], test_tasks: tuple[int, ...]) -> TaskFamily:
  return TaskFamily(
    name=name,
    observation_size=SIZE**2 + len(MOVES),
    action_size=len(MOVES),
    horizon=HORIZON,
    tasks={field: leaf[:num_tasks] for field, leaf in _tasks().items()},
    train_tasks=train_tasks,
    test_tasks=test_tasks,
    dynamics=AnalyticDynamics(step),
    reset=reset,
    observe=observe,
    reward=reward,
    terminal=arrived,
    differ_in="physics",
    state_of=state_of,
    discrete_actions=True,
  )
