"""Imports point downwards: no folder of the package imports one that stands above it, in a function or at its top."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "macaw_jax"

# From the bottom; names of one line stand side by side and do not import each other, but for the first line's.
LAYERS = (
  (
    "types",
    "hyperparameters",
    "digests",
    "durable",
    "errors",
    "json_files",
    "console",
    "compilation_cache",
    "own_modules",
  ),
  ("envs", "networks"),
  ("data", "losses"),
  ("objectives",),
  ("adaptation",),
  ("actor_critics",),
  ("learners",),
  ("algorithms",),
  ("collection",),
  ("evaluation",),
  ("study",),
  ("sources",),
  ("training",),
  ("retrieval",),
  ("agent",),
  ("api",),
  ("cli",),
  ("__init__",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# Beyond the order: who must not know of what, although it stands below.
STRANGERS = {
  # Stored data name the family that they are of, and run no episode.
  "data": ("envs.rollout", "envs.sampled_rollout", "envs.engines", "envs.native", "networks", "losses"),
  # What is learned, and how, is independent of where data come from.
  **dict.fromkeys(
    ("networks", "objectives", "adaptation", "actor_critics", "learners", "algorithms"), ("envs", "data")
  ),
  # The mathematics of losses is of arrays; closures over networks are objectives.
  "losses": ("networks", "envs", "data"),
}


def imports(module: str, source: str) -> Iterator[str]:
  """The names that a module imports of the package, as within it, at its top or in a function."""
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      parents = module.split(".")[: -node.level] if node.level else []
      base = ".".join([*parents, node.module] if node.module else parents)
      names = [f"{base}.{alias.name}" for alias in node.names]
    else:
      continue
    for name in names:
      if name.split(".")[0] in (PACKAGE, "experiments", "configs", "benchmarks", "tests"):
        yield name.removeprefix(f"{PACKAGE}.")


def violations(sources: dict[str, str]) -> list[str]:
  """A line for each import of the modules `{"macaw_jax.data.dataset": source}` that points upwards or sideways."""
  found = []
  for module, source in sources.items():
    own = module.removeprefix(f"{PACKAGE}.").split(".")[0]
    for name in imports(module, source):
      other = name.split(".")[0]
      strange = any(name == part or name.startswith(f"{part}.") for part in STRANGERS.get(own, ()))
      below = other == own or LEVEL.get(other, len(LAYERS)) < LEVEL[own] or LEVEL[own] == LEVEL.get(other) == 0
      if strange or not below:
        found.append(f"{module} imports {name}")
  return found


def package_sources() -> dict[str, str]:
  """The source of each module of the package."""
  return {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text()
    for path in sorted((ROOT / PACKAGE).rglob("*.py"))
  }


def test_every_folder_has_its_place():
  assert {module.split(".")[1] for module in package_sources()} <= LEVEL.keys()


def test_imports_point_downwards():
  assert violations(package_sources()) == []


@pytest.mark.parametrize(
  ("module", "line"),
  [
    ("data.replay", "from macaw_jax.evaluation.online import num_rows"),
    ("data.replay", "from macaw_jax.envs.rollout import make_rollout"),
    ("data.replay", "from macaw_jax.envs import rollout"),
    ("envs.ant", "def late():\n  from macaw_jax.data import manifest"),
    ("envs.ant", "import macaw_jax.training.loop as loop"),
    ("evaluation.rows", "if True:\n  from ..sources import replay"),
    ("losses.values", "from macaw_jax.data.dataset import Dataset"),
    ("losses.values", "from macaw_jax.objectives.values import Target"),
    ("objectives.values", "from macaw_jax.adaptation import chain"),
    ("sources.source", "from macaw_jax.training.run import Run"),
    ("training.session", "from macaw_jax.agent import Agent"),
    ("agent", "from macaw_jax.api import evaluate"),
    ("api", "from macaw_jax import cli"),
    ("errors", "from macaw_jax.data.manifest import DatasetError"),
    ("console", "from macaw_jax.training.loop import train"),
    ("training.loop", "from experiments.run import main"),
    ("types", "from macaw_jax import envs"),
  ],
)
def test_an_import_that_points_elsewhere_is_found(module, line):
  sources = package_sources() | {f"{PACKAGE}.{module}": line}
  assert [found for found in violations(sources) if found.startswith(f"{PACKAGE}.{module} imports")]


def test_a_cycle_between_folders_is_found():
  # Whatever the order of two folders is, one of their imports points upwards.
  cycle = {f"{PACKAGE}.data.a": "import macaw_jax.collection.b", f"{PACKAGE}.collection.b": "import macaw_jax.data.a"}
  assert len(violations(cycle)) == 1
