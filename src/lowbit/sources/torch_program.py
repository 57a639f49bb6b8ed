"""An exported program becomes the float graph: first proven to hold data only, then read, then exported to ONNX."""

import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.pt2_archive import constants

from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput
from lowbit.core.text import kind_and_said, shortened
from lowbit.graph.check import check_graph
from lowbit.sources._edge import Loaded, SourceRequest
from lowbit.sources._exported import from_graph
from lowbit.sources.torch_export import OPSET, quiet

_RUNS_CODE = {  # folders and names inside the archive, and what lies there
    constants.AOTINDUCTOR_DIR: "compiled code",
    f"{constants.CONSTANTS_DIR}{constants.CUSTOM_OBJ_FILENAME_PREFIX}": "a pickled object",
    f"{constants.CONSTANTS_DIR}{constants.OPAQUE_OBJ_FILENAME_PREFIX}": "a pickled object",
}
_OPERATORS = re.compile(
    r"torch\.ops\.\w+(\.\w+)+|torch\.(_?sym_\w+)|math\.(ceil|floor|trunc|sqrt)|"
    r"_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
_NAMES_IN_SIZES = re.compile(  # sympy's classes and their assumptions, functions that torch adds, variables of sizes
    r"Symbol|Integer|Rational|Float|Zero|One|Half|NegativeOne|Infinity|NegativeInfinity|Add|Mul|Pow|Abs|Max|Min|"
    r"positive|negative|nonnegative|nonpositive|integer|nonzero|zero|real|finite|commutative|precision|"
    r"Equality|Unequality|GreaterThan|LessThan|StrictGreaterThan|StrictLessThan|Eq|Ne|Ge|Gt|Le|Lt|And|Or|Not|"
    r"true|false|True|False|oo|int_oo|Where|Identity|FloorDiv|CleanDiv|CeilDiv|ModularIndexing|Mod|PythonMod|LShift|"
    r"RShift|PowByNatural|FloatPow|FloatTrueDiv|IntTrueDiv|CeilToInt|FloorToInt|TruncToInt|TruncToFloat|RoundToInt|"
    r"RoundDecimal|ToFloat|IsNonOverlappingAndDenseIndicator|(s|u|zuf|zf)\d+"
)
_QUOTED = re.compile(r"'[\w.+-]*'")
_IN_SIZES = re.compile(r"[\w\s+\-*/%(),.<>=&|~]*")


def load_program(request: SourceRequest, source_digest: str) -> Loaded:
    """Read, export and write the float graph, its batch size made free; the source is the program itself."""
    path = Path(request.spec)
    with quiet():
        program = read_program(path)
        try:
            exported = torch.onnx.export(program, opset_version=OPSET, external_data=False, verbose=False)
        except torch.onnx.OnnxExporterError as error:
            raise BadInput(
                f"{path}: torch cannot export it to ONNX: {kind_and_said(error)}; export the network that it was made "
                "from (torch.onnx.export(module.eval(), (example,), 'model.onnx', dynamo=True))"
            ) from error
    assert exported is not None  # of an exported program a graph always comes back
    graph = check_graph(exported.model_proto, request.spec)
    module = program.module(check_guards=False)
    (image,) = (node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
    kind = image.meta["val"].dtype

    def run(images: Floats) -> Floats:
        with torch.inference_mode():
            scores: Floats = _only(module(torch.from_numpy(np.ascontiguousarray(images)).to(kind))).float().numpy()
        return scores

    return from_graph(graph, request, lambda _: (run, ()), name=path.stem, source_digest=source_digest)


def _only(found: Any) -> torch.Tensor:
    """The one tensor that a network returns, also as the only part of a tuple or dict."""
    while not isinstance(found, torch.Tensor):
        (found,) = found.values() if isinstance(found, dict) else found
    return found


def read_program(path: Path) -> ExportedProgram:
    """The program in `path`; BadInput where anything in the file could run code while it is read, or where it is
    damaged.

    `torch.export.load` unpickles objects where the archive says so, falls back to unpickling without limits, loads
    compiled code, and evaluates sizes as Python. None of that is needed for a plain network, and all of it is refused.
    """
    try:
        _check_holds_data_only(path)
        with _tensors_only():
            program: ExportedProgram = torch.export.load(path)
            return program
    except BadInput:
        raise
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"{path}: holds pickled objects that are no tensors, which may run any code when they are read; expected "
            "weights and example inputs as plain tensors: export the network again from such ones"
        ) from error
    except Exception as error:  # a damaged file, or one of another version, makes torch raise nearly anything
        raise BadInput(
            f"{path}: torch {torch.__version__} cannot read it as an exported program: {kind_and_said(error)}; copy it "
            "again, or export the network again with this version"
        ) from error


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Every `torch.load` refuses what is no plain tensor, also where its caller says otherwise."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch's own switch, read at each call
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _check_holds_data_only(path: Path) -> None:
    """BadInput for compiled code, pickled objects, calls of anything but operators, sizes that are no arithmetic."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len({name.lower() for name in names}) < len(names):  # torch might read another of two than was looked at
            raise BadInput(f"{path}: holds two files of one name, which torch never writes; export the network again")
        for name in names:
            inside = (name.partition("/")[2] or name).lower()  # torch up to 2.7 wrote no folder around all
            for prefix, what in _RUNS_CODE.items():
                if inside.startswith(prefix):
                    raise BadInput(
                        f"{path}: holds {what} ({name}), which may run anything when it is read; expected weights and "
                        "operators only: save it with torch.export.save(torch.export.export(…)), or give the .onnx file"
                    )
            if inside.endswith(".json"):
                for key, text in _texts(json.loads(archive.read(name))):
                    _check_text(key, text, path)


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(key, text) for every text in JSON."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _texts(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part, key)


def _check_text(key: str, text: str, path: Path) -> None:
    if key == "target" and _OPERATORS.fullmatch(text) is None:
        raise BadInput(
            f"{path}: calls {shortened(text)!r}, expected torch's operators only; export the network without it"
        )
    if key == "expr_str" and not _is_arithmetic(text):
        raise BadInput(f"{path}: a size is {shortened(text)!r}, expected arithmetic of sizes; export the network again")


def _is_arithmetic(text: str) -> bool:
    """Whether a size, which sympy evaluates as Python, consists of numbers, names of variables and known functions."""
    plain = _QUOTED.sub("0", text)  # Symbol('s77', positive=True)
    names = re.findall(r"[^\W\d]\w*", plain)
    return _IN_SIZES.fullmatch(plain) is not None and all(_NAMES_IN_SIZES.fullmatch(name) for name in names)
