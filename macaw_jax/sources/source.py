"""Where the batches of an update come from: recorded data, a replay buffer that grows, or tasks to act in."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from macaw_jax.data.statistics import Statistics
from macaw_jax.envs.family import Task
from macaw_jax.types import Key, Params

Data = Any  # A pytree of arrays; only its source looks inside.
Batch = Any  # the second argument of `Algorithm.update`

Refresh = Callable[[Params, Data, Key], tuple[Data, dict[str, float]]]
"""`(params, data, key) -> (data, metrics)`; the data that go in cannot be read again."""


class Source(NamedTuple):
  """The batches of a run.

  init:             `(params, key) -> data`, before the first update, on the host
  sample:           `(data, key) -> batch`, pure, inside the compiled updates
  statistics:       `(data) -> Statistics`, the scales by which the agent sees observations and rewards
  tasks_per_update: T of a batch
  task_names:       what each training task is called in reports, in the order of `task_index`
  mean_square_return: of the data as the agent sees them; one where they are divided by the size of their returns
  tasks:            parameters of the training tasks, leaves `[N, ...]`, in the order of `task_index`; None: not known
  refresh:          changes the data between two compiled calls, on the host; None: they stay as they are. Data that
                    change are part of a checkpoint, and each member of a population has its own
  empty:            `() -> data`, in the shapes that `init` gives; for sources that refresh
  """

  init: Callable[[Params, Key], Data]
  sample: Callable[[Data, Key], Batch]
  statistics: Callable[[Data], Statistics]
  tasks_per_update: int
  task_names: Sequence[Any] = ()
  tasks: Task | None = None
  refresh: Refresh | None = None
  empty: Callable[[], Data] | None = None
  mean_square_return: float = 1.0
