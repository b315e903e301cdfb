import pytest

from macaw_jax.data.references import (
  COLLECTED,
  GIVEN,
  OWN_EXTREMES,
  UNSTATED,
  from_document,
  inferred_texts,
  scale_faults,
  scale_text,
  to_document,
)


def pairs(*returns):
  return [{"random": random, "expert": expert} for random, expert in returns]


@pytest.mark.parametrize(
  ("behaviour", "texts"),
  [
    ({"agent": "soft actor-critic", "updates": 3}, COLLECTED),
    ({"source": "minari", "reference_returns": "given on import"}, GIVEN),
    (
      {"source": "minari", "reference_returns": "lowest (random) and highest (expert) episode return of each task's"},
      OWN_EXTREMES,
    ),
    ({"updates": 3}, UNSTATED),
  ],
)
def test_texts_of_earlier_manifests_follow_from_their_behaviour(behaviour, texts):
  assert inferred_texts(behaviour) == texts


def test_a_scale_in_words():
  assert scale_text(COLLECTED) == "score 0: uniformly random actions; score 100: the agent that collected the data"


def test_tasks_without_a_scale_and_with_a_falling_one_are_named():
  assert scale_faults(pairs((0.0, 1.0), (-2.0, -1.0))) == []
  assert scale_faults(pairs((0.0, 1.0), (2.0, 2.0), (5.0, 3.0))) == [
    "1 of 3 tasks have no score, because their random and expert returns are equal: task 1",
    "1 of 3 tasks have scores that fall as returns rise, because their expert return is below their random return: "
    "task 2",
  ]
  (line,) = scale_faults(pairs(*[(0.0, 0.0)] * 7))
  assert line.endswith(": tasks 0, 1, 2, 3, 4, ...")


def test_references_survive_as_json():
  returns = {"random": -1.25, "expert": 7.0}
  assert from_document(to_document(returns, GIVEN)) == (returns, GIVEN)


@pytest.mark.parametrize(
  "document",
  [
    None,
    [],
    {},
    {"random": 1.0, "expert": 2.0},
    to_document({"random": "1", "expert": 2.0}, GIVEN),
    to_document({"random": True, "expert": 2.0}, GIVEN),
    to_document({"random": float("nan"), "expert": 2.0}, GIVEN),
    to_document({"random": 1.0, "expert": 2.0}, {"random": "", "expert": "x"}),
    to_document({"random": 1.0, "expert": 2.0}, {"random": 3, "expert": "x"}),
  ],
)
def test_what_are_no_references_is_refused(document):
  with pytest.raises(ValueError, match="expected"):
    from_document(document)
