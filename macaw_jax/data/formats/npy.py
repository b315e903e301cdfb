"""Arrays in `.npy` files, of numbers or of objects."""

import io
import math

import numpy as np

from macaw_jax.data.formats.files import short
from macaw_jax.data.formats.unpickle import unpickle
from macaw_jax.data.manifest import DatasetError


def parse_npy(data: bytes, where: str) -> np.ndarray:
  """The array in the bytes of a `.npy` file; `where` names them in messages.

  Raises:
    DatasetError: they are damaged, or hold anything but numbers, booleans, text, or plain containers of them.
  """
  stream = io.BytesIO(data)
  try:
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, fortran_order, dtype = read_header(stream)
  # A damaged header fails in as many ways as there are parts of it.
  except Exception as error:
    raise DatasetError(f"{where}: expected a .npy file, got {short(error)}") from error
  content = data[stream.tell() :]
  if dtype.kind == "O":
    array = unpickle(content, where)
    if not isinstance(array, np.ndarray) or array.dtype.kind != "O" or array.shape != shape:
      raise DatasetError(f"{where}: expected an object array of shape {shape} as in the header, got another")
    return array
  if dtype.kind not in "biufU" or dtype.subdtype is not None:
    raise DatasetError(f"{where}: expected an array of numbers, got {dtype}")
  if math.prod(shape) * dtype.itemsize != len(content):
    raise DatasetError(f"{where}: expected {math.prod(shape) * dtype.itemsize} bytes of data, got {len(content)}")
  return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
