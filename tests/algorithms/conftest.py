"""What tests of algorithms share."""

import jax
import pytest
from small_agents import small_agent
from small_context_batches import PROBLEM

from macaw_jax.algorithms import contextual
from macaw_jax.learners.context import context_learner


@pytest.fixture
def learner_of(monkeypatch):
  """The `ContextLearner` of a small agent, and its algorithm: `(name, **settings) -> both`."""

  def build(name, **settings):
    made = []

    def record(learner, optimizers):
      made.append(learner)
      return context_learner(learner, optimizers)

    monkeypatch.setattr(contextual, "context_learner", record)
    algorithm = small_agent(PROBLEM, name, **settings)
    return made[0], algorithm

  return build


@pytest.fixture
def double_precision():
  with jax.enable_x64(True):
    yield
