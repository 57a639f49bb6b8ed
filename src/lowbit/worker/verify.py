"""Job `verify`: compares a built file with the integer reference in one runtime, layer by layer and as a whole."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from lowbit.core.adapter import Floats, RunCodes, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.discover import require
from lowbit.core.errors import UnsupportedError
from lowbit.core.format import file_format
from lowbit.core.verified import LayerCheck, UncheckedLayer, Verified
from lowbit.data.cache import open_samples
from lowbit.data.preprocess import to_input
from lowbit.formats.layers import write_layer
from lowbit.formats.onnx.write import export_onnx, layer_file
from lowbit.formats.part import Part, parts
from lowbit.measure.accuracy import in_batches_of
from lowbit.measure.verify import Array, check_layer, check_scores
from lowbit.quant.model import QuantizedModel
from lowbit.quant.stored import load_quantized
from lowbit.reference.graph import load_integer_graph
from lowbit.reference.op import real
from lowbit.reference.values import Requantize, by_fixed_point, by_fixed_point_ties_up, by_float, nudged
from lowbit.runtimes.find import OpensCodes, Runtime, runtimes
from lowbit.worker.jobs import VerifyJob

_WAYS = {"float": by_float, "fixed-point": by_fixed_point, "fixed-point, ties up": by_fixed_point_ties_up}
_CODES = 1 << 20  # most input codes for one part, in whole images: enough to notice one wrong code in a thousand
_AGREES = 0.999
_TIE = 0.01  # in codes: a value this close to the middle between two codes may be rounded to either
_EITHER = "float, ties either way"


def run(job: VerifyJob) -> Verified:
    """Load what the build left for verification, and compare on the first calibration images."""
    model = load_quantized(job.evidence)
    images = to_input(open_samples(job.samples, "calibration").images[: job.images], job.preprocess)
    return verify_artifact(model, job.artifact, job.runtime, images, threads=job.threads)


def verify_artifact(
    model: QuantizedModel, artifact: Artifact, runtime: str, images: Floats, *, threads: int = 1
) -> Verified:
    """Compare `artifact` with the reference in `runtime`, on images [N, C, H, W].

    Every part of `model` that computes on codes alone is compared by itself, then the whole file. The reference runs
    the ONNX file of the same model.

    Raises MissingPackage for a runtime that is not installed. Raises UnsupportedError for a runtime in which nothing
    can be verified, where the runtime refuses the whole file, and where the reference cannot compute the model. A
    single layer that the runtime refuses is listed with the reason.
    """
    module = runtimes((runtime,))[runtime]
    require(module.INFO)
    if not isinstance(module, OpensCodes):
        raise UnsupportedError(f"the runtime {runtime} cannot run a layer alone, on codes", "verify in another runtime")
    options = SessionOptions(threads, artifact.batch_size or len(images))
    suffix = file_format(artifact.format).main_suffix
    found, left = parts(model)
    unchecked = [UncheckedLayer(name, why) for name, why in left.items()]
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        whole = Path(folder) / "whole.onnx"
        export_onnx(model, whole)
        graph = load_integer_graph(onnx.load(whole))
        reads = {read for part in found for read in part.reads}
        values, kept = graph.run_and_keep({graph.inputs[0]: images}, reads, _CODES)
        checks = []
        for number, part in enumerate(found):
            path = Path(folder) / f"{number}{suffix}"
            try:
                write_layer(model, part.node, artifact.format, path)
                opened = module.open_codes(path, part.ports, options)
                checks.append(_check(model, part, [kept[read] for read in part.reads], opened))
            except UnsupportedError as error:
                unchecked.append(UncheckedLayer(part.node, error.reason))
    expected = np.array(real(values[graph.outputs[0]]), np.float32).reshape(len(images), -1)
    scores = _scores(artifact, module, images, options)
    output = model.main.get(graph.outputs[0])
    step = None if output is None else float(output.scale)
    return Verified(runtime, tuple(checks), tuple(unchecked), check_scores(expected, scores, step))


def _check(model: QuantizedModel, part: Part, codes: Sequence[Array], runtime: RunCodes) -> LayerCheck:
    """Compare one part with every way to requantize. Where none agrees, ties may be rounded either way.

    The sums of an addition or a mean often lie exactly between two codes, and runtimes compute them in float.
    """
    alone = load_integer_graph(layer_file(model, part.node))

    def by(requantize: Requantize) -> RunCodes:
        def reference(given: Sequence[Array]) -> Array:
            feeds = dict(zip(alone.inputs, given, strict=True))
            return np.asarray(real(alone.run(feeds, requantize=requantize)[alone.outputs[0]]))

        return reference

    seen = runtime(codes)
    check = check_layer(part.node, part.op_type, codes, {way: by(one) for way, one in _WAYS.items()}, lambda _: seen)
    if check.equal >= _AGREES or seen.dtype.kind == "f":
        return check
    low, high = (by(nudged(shift))(codes) for shift in (-_TIE, _TIE))
    between = float(((low <= seen) & (seen <= high)).mean())
    return replace(check, equal=between, requantize=_EITHER) if between > check.equal else check


def _scores(artifact: Artifact, runtime: Runtime, images: Floats, options: SessionOptions) -> Floats:
    """Scores [N, outputs] of the whole file."""
    size = options.batch_size
    with runtime.open_session(artifact, options) as session:
        predict = in_batches_of(session.predict, size)
        return np.concatenate([predict(images[first : first + size]) for first in range(0, len(images), size)])
