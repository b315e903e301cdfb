"""Flags of the commands that evaluate trained runs."""

from absl import flags

EPISODES = flags.DEFINE_integer("episodes", None, "Episodes of each task; those of the run if not given.")
SEED = flags.DEFINE_integer("seed", 0, "Decides supports and episodes.")
