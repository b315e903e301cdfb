"""`experiments.data explain`: which training tasks explain data of the test tasks, whoever collected them."""

from pathlib import Path

import jax

from macaw_jax import envs
from macaw_jax.console import log
from macaw_jax.data.dataset import Dataset, load_dataset
from macaw_jax.data.explanation import explain_supports
from macaw_jax.data.inspection import parameter_vectors
from macaw_jax.data.manifest import MANIFEST_FILE, Manifest, read_manifest
from macaw_jax.data.relabel import OTHER_POLICIES, other_policies_directory
from macaw_jax.data.reward_model import READ
from macaw_jax.data.statistics import fit_statistics, normalise_dataset
from macaw_jax.data.tasks import tasks_of
from macaw_jax.envs.names import parse_name
from macaw_jax.errors import ConfigurationError
from macaw_jax.evaluation.random_policy import random_policy_dataset
from macaw_jax.retrieval import RetrievalSettings, fit_reference

from .command_line import draw_if_wanted
from .data_report import explanation_table, plot_explanation


def explain_dataset(
  directory: str, *, differ_in: str, support_size: int, num_supports: int, seed: int, picture: Path | None
) -> None:
  """Fits the model that retrieval uses to the training tasks, and prints how it explains supports of the test tasks.

  Raises:
    DatasetError: a dataset is broken.
    ConfigurationError: the dataset has no test tasks or one training task, a task has too few transitions, or the
      picture cannot be drawn.
  """
  manifest = read_manifest(directory)
  if not manifest.test_tasks or len(manifest.train_tasks) < 2:
    raise ConfigurationError(f"{directory}: expected two training tasks or more and a test task, to be explained")
  vectors = parameter_vectors(manifest)
  if picture is not None and (vectors is None or vectors.shape[1] > 2):
    raise ConfigurationError(f"--picture: expected tasks of one or two numbers, to be drawn; {directory} has others")
  recorded = _sources(directory, manifest, support_size)
  for name, data in recorded.items():
    if (least := int(data.size.min())) < support_size:
      raise ConfigurationError(f"--support_size={support_size}: {directory} has {least} transitions of a task ({name})")
  train = load_dataset(directory, tasks=manifest.train_tasks)
  statistics, read = fit_statistics(train), READ[differ_in]
  log(f"fitting the {differ_in} of {len(manifest.train_tasks)} training tasks ...")
  settings = RetrievalSettings(differ_in)
  reference = fit_reference(normalise_dataset(statistics, train), settings, jax.random.key(seed))
  sources = {name: normalise_dataset(statistics, data) for name, data in recorded.items()}
  found = explain_supports(
    reference,
    read,
    sources,
    sources["own"],
    jax.random.fold_in(jax.random.key(seed), 1),
    support_size=support_size,
    num_supports=num_supports,
  )
  log(f"\n{explanation_table(manifest, found, differ_in, support_size)}")
  draw_if_wanted(picture, lambda path: plot_explanation(path, manifest, found))


def _sources(directory: str, manifest: Manifest, support_size: int) -> dict[str, Dataset]:
  """Data of the test tasks: their own, those of other policies beside them, and random ones where a family has them."""
  tasks = manifest.test_tasks
  found = {"own": load_dataset(directory, tasks=tasks)}
  for name in OTHER_POLICIES:
    beside = other_policies_directory(directory, name)
    if (Path(beside) / MANIFEST_FILE).is_file():
      found[name] = load_dataset(beside, tasks=tasks)
  base = parse_name(manifest.family).base
  if base in envs.FAMILIES:
    family = envs.make(manifest.family)
    chosen = tasks_of(manifest, family, tasks)
    found["random"] = random_policy_dataset(family, chosen, discount=manifest.discount, support_size=support_size)
  return found
