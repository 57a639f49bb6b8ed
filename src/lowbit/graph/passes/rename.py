"""Short names: exporters write paths that make a quantized file a quarter larger.

Requires: nothing.
Ensures: operators are named by kind and number ("Conv_12"), so are the values they give, each name once; inputs,
outputs and initializers keep their names.
"""

import onnx_ir as ir


def rename(model: ir.Model) -> None:
    """Rename operators and their values, in place."""
    taken = {value.name for value in (*model.graph.inputs, *model.graph.outputs)} | set(model.graph.initializers)
    for number, node in enumerate(model.graph):
        node.name = f"{node.op_type}_{number}"
        for index, value in enumerate(node.outputs):
            if value.name and not value.is_graph_output():
                name = node.name if index == 0 else f"{node.name}_{index}"
                while name in taken:
                    name += "_"
                taken.add(name)
                value.name = name
