"""What every IR that lowbit writes needs: constants computed before, and names that do not change from file to file."""

import re
from typing import Any


def fold_constants(model: Any) -> None:
    """Compute now what depends on constants only, in an `openvino.Model`.

    OpenVINO reads a bias as a dozen nodes, and a grouped convolution's weights as a Constant behind a Reshape. NNCF
    then takes a kernel's column for a channel, and OpenVINO runs those layers in float: MobileNetV2 would lose 2.7
    points.
    """
    from openvino.passes import ConstantFolding, Manager

    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)


def number_by_place(model: Any, given: set[str]) -> None:
    """Rename the nodes that OpenVINO numbered itself: its numbers run on from file to file, and bytes would differ.

    `given`: the names that stood in the user's file; they stay.
    """
    for place, node in enumerate(model.get_ordered_ops()):
        name = node.get_friendly_name()
        if name not in given and re.fullmatch(r"[A-Za-z]+_\d+", name):
            node.set_friendly_name(f"{node.get_type_name()}_at_{place}")
