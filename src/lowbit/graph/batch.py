"""Whether a graph takes any number of images: what it declares, and the proof by running it."""

import numpy as np
import onnx

from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.graph.values import dims, image_input


def check_batch(model: onnx.ModelProto, where: str, exported: int | None = None) -> int:
    """The number of outputs, proven by running: two images at once score as each of them alone.

    exported: the batch size that was fixed in the user's graph. BadInput when the graph cannot run on one and on two,
    or scores them differently: that batch size, or 1, is built into it.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    refusals = (errors.Fail, errors.InvalidArgument, errors.RuntimeException)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    value = image_input(model)
    shape = [side for side in (dims(value) or [])[1:] if isinstance(side, int)]
    images = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
    built_in = f"a batch size of {exported or 1} is built into it"
    remedy = "export it with a dynamic batch axis (torch.onnx.export: dynamic_shapes or dynamic_axes)"
    alone = []
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        if exported in (None, 1):
            alone = [session.run(None, {value.name: images[i : i + 1]})[0] for i in range(2)]
    except (*refusals, errors.InvalidGraph, errors.NotImplemented) as error:
        raise BadInput(f"{where}: ONNX Runtime cannot run it: {said(error)}; export it again") from error
    try:
        alone = alone or [session.run(None, {value.name: images[i : i + 1]})[0] for i in range(2)]
        together = session.run(None, {value.name: images})[0]
    except refusals as error:
        raise BadInput(f"{where}: {built_in} ({said(error)}); {remedy}") from error
    if exported in (None, 1) and (alone[0].ndim != 2 or len(alone[0]) != 1):
        raise BadInput(
            f"{where}: one image gives scores of shape {list(alone[0].shape)}, expected [1, classes]; "
            "export a classifier that ends in [N, classes]"
        )
    expected = np.concatenate(alone)
    difference = float(np.abs(together - expected).max()) if together.shape == expected.shape else np.inf
    if not difference <= 1e-3 * max(1.0, float(np.abs(expected).max())) or expected.ndim != 2 or len(expected) != 2:
        raise BadInput(
            f"{where}: two images together score differently than each alone (by {difference:.3g}, shape "
            f"{list(together.shape)}, expected {list(expected.shape)}): {built_in}; {remedy}"
        )
    return int(expected.shape[1])
