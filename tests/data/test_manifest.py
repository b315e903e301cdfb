import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from small_dataset import edit_manifest, make_manifest, write_small

from macaw_jax.data.manifest import (
  DatasetError,
  Manifest,
  check_manifest,
  content_digest,
  examine_manifest,
  read_manifest,
  write_manifest,
)


@pytest.fixture
def directory(tmp_path):
  write_small(tmp_path / "small")
  return tmp_path / "small"


def filled(num_tasks, **changes):
  manifest = make_manifest(num_tasks, **changes)
  tasks = tuple(
    dataclasses.replace(entry, file=f"task_{index:02d}.npz", sha256="0f" * 32, num_transitions=6, num_episodes=2)
    for index, entry in enumerate(manifest.tasks)
  )
  return dataclasses.replace(manifest, tasks=tasks)


def test_a_manifest_read_is_the_manifest_written(directory):
  manifest = read_manifest(directory)
  expected = make_manifest(3)
  assert [entry.num_transitions for entry in manifest.tasks] == [9, 6, 15]
  assert [entry.num_episodes for entry in manifest.tasks] == [3, 2, 3]
  assert [entry.file for entry in manifest.tasks] == ["task_00.npz", "task_01.npz", "task_02.npz"]
  assert [entry.parameters for entry in manifest.tasks] == [{"speed": 0.0}, {"speed": 0.5}, {"speed": 1.0}]
  assert dataclasses.replace(manifest, tasks=expected.tasks) == expected


def test_nested_lists_are_task_parameters():
  manifest = make_manifest(1, train_tasks=(), test_tasks=(0,))
  entry = dataclasses.replace(filled(1, train_tasks=(), test_tasks=(0,)).tasks[0], parameters={"mass": [[1, 2.5], []]})
  checked = check_manifest(dataclasses.replace(manifest, tasks=(entry,)), "manifest.json")
  assert checked.tasks[0].parameters == {"mass": [[1.0, 2.5], []]}


def test_a_task_is_in_both_splits_only_if_the_manifest_says_so():
  both = filled(2, train_tasks=(0, 1), test_tasks=(0, 1), tasks_shared_by_splits=True)
  assert check_manifest(both, "manifest.json") == both
  with pytest.raises(DatasetError, match=r"manifest\.json: key 'test_tasks'.*tasks_shared_by_splits.*\[0, 1\]"):
    check_manifest(dataclasses.replace(both, tasks_shared_by_splits=False), "manifest.json")


def test_a_missing_dataset_names_the_command_that_makes_it(tmp_path):
  with pytest.raises(DatasetError, match=r"nowhere.*python -m experiments\.collect --config=configs/collect/"):
    read_manifest(tmp_path / "nowhere")
  (tmp_path / "empty").mkdir()
  with pytest.raises(DatasetError, match=r"empty.*python -m experiments\.collect"):
    read_manifest(tmp_path / "empty")


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("schema_version", 4),
    ("schema_version", "1"),
    ("schema_version", True),
    ("family", ""),
    ("family", 3),
    ("observation_size", 0),
    ("observation_size", 3.0),
    ("action_size", True),
    ("horizon", -1),
    ("discount", 0),
    ("discount", 1.01),
    ("discount", "0.99"),
    ("seed", -1),
    ("train_tasks", [0, 3]),
    ("train_tasks", [0, -1]),
    ("train_tasks", [0, 0]),
    ("train_tasks", 0),
    ("test_tasks", [1]),
    ("tasks_shared_by_splits", 0),
    ("tasks", []),
    ("tasks", {}),
    ("references", "uniformly random actions"),
    ("behaviour", []),
    ("versions", {"numpy": 2}),
    ("git_commit", 5),
    ("created", None),
  ],
)
def test_a_wrong_value_is_named(directory, key, value):
  edit_manifest(directory, lambda document: document.update({key: value}))
  with pytest.raises(
    DatasetError, match=rf"manifest\.json: key '{key}(\[\d\])?(\.numpy)?': expected .*, got "
  ) as error:
    read_manifest(directory)
  assert type(error.value) is DatasetError


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("file", "../task_01.npz"),
    ("file", "/etc/task.npz"),
    ("file", "task_00.npz"),
    ("file", "task_01.zip"),
    ("sha256", "12"),
    ("sha256", "A" * 64),
    ("num_transitions", 0),
    ("num_episodes", 2.5),
    ("parameters", [1.0]),
    ("parameters", {"speed": "fast"}),
    ("parameters", {"speed": [0.5, None]}),
    ("reference_returns", {"random": 0.0, "expert": None}),
  ],
)
def test_a_wrong_value_of_a_task_is_named(directory, key, value):
  edit_manifest(directory, lambda document: document["tasks"][1].update({key: value}))
  with pytest.raises(DatasetError, match=r"manifest\.json: key 'tasks(\[1\])?.*': expected .*, got "):
    read_manifest(directory)


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Manifest)])
def test_a_missing_key_is_named(directory, key):
  edit_manifest(directory, lambda document: document.pop(key))
  with pytest.raises(DatasetError, match=f"manifest.json: key '{key}' is missing"):
    read_manifest(directory)


def test_missing_and_unknown_keys_inside_are_named(directory):
  edit_manifest(directory, lambda document: document["tasks"][2].update(note="?"))
  with pytest.raises(DatasetError, match=r"key 'tasks\[2\]\.note' is unknown"):
    read_manifest(directory)
  edit_manifest(directory, lambda document: document["tasks"][0]["reference_returns"].pop("expert"))
  with pytest.raises(DatasetError, match=r"key 'tasks\[0\]\.reference_returns\.expert' is missing"):
    read_manifest(directory)


