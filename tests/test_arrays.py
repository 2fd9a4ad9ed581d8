import numpy as np
import pytest
import tensorflow as tf

from ppo.system.arrays import ALIGNMENT, aligned_zeros, is_shareable


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int32])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (128, 8, 84, 84, 4)])
def test_aligned_zeros_are_zeros_that_can_be_shared(shape, dtype):
    array = aligned_zeros(shape, np.dtype(dtype))
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert not array.any() and array.ctypes.data % ALIGNMENT == 0
    assert is_shareable(array) and is_shareable(array.reshape(-1))
    tensor = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    array[...] = 1
    assert (tensor.numpy() == 1).all()


def test_unaligned_and_read_only_arrays_cannot_be_shared():
    array = aligned_zeros((8, 16), np.dtype(np.float32))
    assert not is_shareable(array[:, 1:])
    assert not is_shareable(array.reshape(-1)[1:])
    array.flags.writeable = False
    assert not is_shareable(array)
