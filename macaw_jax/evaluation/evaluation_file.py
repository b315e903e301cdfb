"""The file of an evaluation in the directory of a run: its name says what distinguishes it, and nothing replaces it.

All that a result depends on, `made_of`, stands in the file, in the printed table, and in the name as far as it departs
from what the run itself uses. The same evaluation again has the same file; another one never does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from macaw_jax.errors import ConfigurationError
from macaw_jax.json_files import read_json, to_json

MADE_OF = "evaluation"  # the key of `made_of` in the file
UPDATE = "update"
NAMES, CHECKPOINT, DATA = "protocols", "checkpoint", "data"
NOT_SHOWN = (NAMES, CHECKPOINT, DATA)  # The table names protocols; the others are digests.
MOST_NUMBERS = 8  # of a list in a name


def evaluation_file(directory: Path, kind: str, made_of: Mapping[str, Any], usual: Mapping[str, Any]) -> Path:
  """`<kind>_update_<n>_<name>_<value>.json`, with what is not as usual; numbered where that is another evaluation's.

  Args:
    directory: of the run.
    kind: what the file holds, as `evaluation_offline`.
    made_of: what the result depends on, by name; with the `update` of the checkpoint.
    usual: the values of some of these that the run itself uses, which the name leaves out.
  """
  parts = [kind, UPDATE, str(made_of[UPDATE])]
  for name, value in usual.items():
    if made_of[name] != value:
      parts += [name, _text(made_of[name])]
  stem, number = "_".join(parts), 1
  while True:
    path = directory / f"{stem}{f'_{number}' if number > 1 else ''}.json"
    if not path.exists() or is_made_of(path, made_of):
      return path
    number += 1


def is_made_of(path: Path, made_of: Mapping[str, Any]) -> bool:
  """Whether a file is whole and holds an evaluation that was made of just this.

  A value of None is as one that is not there: older files lack what was added since.
  """
  try:
    found = read_json(path, dict).get(MADE_OF) if path.is_file() else None
  except ConfigurationError:
    return False
  return isinstance(found, Mapping) and _given(found) == _given(to_json(made_of))


def _given(made_of: Mapping[str, Any]) -> dict[str, Any]:
  return {name: value for name, value in made_of.items() if value is not None}


def made_of_text(made_of: Mapping[str, Any]) -> str:
  """The line about a table that says what it was made of: its numbers and choices, by the names of flags."""
  shown = {name: value for name, value in _given(made_of).items() if name not in NOT_SHOWN}
  return "; ".join(f"{name} {_text(value)}" for name, value in shown.items())


def _text(value: Any) -> str:
  """A value as a part of a file's name."""
  if value is None:
    return "none"
  if isinstance(value, Sequence) and not isinstance(value, str):
    return "-".join(map(str, value if len(value) <= MOST_NUMBERS else (value[0], "to", value[-1])))
  return str(value)
