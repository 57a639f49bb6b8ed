"""The null toolchain: its files cost nothing to make, so that a study's remaining time is that of the harness.

It is hidden: used only when it is named. Besides `fp32` and `int8-static`, it has recipes whose file makes the null
runtime misbehave (`BEHAVIOURS` there) or whose build fails, so that every way in which a cell can end can be produced.
"""

import json
import os
import signal

from lowbit.core.adapter import BuildRequest, Built, ToolchainInfo
from lowbit.core.errors import BadInput
from lowbit.core.recipe import Recipe

MISSING = "no-such-package-for-the-null-toolchain"

INFO = ToolchainInfo(
    name="null",
    packages=(),
    extra=None,
    makes="null",
    made_for=("null",),
    recipes=(
        Recipe("fp32", 32, 32, "float"),
        Recipe("int8-static", 8, 8, "integer"),
        Recipe("crash", 32, 32, "float", {"behaviour": "crash"}),
        Recipe("hang", 32, 32, "float", {"behaviour": "hang"}),
        Recipe("memory", 32, 32, "float", {"behaviour": "memory"}),
        Recipe("refuse", 32, 32, "float", {"behaviour": "refuse"}),
        Recipe("raise", 32, 32, "float", {"behaviour": "raise"}),
        Recipe("nan", 32, 32, "float", {"behaviour": "nan"}),
        Recipe("constant", 32, 32, "float", {"behaviour": "constant"}),
        Recipe("bad-build", 32, 32, "float", {"build": "bad-input"}),
        Recipe("crashed-build", 32, 32, "float", {"build": "crash"}),
        Recipe("needs-more", 32, 32, "float", packages=(MISSING,), extra="litert"),
    ),
    refuses={"fp16": "the null toolchain has no half precision"},
    hidden=True,
)


def build(request: BuildRequest) -> Built:
    """Write a few bytes of JSON: the null runtime's scores, the precision that it reports, and its behaviour."""
    if request.recipe.options.get("build") == "bad-input":
        raise BadInput("the null toolchain was told to find its input bad; name another recipe")
    if request.recipe.options.get("build") == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    main = request.out / "model.null.json"
    content = {
        "outputs": request.model.outputs,
        "weight_bits": request.recipe.weight_bits,
        "macs": sum(layer.macs for layer in request.model.layer_macs),
        "behaviour": request.recipe.options.get("behaviour", "well"),
    }
    main.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return Built(main=main)