def test_keys_of_a_later_version_are_a_question_of_the_version(directory):
  edit_manifest(directory, lambda document: document.update(schema_version=4, licence="?"))
  with pytest.raises(DatasetError, match="key 'schema_version'"):
    read_manifest(directory)


@pytest.mark.parametrize(
  "text",
  [
    b"",
    b"\xff\xfe",
    b"[]",
    b"null",
    b"{",
    b"[" * 100_000,
    b'{"discount": NaN}',
    b'{"discount": -Infinity}',
    b'{"discount": 1e999}',
    b'{"seed": ' + b"9" * 5000 + b"}",
    b'{"seed": 1, "seed": 2}',
  ],
)
def test_what_is_not_a_json_object_of_finite_numbers_is_refused(directory, text):
  (directory / "manifest.json").write_bytes(text)
  with pytest.raises(DatasetError, match=r"manifest.json"):
    read_manifest(directory)


def test_values_that_are_not_json_cannot_be_written():
  for behaviour in ({"loss": float("nan")}, {"network": object()}):
    with pytest.raises(DatasetError, match=r"here/manifest\.json"):
      check_manifest(filled(2, behaviour=behaviour), "here/manifest.json")


def test_a_number_changed_in_the_file_does_not_match_the_digest(directory):
  path = directory / "manifest.json"
  path.write_text(path.read_text().replace('"expert": 9.0', '"expert": 8.0', 1))
  with pytest.raises(DatasetError, match=r"manifest\.json: key 'digest': expected"):
    read_manifest(directory)


def test_the_digest_is_the_hash_of_the_other_fields_in_a_canonical_form(directory):
  document = json.loads((directory / "manifest.json").read_text())
  digest = document.pop("digest")
  canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
  assert '"train_tasks":[0,1],"versions":{"numpy":' in canonical
  assert digest == hashlib.sha256(canonical.encode()).hexdigest()


def test_the_layout_of_the_file_is_no_part_of_the_digest(directory):
  path = directory / "manifest.json"
  expected = read_manifest(directory)
  path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))
  assert read_manifest(directory) == expected


def test_references_need_two_texts(directory):
  edit_manifest(directory, lambda document: document.update(references={"random": "zeros", "expert": ""}))
  with pytest.raises(DatasetError, match=r"key 'references\.expert': expected a string that is not empty, got ''"):
    read_manifest(directory)


@pytest.mark.parametrize("version", [1, 2])
def test_versions_that_do_not_say_what_the_scores_are_are_read(directory, version):
  def make_earlier(document):
    del document["references"]
    document.update(schema_version=version, behaviour={"agent": "soft actor-critic"})

  edit_manifest(directory, make_earlier)
  path = directory / "manifest.json"
  if version == 1:
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "digest"}))
  manifest = read_manifest(directory)
  assert manifest.references == {"random": "uniformly random actions", "expert": "the agent that collected the data"}
  assert manifest.schema_version == 3


def test_data_that_runs_have_learned_from_keep_their_identity():
  """The digest of the starter data as releases before the third version of manifests computed it."""
  manifest = read_manifest(Path(__file__).parents[2] / "starter_data" / "cheetah_dir")
  assert content_digest(manifest) == "9096a15285aace31d493a28f64390dd7217635dd1157f6bd629b5c9d12bef49a"
  assert manifest.references == {"random": "uniformly random actions", "expert": "the agent that collected the data"}


def test_the_first_version_is_read_without_a_digest_and_written_as_the_newest(directory, tmp_path):
  path = directory / "manifest.json"
  expected = read_manifest(directory)
  whole = path.read_bytes()
  document = json.loads(whole) | {"schema_version": 1}
  path.write_text(json.dumps(document))
  with pytest.raises(DatasetError, match="key 'references' is unknown"):
    read_manifest(directory)
  del document["references"]
  path.write_text(json.dumps(document))
  with pytest.raises(DatasetError, match="key 'digest' is unknown"):
    read_manifest(directory)
  del document["digest"]
  path.write_text(json.dumps(document))
  assert read_manifest(directory) == expected
  write_manifest(tmp_path, read_manifest(directory))
  assert (tmp_path / "manifest.json").read_bytes() == whole


@pytest.mark.parametrize("digest", [None, 3, "", "0" * 64])
def test_a_digest_of_another_value_is_refused(directory, digest):
  path = directory / "manifest.json"
  document = json.loads(path.read_text())
  path.write_text(json.dumps(document | {"digest": digest}))
  with pytest.raises(DatasetError, match="key 'digest': expected"):
    read_manifest(directory)
  del document["digest"]
  path.write_text(json.dumps(document))
  with pytest.raises(DatasetError, match="key 'digest' is missing"):
    read_manifest(directory)


def test_all_problems_are_found_at_once(directory):
  edit_manifest(directory, lambda document: document.update(seed=-1, discount=2, note="?"))
  path = directory / "manifest.json"
  path.write_text(path.read_text().replace('"family": "small"', '"family": "tiny"'))
  manifest, problems = examine_manifest(directory)
  assert manifest is None
  for problem, key in zip(problems, ("note", "discount", "seed", "digest"), strict=True):
    assert problem.startswith(f"{path}: key '{key}'")


def test_every_leaf_replaced_by_another_type_is_refused_or_read_as_it_stands(directory):
  path = directory / "manifest.json"
  document = json.loads(path.read_text())
  for target in (document, document["tasks"][0]):
    for key in [key for key in target if key != "behaviour"]:
      original = target[key]
      for value in (-1.5, [[]], {"a": {}}):
        target[key] = value
        path.write_text(json.dumps(document))
        with pytest.raises(DatasetError, match=key):
          read_manifest(directory)
      target[key] = original
