"""What determines a run's bits besides its settings: environment variables, libraries, the
processor.

Variables are set if that still has an effect. Everything else is recorded.
"""

import os
import platform
import re
import shlex
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
PACKAGES = ("tensorflow", "keras", "numpy", "ale-py", "gymnasium")

# If it is unset, TensorFlow turns oneDNN off on some processors. The convolutions' filter gradients
# then take several times as long. TensorFlow sets TF2_BEHAVIOR itself.
FORCED = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF2_BEHAVIOR": "1"}

# Variables by which TensorFlow and oneDNN choose kernels, precision, compiler and threads.
REMOVED = re.compile(
    r"_?(ONEDNN|DNNL)_(?!VERBOSE|JIT_|PRIMITIVE_CACHE)\w+"
    r"|TF_(SET_|ENABLE_)?(ONEDNN|ZENDNN)_\w+|TF_DISABLE_MKL|TENSORFLOW_USE_\w+"
    r"|TF_XLA_\w+|TF_(FUNCTION_)?JIT_COMPILE_\w+|TF_AUTO_MIXED_PRECISION_\w+"
    r"|TF_NUM_INT(RA|ER)OP_THREADS|TF_OVERRIDE_GLOBAL_THREADPOOL"
    r"|TF_USE_(DEEP_CONV2D|DEFAULT_CONV_ALGO|EIGEN_\w+|LEGACY_KERAS)"
    r"|TF_ENABLE_(COND|CONTROL_FLOW|TENSOR_ARRAY|WHILE)_V2|TF_OPTIONALS_IN_GRADIENTS"
)
# Variables that only a GPU's computation depends on, or that a user needs for a GPU; and variables
# that are read before any code of this package runs.
RECORDED = re.compile(
    r"TF_\w*DETERMINIS\w+|TF_(CUDNN|CUBLAS|MATMUL|CONV2D|FP16|AUTOTUNE|ENABLE_WINOGRAD)_\w+"
    r"|TF_(USE_CU|DISABLE_(JIT|RZ)_)\w+|TF_PLUGGABLE_DEVICE_LIBRARY_PATH|XLA_FLAGS"
    r"|NVIDIA_TF32_OVERRIDE|CUBLAS\w*_\w+|CUDNN_\w+|NCCL_(ALGO|PROTO)"
    r"|NPY_(DIS|EN)ABLE_CPU_FEATURES|OPENBLAS_CORETYPE|OPENCV_(CPU_DISABLE|IPP)|GLIBC_TUNABLES"
)
# Instruction sets of sums and products; TensorFlow needs AVX on x86.
INSTRUCTIONS = re.compile(r"(avx|amx|asimd|sve)\w*|fma|f16c|sme2?|bf16|i8mm")

# The values of variables that were forced after TensorFlow had read them.
_missed: dict[str, str] = {}


def force(too_late: bool) -> dict[str, str]:
    """Set FORCED and remove REMOVED. Return the variables that differed, with their values. If it
    is ``too_late`` because TensorFlow has read them, they are recorded.
    """
    known = FORCED.keys() | filter(REMOVED.fullmatch, os.environ)
    present = {name: os.environ[name] for name in sorted(known & os.environ.keys())}
    changed = {name: value for name, value in present.items() if value != FORCED.get(name)}
    for name in changed:
        del os.environ[name]
    os.environ.update(FORCED)
    if too_late:
        changed |= dict.fromkeys(FORCED.keys() - present.keys(), "unset")
        _missed.update(changed)
    return changed


def facts() -> dict[str, str]:
    """Return what determines a run's bits here, by name. TensorFlow must have been started."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = map(tf.config.experimental.get_device_details, gpus)
    names = [detail.get("device_name", gpu.name) for gpu, detail in zip(gpus, details, strict=True)]
    return {
        **{name: version(name) for name in PACKAGES},
        "C library": " ".join(platform.libc_ver()) or "unknown",
        "processor": processor(),
        "GPU": ", ".join(names) or "none",
        "environment": environment(),
    }


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return name, value before and value now of each recorded fact that differs."""
    known = ((name, old, now.get(name, "unknown")) for name, old in before.items())
    return [(name, old, new) for name, old, new in known if new != old]


def environment() -> str:
    """Return the recorded variables that are set, as a shell has them; "default" if none is."""
    known = {name: value for name, value in os.environ.items() if RECORDED.fullmatch(name)}
    known |= _missed
    return shlex.join(f"{name}={value}" for name, value in sorted(known.items())) or "default"


def processor() -> str:
    """Return the processor's model, instruction sets and caches. Libraries choose their kernels,
    and so the order of sums, by these.
    """
    try:
        lines = CPU_INFO.read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return "unknown"
    pairs = (line.partition(":") for line in lines)
    known = {key.strip(): value.strip() for key, _, value in pairs}
    names = ("model name", "cpu family", "model", "CPU part")
    model = [known[name] for name in names if name in known]
    flags = known.get("flags", known.get("Features", "")).split()
    instructions = sorted(flag for flag in flags if INSTRUCTIONS.fullmatch(flag))
    return f"{', '.join(model)} ({' '.join(instructions)}; {_caches()})"


def _caches() -> str:
    try:
        return " ".join(path.read_text().strip() for path in sorted(CACHES.glob("index*/size")))
    except OSError:
        return ""
