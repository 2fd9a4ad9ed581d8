"""What decides a run's bits besides its settings: what is forced, and what is recorded."""

import os

import pytest

from ppo.system import numerics

X86 = """processor\t: 0
model name\t: A Processor
cpu family\t: 25
model\t\t: 1
flags\t\t: fpu smep sse2 fma avx512f avx2 amx_tile

processor\t: 1
flags\t\t: avx512_fp16
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd sve2 bf16\nCPU part\t: 0xd40\n"


@pytest.fixture
def variables(monkeypatch):
    """The process's variables, without any that decides bits; tests change a copy."""
    other = {n: v for n, v in os.environ.items() if not n.startswith(("TF_ENABLE", "ONEDNN"))}
    monkeypatch.setattr(os, "environ", other)
    monkeypatch.setattr(numerics, "_missed", {})
    return other


@pytest.mark.parametrize(
    "name",
    [
        *("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
        *("ONEDNN_CPU_ISA_HINTS", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"),
        *("TF_SET_ONEDNN_FPMATH_MODE", "TF_DISABLE_MKL", "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"),
        *("TF_XLA_FLAGS", "TF_FUNCTION_JIT_COMPILE_DEFAULT", "TF_NUM_INTRAOP_THREADS"),
        *("TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_LEVEL", "TF_OVERRIDE_GLOBAL_THREADPOOL"),
        *("TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL", "TF2_BEHAVIOR", "TF_USE_DEEP_CONV2D"),
    ],
)
def test_a_variable_that_changes_kernels_is_forced(name, variables):
    variables[name] = "0"
    assert numerics.force(too_late=False) == {name: "0"}
    assert variables.get(name) == numerics.FORCED.get(name)
    assert variables["TF_ENABLE_ONEDNN_OPTS"] == "1"
    assert numerics.force(too_late=False) == {}  # it is said once
    assert numerics.environment() == "default"


@pytest.mark.parametrize(
    "name",
    [
        *("ONEDNN_VERBOSE", "DNNL_JIT_DUMP", "TF_CPP_MIN_LOG_LEVEL", "TF_CONFIG", "TF_VAR_secret"),
        *("TF_CLI_CONFIG_FILE", "TF_FORCE_GPU_ALLOW_GROWTH", "CUDA_VISIBLE_DEVICES", "OMP_X"),
    ],
)
def test_any_other_variable_stays_and_is_not_recorded(name, variables):
    variables[name] = "1"
    assert numerics.force(too_late=False) == {}
    assert variables[name] == "1"
    assert numerics.environment() == "default"


def test_a_variable_that_cannot_be_forced_is_recorded(variables):
    variables |= {"NVIDIA_TF32_OVERRIDE": "0", "GLIBC_TUNABLES": "a b"}
    assert numerics.force(too_late=False) == {}
    assert numerics.environment() == "'GLIBC_TUNABLES=a b' NVIDIA_TF32_OVERRIDE=0"


def test_a_variable_that_is_forced_too_late_is_recorded_as_it_was_read(variables):
    variables |= {"ONEDNN_MAX_CPU_ISA": "SSE41", "TF2_BEHAVIOR": "1"}  # TensorFlow sets that
    read = {"ONEDNN_MAX_CPU_ISA": "SSE41", "TF_ENABLE_ONEDNN_OPTS": "unset"}
    assert numerics.force(too_late=True) == read
    assert numerics.environment() == "ONEDNN_MAX_CPU_ISA=SSE41 TF_ENABLE_ONEDNN_OPTS=unset"


@pytest.mark.parametrize(
    ("content", "description"),
    [
        (X86, "A Processor, 25, 1 (amx_tile avx2 avx512f fma; 32K 1024K)"),
        (ARM, "0xd40 (asimd bf16 sve2; 32K 1024K)"),
    ],
)
def test_a_processor_is_its_model_its_instruction_sets_and_its_caches(
    content, description, tmp_path, monkeypatch
):
    for name, text in (("index0/size", "32K\n"), ("index1/size", "1024K\n"), ("cpuinfo", content)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(numerics, "CACHES", tmp_path)
    monkeypatch.setattr(numerics, "CPU_INFO", tmp_path / "cpuinfo")
    assert numerics.processor() == description
    monkeypatch.setattr(numerics, "CPU_INFO", tmp_path / "none")
    assert numerics.processor() == "unknown"


def test_only_what_was_recorded_can_differ():
    now = {"numpy": "2", "processor": "B", "environment": "default"}
    assert [*numerics.differences({"numpy": "2"}, now)] == []
    assert [*numerics.differences({"numpy": "1", "gone": "3"}, now)] == [
        ("numpy", "1", "2"),
        ("gone", "3", "unknown"),
    ]
