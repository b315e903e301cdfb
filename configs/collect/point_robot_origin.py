"""Point robot that starts at the origin: 100 goals, 1,000 transitions per goal.

Run time: 1 minute beside other work on two cores; 100,000 environment steps, 24,000 updates, 2.4 MB.
Returns (20 steps, mean of 20 episodes a goal, averaged over the goals): random -15.4, final agent -2.7. One seed.
"""

from ml_collections import ConfigDict

from .defaults import defaults
from .point_robot import VALUES


def get_config() -> ConfigDict:
  """The values of the point robot that starts anywhere."""
  return defaults("point_robot_origin", **VALUES)
