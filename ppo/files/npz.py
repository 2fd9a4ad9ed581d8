"""NumPy's ``npz`` as bytes, read without trust in its sizes and without pickle."""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np


def pack(arrays: Mapping[str, np.ndarray], facts: object = None) -> bytes:
    """Return named arrays as ``np.savez`` writes them, preceded by ``facts`` as JSON if given."""
    buffer = io.BytesIO()
    text = {} if facts is None else {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
    np.savez(buffer, **text, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack_with_facts(body: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """Return facts and arrays of ``pack``. Raises as ``unpack``, ValueError or KeyError."""
    arrays = unpack(body)
    return json.loads(arrays.pop("facts").tobytes()), arrays


def unpack(body: bytes) -> dict[str, np.ndarray]:
    """Return an ``npz``'s arrays. Raises ValueError if it is compressed, or claims too much."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        members = archive.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if not stored or sum(member.file_size for member in members) > len(body):
            raise ValueError("it is compressed, or its headers claim more bytes than it has")
        return {m.filename.removesuffix(".npy"): _array(archive.read(m)) for m in members}


def _array(content: bytes) -> np.ndarray:
    """Return the array in a file. Raises ValueError unless it has just what its header says."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    shape, fortran, dtype = _HEADS[version](file)
    size = len(content) - file.tell()
    if dtype.kind not in "biuf" or min(shape, default=0) < 0:
        raise ValueError(f"it holds an array of {dtype} of shape {shape}")
    if math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"an array of shape {shape} cannot have {size} bytes")
    order: Literal["C", "F"] = "F" if fortran else "C"
    return np.ndarray(shape, dtype, content, offset=file.tell(), order=order).copy("K")


_HEADS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
