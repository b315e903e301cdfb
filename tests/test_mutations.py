"""The list of mutations fits the code: each can be made, and its tests are there."""

from mutations import MUTATIONS, ROOT, faults_of


def test_every_mutation_can_be_made():
  assert [fault for mutation in MUTATIONS for fault in faults_of(mutation, ROOT)] == []
  assert all(mutation.old != mutation.new for mutation in MUTATIONS)


def test_they_are_many_of_many_kinds():
  assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 45
  assert len({mutation.file for mutation in MUTATIONS}) >= 25
