"""What LiteRT's kernels say: their names decide what ran as integers, and a crash of the profiler is a refusal."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lowbit.core.adapter import OpPrecision
from lowbit.core.errors import UnsupportedError
from lowbit.core.profile import Tensor
from lowbit.runtimes._litert_profile import FileOperator, _death, _places, executed, kernels_of

pytest.importorskip("ai_edge_litert")


def operator(op_type: str, precision: str = "s8s8", *, integer: bool = True, hybrid: bool = False) -> OpPrecision:
    return OpPrecision("layer", op_type, precision, integer, macs=10, hybrid=hybrid)


@pytest.mark.parametrize(
    ("kernel", "integer", "hybrid"),
    [
        ("Convolution (NHWC, QC8) IGEMM", True, False),
        ("Fully Connected (NC, QS8, QC8W) GEMM", True, False),
        ("Convolution (NHWC, F32) DWConv", False, False),
        ("Fully Connected (NC, F32, QC4W) GEMM", False, False),
        ("Convolution (NHWC, QDU8, F32, QC8W) IGEMM", True, True),
    ],
)
def test_a_kernels_name_is_better_proof_than_the_files_types(kernel: str, integer: bool, hybrid: bool) -> None:
    for promised in ((True, False), (True, True), (False, False)):
        before = operator("CONV_2D", integer=promised[0], hybrid=promised[1])
        found = executed(before, kernel)
        assert (found.integer, found.hybrid) == (integer, hybrid)
        assert (kernel in found.reason) == (promised != (integer, hybrid))  # where the two disagree, it is said


def test_a_kernel_that_tells_no_types_changes_nothing() -> None:
    before = operator("ADD")
    assert executed(before, "Add (ND)") is before
    assert executed(before, "BATCH_MATMUL") is before


def test_kernels_are_matched_in_order_with_operators_that_they_can_compute() -> None:
    types = ("CONV_2D", "ADD", "CONV_2D", "SOFTMAX", "DEPTHWISE_CONV_2D")
    operators = [
        FileOperator(10 + place, operator(kind), (), (Tensor(str(place), 1),)) for place, kind in enumerate(types)
    ]
    ran = [
        ("Convolution (NHWC, QC8) IGEMM", None),
        ("Add (ND)", None),
        ("Clamp (NC)", None),  # XNNPACK's own: the ADD's activation
        ("Fully Connected (NC, QS8, QC8W) GEMM", None),  # a convolution of one pixel
        ("Convolution (NHWC, QC8) DWConv", None),
        ("SOFTMAX", 13),  # LiteRT's own kernel tells the operator's number
    ]
    assert _places(ran, operators) == [0, 1, None, 2, 4, 3]


def test_a_file_that_the_library_refuses_is_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "no.tflite"
    path.write_bytes(b"\x00" * 64)
    with pytest.raises(UnsupportedError, match="LiteRt"):
        kernels_of(path, np.zeros((1, 8, 8, 3), np.float32), [], 1, 1)


def test_a_crash_of_the_profiler_names_the_signal() -> None:
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    ended = subprocess.run([sys.executable, "-c", crash], capture_output=True, text=True, check=False)
    assert "SIGSEGV" in _death(ended)
