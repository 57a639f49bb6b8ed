"""The torch runtime: TorchScript files on the CPU, in float32 or, on request, with bfloat16 arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowbit.core.adapter import Floats, OpPrecision, RuntimeInfo, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import UnsupportedError
from lowbit.core.profile import TimedRuns
from lowbit.core.refusal import vendor_call

INFO = RuntimeInfo(
    name="torch",
    packages=("torch",),
    extra="torch",
    reads=("torchscript",),
    limits={  # for ATen's own kernels, and for those of the two libraries that compute int8: oneDNN and FBGEMM
        isa: {"ATEN_CPU_CAPABILITY": aten, "ONEDNN_MAX_CPU_ISA": onednn, "FBGEMM_ENABLE_INSTRUCTIONS": fbgemm}
        for isa, aten, onednn, fbgemm in (
            ("avx2", "avx2", "AVX2", "AVX2"),
            ("avx512", "avx512", "AVX512_CORE", "AVX512"),
            ("avx512_vnni", "avx512", "AVX512_CORE_VNNI", "AVX512_E1"),
        )
    },
)

_RUNS_UNTIL_SETTLED = 2  # TorchScript profiles the first call, optimizes at the second


@dataclass(frozen=True, slots=True, eq=False)
class TorchSession:
    """A loaded graph with a free batch size; sample (C, H, W); batch_size: of the session's options."""

    model: Any
    sample: tuple[int, int, int]
    batch_size: int

    def predict(self, images: Floats) -> Floats:
        """Scores [N, outputs] of images [N, C, H, W]."""
        import torch

        with torch.inference_mode():
            scores = self.model(torch.from_numpy(np.ascontiguousarray(images)))
            return np.asarray(scores.float().numpy())

    def executed_precision(self) -> list[OpPrecision]:
        """Every operator that torch's dispatcher runs for one batch."""
        import torch

        from lowbit.runtimes.torch_recorder import Recorder

        image = torch.zeros(self.batch_size, *self.sample)
        recorder = Recorder(self.batch_size)
        with torch.inference_mode():
            for _ in range(_RUNS_UNTIL_SETTLED):
                self.model(image)
            with recorder:
                self.model(image)
        return recorder.operators

    def profile(self, images: Floats, runs: int) -> TimedRuns:
        """Every operator of the graph, timed by torch.profiler in this very session."""
        import torch

        from lowbit.runtimes.torch_profile import timed_runs

        image = torch.from_numpy(np.ascontiguousarray(images))
        with torch.inference_mode():
            for _ in range(_RUNS_UNTIL_SETTLED):
                self.model(image)
        return timed_runs(self.model, image, runs)


def warm_up(options: SessionOptions) -> None:
    """Trace and run one convolution, so that TorchScript and oneDNN are resident."""
    import torch

    _set_threads(options.threads)
    jit: Any = torch.jit  # carries no types
    with torch.inference_mode():
        image = torch.zeros(1, 1, 1, 1)
        jit.trace(torch.nn.Conv2d(1, 1, 1).eval(), image, check_trace=False)(image)


@contextmanager
def open_session(artifact: Artifact, options: SessionOptions) -> Iterator[TorchSession]:
    """Load the file. Raises UnsupportedError where it is no TorchScript, or for a precision other than f32 and bf16."""
    import torch

    precision = artifact.runtime_options.get("precision", "f32")
    if precision not in ("f32", "bf16"):
        raise UnsupportedError(f"the torch runtime computes in f32 or bf16, not in {precision!r}")
    _set_threads(options.threads)
    jit: Any = torch.jit  # carries no types
    with vendor_call("torch cannot load it", artifact.path, "build it again", (ValueError, RuntimeError)):
        model = jit.load(str(artifact.path), map_location="cpu").eval()
    if precision == "bf16":
        model = _in_bf16(model)
    yield TorchSession(model, artifact.input_shape, options.batch_size)


def _in_bf16(model: Any) -> Any:
    """`model` frozen under autocast, which writes the casts into the graph: weights are cast once, not every call."""
    import torch

    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        return torch.jit.freeze(model)


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)
