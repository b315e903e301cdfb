"""Native MuJoCo and MJX step the same bodies to the same states."""

import jax
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.collection.acting import uniform_act
from macaw_jax.envs.mjx_engine import on_mjx
from macaw_jax.envs.native import NativeSimulator
from macaw_jax.envs.randomised import MULTIPLIER_BASES, sample_multipliers
from macaw_jax.envs.rollout import episode_return, make_rollout

# One family of each body, that which derives most from its states. Compiling MJX takes a minute a body: the one whose
# contact forces are observed is always tested.
OTHERS = ("cheetah_vel", "hopper_params", "walker_params", "humanoid_dir")
BODIES = ["ant_goal", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
# Compiled in a fifth of the time; the results are those of the same operations.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def with_random_physics(family):
  """The family's first four tasks, of which the last two have a changed body, whatever the family's tasks differ in."""
  model = NativeSimulator(family.dynamics).model
  multipliers = sample_multipliers(model, 4, seed=3)
  multipliers = {name: np.concatenate([np.ones_like(values[:2]), values[2:]]) for name, values in multipliers.items()}
  tasks = jax.tree.map(lambda leaf: np.asarray(leaf[:4], np.float64), family.tasks | multipliers)
  return family._replace(tasks=tasks, dynamics=family.dynamics._replace(randomised=tuple(MULTIPLIER_BASES)))


@pytest.mark.parametrize("name", BODIES)
def test_ten_steps_agree_with_and_without_random_physics(name):
  family = with_random_physics(envs.make(name))
  num_episodes = 4
  random = np.random.RandomState(0)
  actions = random.uniform(-1, 1, (10, num_episodes, family.action_size))
  native = NativeSimulator(family.dynamics)
  models = native.models(family.tasks)
  with jax.enable_x64(True):
    starts = jax.vmap(family.reset)(family.tasks, jax.random.split(jax.random.key(0), num_episodes))
    physics = native.start(models, starts)
    step = jax.jit(jax.vmap(on_mjx(family).dynamics.step))
    step = step.lower(family.tasks, physics, actions[0]).compile(compiler_options=QUICK)
    on_accelerator = jax.tree.map(np.asarray, physics)
    moved = 0.0
    for action in actions:
      before = physics
      physics, on_accelerator = native.step(models, physics, action), step(family.tasks, on_accelerator, action)
      on_accelerator = jax.tree.map(np.asarray, on_accelerator)
      jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-6), on_accelerator, physics)
      moved = max(moved, np.abs(physics.qvel - before.qvel).max())
      rewards = [jax.vmap(family.reward)(family.tasks, before, action, after) for after in (physics, on_accelerator)]
      np.testing.assert_allclose(*rewards, atol=1e-4)
  assert moved > 1.0  # the bodies did move
  if "cfrc_ext" in physics.derived:
    assert np.abs(physics.derived["cfrc_ext"]).max() > 1.0  # and did touch the floor
  assert not np.allclose(physics.qvel[0], physics.qvel[2], atol=0.1)


@pytest.mark.slow
def test_returns_agree_in_distribution():
  family = envs.make("hopper_params")
  count = 16
  tasks = jax.tree.map(lambda leaf: np.repeat(leaf[:8], count // 8, axis=0), family.tasks)
  family = family._replace(horizon=40)

  def act(*arguments):
    return uniform_act(*arguments, action_size=3)

  returns, lengths = [], []
  for engine in ("native", "mjx"):
    rollout = make_rollout(family, act, engine)
    trajectory = rollout({}, {}, tasks, jax.random.key(0), deterministic=False)
    returns.append(np.asarray(episode_return(trajectory)))
    lengths.append(np.asarray(trajectory.mask).sum(axis=1))
  assert 5 < lengths[0].mean() < 39  # episodes end where the hopper falls, on both engines
  # The starts and actions are the same; what differs is rounding, which contacts blow up.
  np.testing.assert_allclose(returns[0].mean(), returns[1].mean(), rtol=0.1)
  np.testing.assert_allclose(lengths[0].mean(), lengths[1].mean(), rtol=0.1)
  np.testing.assert_allclose(returns[0].std(), returns[1].std(), rtol=0.25)


def test_analytic_families_have_no_other_engine():
  with pytest.raises(ValueError, match="point_robot:"):
    on_mjx(envs.make("point_robot"))
