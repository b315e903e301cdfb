"""An environment of Gymnasium whose episodes can be told by hand, and a vector environment of the same."""

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode


class Countdown(gymnasium.Env):
  """A number falls by the action, which the space has between 1 and 3; the reward is the number left.

  It begins at `start` and a noise of the seed below one, and the task ends at or below `floor`.
  """

  observation_space = gymnasium.spaces.Box(-100.0, 100.0, (1, 2), np.float64)
  action_space = gymnasium.spaces.Box(np.float32([1.0]), np.float32([3.0]))

  def __init__(self, needs_options=True):
    self.start = self.floor = None
    self.needs_options = needs_options

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    if options:
      self.start, self.floor = options["start"], options["floor"]
    self.number = float(self.start) + self.np_random.uniform()
    return self._observation(), {}

  def step(self, action):
    assert self.action_space.contains(action)
    self.number -= float(action[0])
    return self._observation(), self.number, self.number <= self.floor, self.number > 50.0, {}

  def _observation(self):
    return np.array([[self.number, self.floor]])


TASKS = {"start": np.array([4.0, 9.0, 30.0]), "floor": np.array([0.0, 2.0, 3.0])}


class Countdowns(gymnasium.vector.VectorEnv):
  """Four numbers that fall side by side, told their tasks as arrays; ended ones begin again in the mode."""

  def __init__(self, mode):
    self.num_envs = 4
    self.metadata = {"autoreset_mode": mode}
    self.single_observation_space = Countdown.observation_space
    self.single_action_space = Countdown.action_space
    self.mode = mode
    self.ended = np.zeros(4, bool)
    self.numbers = np.zeros(4)

  def reset(self, *, seed=None, options=None):
    options = options or {}
    chosen = options.get("reset_mask", np.ones(4, bool))
    self.start, self.floor = options["start"], options["floor"]
    self.numbers[chosen] = self.start[chosen]
    self.ended[chosen] = False
    return self._observation(), {}

  def step(self, actions):
    assert self.mode != AutoresetMode.DISABLED or not self.ended.any()
    again = self.ended.copy() if self.mode == AutoresetMode.NEXT_STEP else np.zeros(4, bool)
    self.numbers = np.where(again, self.start, self.numbers - actions[:, 0])
    self.ended = (self.numbers <= self.floor) & ~again
    rewards, final = np.where(again, 0.0, self.numbers), self._observation()
    infos = {}
    if self.mode == AutoresetMode.SAME_STEP:
      infos = {"final_obs": final}
      self.numbers = np.where(self.ended, self.start, self.numbers)
    return self._observation(), rewards, self.ended.copy(), np.zeros(4, bool), infos

  def _observation(self):
    return np.stack([self.numbers, self.floor], axis=-1)[:, None]
