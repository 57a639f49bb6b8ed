"""torchvision's networks, exported by torch and cleaned, as Keras twins: outputs, what is moved, and the float file."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch.export import Dim

from lowbit.graph.clean import clean
from lowbit.sources.torch_operators import declare_torchvision_operators
from tests.runtime.test_importer_torchvision import NETWORKS, network

tf: Any = pytest.importorskip("tensorflow")
tf_keras: Any = pytest.importorskip("tf_keras")
pytestmark = pytest.mark.slow

BATCH = 2
MOVES = {"vit_b_16": 86, "swin_t": 200, "shufflenet_v2_x0_5": 16, "alexnet": 3, "vgg19": 3}
"""Network → how often entries may change their places; in all others never.

Attention takes heads apart and puts them together, seven times a layer. In the last two an adaptive pooling gives more
pixels than it reads, which is exported as GatherND.
"""


@pytest.fixture(scope="module")
def torchvision() -> Any:
    declare_torchvision_operators()
    return pytest.importorskip("torchvision")


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_twin_and_file(torchvision: Any, tmp_path: Path, name: str, size: int) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from lowbit.kerasgraph.importer import import_graph
    from lowbit.toolchains._tensorflow_twin import traced

    path, example = tmp_path / "network.onnx", torch.randn(2, 3, size, size)
    module = network(torchvision, name, size)
    torch.onnx.export(module, (example,), path, dynamo=True, dynamic_shapes=({0: Dim("batch")},), verbose=False)
    onnx.save(clean(onnx.load(path)), path)
    x = np.random.default_rng(0).normal(size=(BATCH, 3, size, size)).astype(np.float32)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: x})[0]
    tolerance = 1e-4 * max(1.0, float(np.abs(expected).max()))

    tf_keras.backend.clear_session()
    twin = traced(import_graph(path, BATCH), (3, size, size), BATCH)
    np.testing.assert_allclose(twin.predict(x), expected, atol=tolerance)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(twin.function)])
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], twin.fed(x))
    interpreter.invoke()
    scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(scores, expected, atol=10 * tolerance)
    moved = sum(operator["op_name"] == "TRANSPOSE" for operator in interpreter._get_ops_details())
    assert moved <= MOVES.get(name, 0)
