"""The lines about a dataset that has been written: what it holds, what its scores mean, and what an import noted."""

import os
from collections.abc import Sequence

import numpy as np

from macaw_jax.console import log
from macaw_jax.data.dataset import Episodes
from macaw_jax.data.manifest import Manifest
from macaw_jax.data.references import scale_faults, scale_text


def report_written(to: str | os.PathLike[str], episodes: Sequence[Episodes], what: str) -> None:
  """Says what was written: tasks, transitions, episodes and their lengths."""
  lengths = np.concatenate([of_task.episode_length for of_task in episodes])
  log(f"wrote {os.fspath(to)}: {what}, {len(episodes)} tasks, {lengths.sum():,} transitions")
  log(f"episodes: {len(lengths):,}, of {lengths.min()} to {lengths.max()} steps, median {np.median(lengths):g}")


def report_import(
  to: str | os.PathLike[str], episodes: Sequence[Episodes], manifest: Manifest, why_not_trained_on: str
) -> None:
  """Says what was written, what scores 0 and 100 are, what was undone, cast or clipped, and what is missing."""
  report_written(to, episodes, manifest.family)
  log(scale_text(manifest.references))
  for note in manifest.behaviour["notes"]:
    log(f"note: {note}")
  for fault in scale_faults([entry.reference_returns for entry in manifest.tasks]):
    log(f"WARNING: {fault}")
  if why_not_trained_on:
    log(f"note: nothing can be trained on it: {why_not_trained_on}")
