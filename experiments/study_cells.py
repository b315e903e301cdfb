"""The cells of a study: methods by families by settings, each a configuration of `experiments.run`, over its seeds.

A run has its place by what it is: two studies that ask for the same configuration share its runs.
"""

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from macaw_jax.algorithms.lookup import short_name
from macaw_jax.algorithms.settings import types_of, with_values
from macaw_jax.errors import ConfigurationError
from macaw_jax.json_files import flatten
from macaw_jax.own_modules import is_own

from .build import examine
from .config_file import make_config

ALGORITHM = "algorithm."
OF_STUDIES = ("seed", "output_directory", "population", "variants")  # fields of a run that its study decides


class Cell(NamedTuple):
  """A method on the data of a family, in one setting of a study."""

  method: str
  family: str
  setting: str
  config: ml_collections.ConfigDict  # of one seed, without the settings in `of_member`
  checked: ml_collections.ConfigDict  # the same with them
  of_member: Mapping[str, float | bool]  # settings of the algorithm that members of a population may differ in
  folder: Path  # of the runs of the method on the family, of all studies

  @property
  def name(self) -> str:
    """For people; no other cell of its study has it."""
    return ", ".join(filter(None, (self.method, self.family, self.setting)))

  @property
  def label(self) -> str:
    """A digest of the configuration without the seed: equal cells of several studies have equal ones."""
    fields = flatten(self.config.to_dict()).items()
    shared = sorted((name, value) for name, value in fields if name not in ("seed", "output_directory"))
    text = json.dumps([shared, sorted(self.of_member.items())], default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

  def directory(self, seed: int) -> Path:
    """The directory of the run of a seed."""
    return self.folder / f"{self.label}-{seed}"


class Population(NamedTuple):
  """Cells that are trained in one program, for some seeds."""

  cells: tuple[Cell, ...]
  seeds: range

  @property
  def config(self) -> ml_collections.ConfigDict:
    """The configuration of the whole: each cell is a variant."""
    first = self.cells[0]
    config = copy.deepcopy(first.config)
    alone = len(self.cells) == len(self.seeds) == 1
    with config.unlocked():
      config.seed = self.seeds.start
      config.output_directory = str(first.directory(self.seeds.start) if alone else first.folder)
      config.population.seeds = len(self.seeds)
      config.population.variants = ",".join(cell.label for cell in self.cells)
      config.variants = ml_collections.ConfigDict({cell.label: with_values({}, cell.of_member) for cell in self.cells})
    return config


def cells_of(study: ml_collections.ConfigDict) -> list[Cell]:
  """All cells of a study, checked.

  Raises:
    ConfigurationError: with all that is wrong with any of them, each line naming the cell.
  """
  cells, problems = [], []
  for family in study.families:
    for method in study.methods:
      for setting, changes in settings_by_name(study).items():
        place = ", ".join(filter(None, (method, family, setting)))
        try:
          cells.append(make_cell(study, method, family, setting, changes))
        except ConfigurationError as error:
          problems += [f"{place}: {problem}" for problem in error.problems]
  if problems:
    raise ConfigurationError(*dict.fromkeys(problems))
  return cells


def settings_by_name(study: ml_collections.ConfigDict) -> dict[str, dict[str, Any]]:
  """The fields of each setting by dotted name; one setting without a name and without fields where there are none."""
  return {name: flatten(changes) for name, changes in study.settings.to_dict().items()} or {"": {}}


def make_cell(
  study: ml_collections.ConfigDict, method: str, family: str, setting: str, changes: Mapping[str, Any]
) -> Cell:
  """One cell, its configuration checked with all its values. Raises `ConfigurationError`."""
  location = f"algorithm:{method},{family}" if is_own(method) else f"{method}:{family}"
  config = make_config([location], [], examine)
  of_all = {name: value for name, value in flatten(study.changes.to_dict()).items() if value is not None}
  if family in study.directories:
    of_all["dataset.directory"] = study.directories[family]
  changes = {**of_all, **changes}
  kinds = types_of(config.algorithm.name)
  of_member = {
    name.removeprefix(ALGORITHM): value
    for name, value in changes.items()
    if name.startswith(ALGORITHM) and kinds.get(name.removeprefix(ALGORITHM)) in (float, bool)
  }
  shared = {name: value for name, value in changes.items() if name.removeprefix(ALGORITHM) not in of_member}
  checked = copy.deepcopy(config)
  change(checked, changes)
  change(config, shared)
  examine(checked, starts=False)
  folder = Path(study.runs_directory) / family.rpartition("/")[2] / short_name(method)
  return Cell(method, family, setting, config, checked, of_member, folder)


def change(config: ml_collections.ConfigDict, changes: Mapping[str, Any]) -> None:
  """Sets fields by dotted name. Raises `ConfigurationError` for those that are not there, or are the study's."""
  known, problems = flatten(config.to_dict()), []
  with config.unlocked():
    for name, value in changes.items():
      if name.partition(".")[0] in OF_STUDIES:
        problems.append(
          f"config.{name} = {value!r}: the study decides it; see config.seed and config.seeds of the study"
        )
      elif name not in known and not name.startswith(ALGORITHM):  # whose section is checked by the algorithm
        problems.append(f"config.{name} = {value!r}: the configuration has no such field")
      else:
        try:
          config.update_from_flattened_dict({name: value})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
          problems.append(f"config.{name} = {value!r}: {' '.join(str(error).split())}")
  if problems:
    raise ConfigurationError(*problems)


def populations_of(pending: Iterable[tuple[Cell, int]]) -> list[Population]:
  """Cells and seeds that have to be trained, together where one program can train them."""
  seeds_of: dict[Path, tuple[Cell, set[int]]] = {}  # Equal cells have one place, and are trained once.
  for cell, seed in pending:
    seeds_of.setdefault(cell.folder / cell.label, (cell, set()))[1].add(seed)
  together: dict[str, list[tuple[Cell, range]]] = {}
  for cell, seeds in seeds_of.values():
    for run in _runs(seeds):
      shape = repr((cell.folder, sorted(flatten(cell.config.to_dict()).items()), sorted(cell.of_member), run))
      together.setdefault(shape, []).append((cell, run))
  return [Population(tuple(cell for cell, _ in members), members[0][1]) for members in together.values()]


def _runs(seeds: Iterable[int]) -> list[range]:
  """Seeds in order as ranges without gaps."""
  found: list[range] = []
  for seed in sorted(seeds):
    if found and found[-1].stop == seed:
      found[-1] = range(found[-1].start, seed + 1)
    else:
      found.append(range(seed, seed + 1))
  return found
