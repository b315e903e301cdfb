"""Cart-pole whose sensor of the pole's angle has a bias: balance a pole on a cart, seeing neither velocity.

  force       F = 10 a newton,     pull = (F + 0.05 w^2 sin th) / 1.1
  pole        w' = w + 0.02 (9.8 sin th - cos th pull) / (0.5 (4/3 - 0.1 cos^2 th / 1.1)),     th' = th + 0.02 w
  cart        v' = v + 0.02 (pull - 0.05 cos th * angular acceleration / 1.1),     x' = x + 0.02 v
  observation [4] = x / 4.8, -1, (th + b) / 24 degrees, -1
  end         = |x| >= 2.4 m or |th| >= 12 degrees, of the true angle
  reward      = 1 where the episode goes on after the step, 0 where it ends
  start       = U(-0.05, 0.05) in each of x, v, th, w

with x, v place and velocity of the cart, th, w angle and angular velocity of the pole from upright, and explicit Euler
steps: all right-hand sides are of the old state.

The task is the bias b. The first 5000 of 5100 tasks are for training and lie evenly on [-10, 10] degrees, ends
included; the last 100 are for testing and lie in the middles of 100 equal parts of that range, on none of the training
biases.

The constant entries are those the agent of the source received: the finite bounds of the velocities overflow in its
scaling to [-1, 1]. With velocities in sight one linear policy balances the pole under every bias, and there is nothing
left to adapt.

Source: Yang et al. 2019 (NoRML); Barto, Sutton, Anderson 1983 for the body, here pushed by a continuous force.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.family import AnalyticDynamics, Task, TaskFamily
from macaw_jax.envs.splits import evenly_spaced
from macaw_jax.types import Array, Key

NUM_TRAIN_TASKS = 5000
NUM_TEST_TASKS = 100
GRAVITY = 9.8  # metres a second squared
CART_MASS = 1.0  # kg
POLE_MASS = 0.1  # kg
POLE_HALF_LENGTH = 0.5  # metres
FORCE = 10.0  # newton, of an action of one
STEP_SECONDS = 0.02
PLACE_LIMIT = 2.4  # metres
ANGLE_LIMIT = np.pi / 15  # 12 degrees
BIAS_LIMIT = np.pi / 18  # 10 degrees
START_LIMIT = 0.05


class CartPole(NamedTuple):
  """State of a cart and its pole; the angle is from upright."""

  position: chex.Array  # [...] metres
  velocity: chex.Array  # [...] metres a second
  angle: chex.Array  # [...] radians
  angular_velocity: chex.Array  # [...] radians a second


def reset(task: Task, key: Key) -> CartPole:
  """Every entry from U(-0.05, 0.05)."""
  return CartPole(*jax.random.uniform(key, (4,), minval=-START_LIMIT, maxval=START_LIMIT))


def step(task: Task, state: CartPole, action: Array) -> CartPole:
  """The state 0.02 s later, by one explicit Euler step under the force of an action [1]."""
  chex.assert_shape(action, (1,))
  x, v, angle, w = state
  mass, moment = CART_MASS + POLE_MASS, POLE_MASS * POLE_HALF_LENGTH
  sine, cosine = jnp.sin(angle), jnp.cos(angle)
  pull = (FORCE * action[0] + moment * w**2 * sine) / mass
  inertia = POLE_HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * cosine**2 / mass)
  angular_acceleration = (GRAVITY * sine - cosine * pull) / inertia
  acceleration = pull - moment * angular_acceleration * cosine / mass
  return CartPole(
    position=x + STEP_SECONDS * v,
    velocity=v + STEP_SECONDS * acceleration,
    angle=angle + STEP_SECONDS * w,
    angular_velocity=w + STEP_SECONDS * angular_acceleration,
  )


def observe(task: Task, state: CartPole) -> Array:
  """Place and biased angle over twice their limits, each followed by -1 where its velocity is hidden, [4]."""
  hidden = jnp.full_like(state.velocity, -1.0)
  place, angle = state.position / (2 * PLACE_LIMIT), (state.angle + task["bias"]) / (2 * ANGLE_LIMIT)
  return jnp.stack([place, hidden, angle, hidden])


def reward(task: Task, state: CartPole, action: Array, next_state: CartPole) -> Array:
  """One where the next state does not end the episode, else zero."""
  return jnp.where(fallen(task, next_state), 0.0, 1.0)


def fallen(task: Task, state: CartPole) -> Array:
  """Whether the cart is 2.4 m or more from the middle, or the pole 12 degrees or more from upright."""
  within = (jnp.abs(state.position) < PLACE_LIMIT) & (jnp.abs(state.angle) < ANGLE_LIMIT)
  return jnp.logical_not(within)  # true for nan too


def cartpole_bias() -> TaskFamily:
  """5100 biases `task["bias"]` [] in radians, horizon 500."""
  biases, split = evenly_spaced(BIAS_LIMIT, NUM_TRAIN_TASKS, NUM_TEST_TASKS)
  return TaskFamily(
    name="cartpole_bias",
    observation_size=4,
    action_size=1,
    horizon=500,
    tasks={"bias": biases},
    train_tasks=split.train,
    test_tasks=split.test,
    dynamics=AnalyticDynamics(step),
    reset=reset,
    observe=observe,
    reward=reward,
    terminal=fallen,
    differ_in="physics",
  )
