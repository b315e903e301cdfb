"""Layouts of files that other projects use, read into episodes and written from them.

`FORMATS[name].read` gives tasks, `to_manifest` describes them, and `write_episodes` makes a dataset of them;
`write_dataset` does all three with arrays. Where episodes end is decided in `boundaries` for all of them. Files are
taken as possibly damaged or hostile: whatever is wrong with one is a `DatasetError`, and nothing in it is executed.
"""

from macaw_jax.data.formats import d4rl_hdf5, epoch_npy, macaw_hdf5, minari, pickled
from macaw_jax.data.formats.arrays import write_dataset
from macaw_jax.data.formats.contract import Format, Imported, ReadOptions
from macaw_jax.data.formats.convert import to_manifest
from macaw_jax.data.formats.family import check_fit, for_family

FORMATS: dict[str, Format] = {
  "macaw_hdf5": Format(macaw_hdf5.read, macaw_hdf5.write),
  "d4rl_hdf5": Format(d4rl_hdf5.read, d4rl_hdf5.write),
  "minari": Format(minari.read, minari.write),
  "epoch_npy": Format(epoch_npy.read, None),
  "pickle": Format(pickled.read, None),
}

__all__ = ["FORMATS", "Format", "Imported", "ReadOptions", "check_fit", "for_family", "to_manifest", "write_dataset"]
