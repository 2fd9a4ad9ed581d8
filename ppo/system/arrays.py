"""Arrays that TensorFlow can use without a copy, and their division into equal slices."""

import itertools

import numpy as np

ALIGNMENT = 64  # bytes


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return zeros at an address that is a multiple of ALIGNMENT."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    begin = -raw.ctypes.data % ALIGNMENT
    return raw[begin : begin + size].view(dtype).reshape(shape)


def is_shareable(array: np.ndarray) -> bool:
    """Whether TensorFlow can use the array without a copy."""
    flags = array.flags
    return flags.writeable and flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0


def cuts(size: int, parts: int) -> list[tuple[int, int]]:
    """Return begin and end of each slice that is not empty, if ``size`` rows are cut in parts."""
    ends = [size * i // parts for i in range(parts + 1)]
    return [(a, b) for a, b in itertools.pairwise(ends) if b > a]
