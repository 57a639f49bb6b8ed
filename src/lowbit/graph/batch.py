"""A free batch size: most exporters write 1, quantizers and throughput runs need any."""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.graph.check import dims, image_input

BATCH = "batch"

Floats = npt.NDArray[np.float32]


def is_free(model: onnx.ModelProto) -> bool:
    """Whether the graph declares a free batch size."""
    shape = dims(image_input(model))
    return shape is not None and not isinstance(shape[0], int)


def free_batch(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """A copy whose batch size is free; BadInput for a fixed one other than 1.

    A Reshape to a constant shape holds the batch size that was exported: its first axis becomes -1, "what is left", and
    the others what they were. Whether the first axis was the batch's, `check_batch` finds out.
    """
    fixed = (dims(image_input(model)) or [None])[0]
    if isinstance(fixed, int) and fixed != 1:
        raise BadInput(
            f"{where}: its batch size is fixed at {fixed}, expected a free one or 1; "
            "export it with a dynamic batch axis"
        )
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    if fixed == 1:
        _free_reshapes(freed)
        del freed.graph.value_info[:]  # they carry the old batch size
    for value in (image_input(freed), freed.graph.output[0]):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH
    return freed


def check_batch(model: onnx.ModelProto, where: str) -> int:
    """The number of outputs, proven by running: two images at once score as each of them alone.

    BadInput when they do not, or when the graph cannot run on two at all: a batch size of 1 is built into it.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    value = image_input(model)
    shape = [side for side in (dims(value) or [])[1:] if isinstance(side, int)]
    images = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        alone = [session.run(None, {value.name: images[i : i + 1]})[0] for i in range(2)]
    except (
        errors.Fail,
        errors.InvalidGraph,
        errors.InvalidArgument,
        errors.NotImplemented,
        errors.RuntimeException,
    ) as error:
        raise BadInput(f"{where}: ONNX Runtime cannot run it: {said(error)}; export it again") from error
    remedy = "export it with a dynamic batch axis (torch.onnx.export: dynamic_shapes or dynamic_axes)"
    try:
        together = session.run(None, {value.name: images})[0]
    except (errors.Fail, errors.InvalidArgument, errors.RuntimeException) as error:
        raise BadInput(f"{where}: a batch size of 1 is built into it ({said(error)}); {remedy}") from error
    if alone[0].ndim != 2 or len(alone[0]) != 1:
        raise BadInput(
            f"{where}: one image gives scores of shape {list(alone[0].shape)}, expected [1, classes]; "
            "export a classifier that ends in [N, classes]"
        )
    expected = np.concatenate(alone)
    difference = float(np.abs(together - expected).max()) if together.shape == expected.shape else np.inf
    if not difference <= 1e-3 * max(1.0, float(np.abs(expected).max())):
        raise BadInput(
            f"{where}: two images together score differently than each alone (by {difference:.3g}, shape "
            f"{list(together.shape)}, expected {list(expected.shape)}): a batch size of 1 is built into it; {remedy}"
        )
    return int(expected.shape[1])


def _free_reshapes(model: onnx.ModelProto) -> None:
    """[1, a, b] becomes [-1, a, b] wherever a Reshape's target is a constant; a and b by shape inference."""
    shapes = {value.name: dims(value) for value in (*model.graph.value_info, *model.graph.output)}
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    for number, node in enumerate(model.graph.node):
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        sides = (shapes.get(node.output[0]) or [None])[1:]
        if all(isinstance(side, int) for side in sides):
            name = f"free_shape_{number}"
            model.graph.initializer.append(numpy_helper.from_array(np.array([-1, *sides], np.int64), name))
            node.input[1] = name
