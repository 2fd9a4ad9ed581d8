"""Arrays that TensorFlow can take as they lie in memory, without a copy."""

import numpy as np

ALIGNMENT = 64  # bytes


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros that begin at a multiple of ALIGNMENT."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    begin = -raw.ctypes.data % ALIGNMENT
    return raw[begin : begin + size].view(dtype).reshape(shape)


def is_shareable(array: np.ndarray) -> bool:
    """Whether TensorFlow can take the array as it lies."""
    flags = array.flags
    return flags.writeable and flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0
