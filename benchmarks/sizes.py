"""All benchmarks, and the arguments that make each short or long."""

from typing import NamedTuple


class Benchmark(NamedTuple):
  """The arguments of a benchmark's module at both sizes."""

  small: tuple[str, ...]
  full: tuple[str, ...]


BENCHMARKS = {
  "update_step": Benchmark(("--updates=5", "--repeats=5"), ()),
  "peers": Benchmark(("--tasks=4", "--updates=2", "--repeats=3"), ()),
  "algorithms": Benchmark(("--num_updates=10", "--num_repeats=3"), ()),
  "adaptation": Benchmark(("--tasks=10", "--batch=5", "--repeats=3"), ()),
  "memory": Benchmark(("--tasks=5", "--inner_steps=1", "--updates=2", "--repeats=3"), ()),
  "limits": Benchmark(("--repeats=5", "--elements=10000000"), ()),
  "loop_overhead": Benchmark(("--updates=20", "--repeats=5"), ()),
  "population": Benchmark(("--members=1,4", "--updates=10"), ()),
  "sampling": Benchmark(("--rows=20000",), ()),
  "rollout": Benchmark(("--episodes=5", "--mjx_episodes=1", "--steps=100"), ()),
  "sampled_rollout": Benchmark(
    ("--tasks=4", "--episodes=10", "--steps=100", "--cheetah_episodes=10", "--cheetah_steps=20", "--updates=2"), ()
  ),
  "trials": Benchmark(("--families=point_robot", "--tasks=4", "--repeats=2"), ()),
  "replay": Benchmark(("--agents=multitask_sac:point_robot", "--repeats=2"), ()),
  "engines": Benchmark(("--families=point_robot,cheetah_dir", "--episodes=8"), ("--repeats=5",)),
  "collect": Benchmark(("--rounds=6",), ("--rounds=40",)),
  "start_up": Benchmark(("--repeats=1",), ()),
  "end_to_end": Benchmark(("--seeds=1", "--steps=600", "--score=50", "--episodes=5"), ()),
  "time_to_score": Benchmark(("--score=50", "--episodes=5", "--limit=10"), ("--seeds=3",)),
}
