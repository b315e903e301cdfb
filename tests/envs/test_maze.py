import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.envs.maze import Maze, make_tasks, reward, search_steps, shortest_paths, step, steps_from
from macaw_jax.envs.rollout import episode_return, make_rollout

UP, RIGHT, DOWN, LEFT = np.eye(4, dtype=np.float32)
# S . G   with a passage right, right and down from the start.
RIGHT_PASSAGES, DOWN_PASSAGES = np.zeros((5, 4), np.float32), np.zeros((4, 5), np.float32)
RIGHT_PASSAGES[0, :2] = DOWN_PASSAGES[0, 0] = 1.0
TASK = {"right": RIGHT_PASSAGES, "down": DOWN_PASSAGES, "goal": np.float32([0.0, 2.0])}
MOVES = {(-1, 0): 0, (0, 1): 1, (1, 0): 2, (0, -1): 3}


def neighbours(tasks, index):
  """Cell -> the cells that a passage leads to, of one maze, from the arrays as they are documented."""
  found = {(row, column): [] for row in range(5) for column in range(5)}
  pairs = [((row, column), (row, column + 1)) for row, column in np.argwhere(tasks["right"][index])]
  pairs += [((row, column), (row + 1, column)) for row, column in np.argwhere(tasks["down"][index])]
  for first, second in pairs:
    found[first].append(second)
    found[second].append(first)
  return found


def steps_of_search(passages, goal, random):
  """The steps of one random depth-first search."""
  path, known, steps = [(0, 0)], {(0, 0)}, 0
  while path[-1] != goal:
    ahead = [cell for cell in passages[path[-1]] if cell not in known]
    if ahead:
      path.append(ahead[random.randint(len(ahead))])
      known.add(path[-1])
    else:
      path.pop()
    steps += 1
  return steps


def test_every_layout_is_a_tree_with_a_far_goal():
  family = envs.make("maze")
  assert (family.discrete_actions, family.task_entries, family.horizon) == (True, 42, 60)
  np.testing.assert_array_equal(
    family.tasks["right"].sum(axis=(1, 2)) + family.tasks["down"].sum(axis=(1, 2)), np.full(2200, 24.0)
  )
  assert np.isfinite(steps_from(family.tasks, np.zeros((2200, 2), int))).all()  # so 24 passages make a tree
  assert shortest_paths(family.tasks).min() == 5
  layouts = np.concatenate([family.tasks[name].reshape(2200, -1) for name in ("right", "down")], axis=1)
  assert len(np.unique(layouts, axis=0)) == 2200  # no test layout is one of training


def test_a_layout_begins_with_either_passage_of_the_start():
  """Both with the same chance; five standard errors of 4000 draws."""
  tasks = make_tasks(np.random.RandomState(0), 4000)
  either = tasks["right"][:, 0, 0] + tasks["down"][:, 0, 0]
  assert either.min() == 1.0
  assert abs(tasks["right"][:, 0, 0].mean() - tasks["down"][:, 0, 0].mean()) < 5 / np.sqrt(4000)


def test_eight_mazes_are_the_first_and_are_trained_and_tested_on():
  few, many = envs.make("maze_8"), envs.make("maze")
  assert few.train_tasks == few.test_tasks == tuple(range(8))
  for name in ("right", "down", "goal"):
    np.testing.assert_array_equal(few.tasks[name], many.tasks[name][:8])


def test_shortest_paths_by_a_search_of_each_maze_alone():
  tasks = {name: leaf[:40] for name, leaf in envs.make("maze").tasks.items()}
  for index, found in enumerate(shortest_paths(tasks)):
    passages, goal = neighbours(tasks, index), tuple(tasks["goal"][index].astype(int))
    reached, steps = {(0, 0)}, 0
    while goal not in reached:
      reached |= {cell for known in reached for cell in passages[known]}
      steps += 1
    assert found == steps


def test_the_expected_steps_of_a_depth_first_search_by_simulation():
  """Means of 2000 searches of each of five mazes; five standard errors."""
  tasks = {name: leaf[3:8] for name, leaf in envs.make("maze").tasks.items()}
  random = np.random.RandomState(0)
  for index, expected in enumerate(search_steps(tasks)):
    passages, goal = neighbours(tasks, index), tuple(tasks["goal"][index].astype(int))
    steps = [steps_of_search(passages, goal, random) for _ in range(2000)]
    assert max(steps) <= 60  # a search never runs out of an episode
    assert abs(np.mean(steps) - expected) <= 5 * np.std(steps) / np.sqrt(2000)


def test_the_known_answers_that_the_page_quotes():
  tasks = envs.make("maze").tasks
  test = {name: leaf[2000:] for name, leaf in tasks.items()}
  eight = {name: leaf[:8] for name, leaf in tasks.items()}
  assert [shortest_paths(test).mean(), search_steps(test).mean()] == pytest.approx([6.465, 22.535])
  assert [shortest_paths(eight).mean(), search_steps(eight).mean()] == pytest.approx([6.75, 22.875])


def test_moves_and_walls_by_hand():
  cell = Maze(jnp.array([0, 0]))
  for action, expected in (
    (UP, (0, 0)),
    (LEFT, (0, 0)),
    (RIGHT, (0, 1)),
    (DOWN, (0, 1)),
    (RIGHT, (0, 2)),
    (RIGHT, (0, 2)),
    (LEFT, (0, 1)),
    (LEFT, (0, 0)),
    (DOWN, (1, 0)),
    (DOWN, (1, 0)),
    (UP, (0, 0)),
  ):
    cell = step(TASK, cell, action)
    np.testing.assert_array_equal(cell.cell, expected)
  # Scores, of which the largest counts.
  np.testing.assert_array_equal(step(TASK, cell, np.float32([-0.3, -0.1, -0.2, -1.0])).cell, (0, 1))


def test_observation_and_reward_by_hand():
  family = envs.make("maze")
  expected = np.zeros(29)
  expected[1] = expected[25] = expected[27] = 1.0  # the second cell: walls above and below
  np.testing.assert_array_equal(family.observe(TASK, Maze(jnp.array([0, 1]))), expected)
  at_goal, beside = Maze(jnp.array([0, 2])), Maze(jnp.array([0, 1]))
  assert reward(TASK, beside, RIGHT, at_goal) == pytest.approx(1 - 1 / 60)
  assert reward(TASK, beside, DOWN, beside) == pytest.approx(-1 / 60)
  assert family.terminal(TASK, at_goal)
  assert not family.terminal(TASK, beside)


def test_whoever_knows_the_way_ends_after_the_fewest_steps():
  """Walks each of the eight mazes by its distances to the goal, through the rollout."""
  family = envs.make("maze_8")
  left = steps_from(family.tasks, family.tasks["goal"].astype(int))
  plans = np.zeros((8, 5, 5, 4), np.float32)
  for index in range(8):
    for (row, column), others in neighbours(family.tasks, index).items():
      for other in others:
        if left[index][other] < left[index, row, column]:
          plans[index, row, column, MOVES[other[0] - row, other[1] - column]] = 1.0

  def act(params, plan, timestep, key):
    return plan.reshape(25, 4)[jnp.argmax(timestep.observation[:25])], plan

  episodes = make_rollout(family, act)({}, jnp.asarray(plans), family.tasks, jax.random.key(0))
  fewest = shortest_paths(family.tasks)
  np.testing.assert_array_equal(np.sum(episodes.mask, axis=1), fewest)
  np.testing.assert_array_equal(np.sum(episodes.terminal, axis=1), np.ones(8))
  np.testing.assert_allclose(episode_return(episodes), 1 - fewest / 60, atol=1e-6)
