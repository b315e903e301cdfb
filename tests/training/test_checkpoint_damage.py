"""Random damage to checkpoints: every case ends in `DamagedCheckpoint`."""

import pytest
from damage_checkpoints import KINDS, NEWEST, damage_checkpoints

DAMAGES = 420


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
  return damage_checkpoints(tmp_path_factory.mktemp("damaged"), DAMAGES)


def test_the_cases_are_many_and_hit_every_file(outcome):
  assert outcome.tried.total() == DAMAGES
  assert all(outcome.tried[kind] >= 20 for kind in KINDS)
  assert {"checkpoint.json", "arrays/_METADATA", "arrays/manifest.ocdbt"} < outcome.files.keys()
  assert len(outcome.files) >= 10
  assert min(outcome.files.values()) >= 20


def test_no_damage_is_silent_and_the_newest_whole_checkpoint_is_found(outcome):
  assert outcome.noticed == outcome.tried


def test_what_is_said_is_one_line_that_names_the_place(outcome):
  for message in outcome.messages:
    assert f"checkpoints/{NEWEST}" in message
    assert "expected" in message
    assert "\n" not in message
