"""`inspect`: reads a file or an artifact's folder, its manifest and plan, and lists what runtimes execute."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from lowbit.core import digest
from lowbit.core.artifact import MANIFEST, PLAN, Manifest
from lowbit.core.cell import Outcome
from lowbit.core.codec import from_plain, load_json
from lowbit.core.errors import BadInput, DamagedFile, with_remedy
from lowbit.core.format import ONNX, OPENVINO_IR, TFLITE, format_of_suffix
from lowbit.core.inspected import Inspected
from lowbit.core.preprocess import Preprocess
from lowbit.quant.plan.plan import QuantPlan
from lowbit.report.inspected import Inspection, layers_of, shares_of
from lowbit.runtimes import find
from lowbit.study.execute.local import Listener, LocalExecutor
from lowbit.study.execute.placed import PlacedJob
from lowbit.study.quantize import MANIFEST_ENDING, manifest_path, plan_path
from lowbit.worker.jobs import InspectJob

_READABLE = (ONNX, OPENVINO_IR, TFLITE)
_TIME_LIMIT_S = 600.0

T = TypeVar("T")


def inspect(
    path: Path, runtimes: Sequence[str] = (), threads: int = 1, listener: Listener = lambda _: None
) -> Inspection:
    """What is known of the artifact at `path`, opened in the runtimes that it was made for or in those that are named.

    Raises BadInput where `path` is no artifact: its format is unknown, or it has no manifest and no runtime can read
    it.
    """
    file, manifest, plan = artifact_at(path)
    guessed = format_of_suffix(file.suffix)
    if manifest is None and guessed not in _READABLE:
        endings = ", ".join(each.main_suffix for each in _READABLE)
        raise BadInput(f"{path}: no artifact; expected a file ending in {endings}, or an artifact's folder")
    form = manifest.format if manifest is not None else guessed.name if guessed is not None else ""
    readers = [module.INFO.name for module in find.runtimes(runtimes).values() if form in module.INFO.reads]
    if manifest is not None and not runtimes:
        readers = [name for name in readers if name in manifest.made_for]
    if not readers and runtimes:
        raise BadInput(f"--runtimes {','.join(runtimes)}: none of them reads {form}, which {file.name} is")
    options = {} if manifest is None else manifest.runtime_options
    planned = _planned(plan)
    jobs = {name: InspectJob(file.resolve(), form, name, options, tuple(planned), threads) for name in readers}
    results = dict(zip(jobs, _run(jobs, threads, listener), strict=True))
    seen = {name: each.value for name, each in results.items() if each.value is not None}
    refused = {name: with_remedy(each.reason, each.remedy) for name, each in results.items() if each.value is None}
    if manifest is None and not seen:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise BadInput(f"{path}: no artifact that a runtime here can open ({reasons})")
    executed = {name: each.operators for name, each in seen.items()}
    first = next(iter(seen.values()), Inspected({}, {}, ()))
    files = [file] if manifest is None else [file.parent / name for name in manifest.files]
    there = [each for each in files if each.is_file()]
    return Inspection(
        path=file,
        format=form,
        size_bytes=sum(each.stat().st_size for each in there),
        preprocess=_preprocess(first) if manifest is None else manifest.preprocess,
        manifest=manifest,
        changed=manifest is not None and (there != files or digest.of_files(files) != manifest.digest),
        metadata=first.metadata,
        layers=layers_of(planned, first.weight_bytes, executed),
        int8_share=shares_of(executed),
        refused=refused,
        stored=first.stored,
    )


def artifact_at(path: Path) -> tuple[Path, Manifest | None, QuantPlan | None]:
    """The main file, and its manifest and plan where they lie beside it under the names of `quantize` or `compare`."""
    if path.is_dir():
        manifest = _load(Manifest, path / MANIFEST)
        if manifest is None:
            raise BadInput(f"{path}: no artifact's folder ({MANIFEST} is missing); give one under STUDY/artifacts")
        return path / manifest.main, manifest, _load(QuantPlan, path / PLAN)
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give a file that `lowbit quantize` wrote, or an artifact's folder")
    for manifest_file in (
        manifest_path(path),
        *sorted(path.parent.glob(f"*{MANIFEST_ENDING}")),
        path.with_name(MANIFEST),
    ):
        manifest = _load(Manifest, manifest_file)
        if manifest is not None and path.name in manifest.files:
            main = path.with_name(manifest.main)
            return (
                main,
                manifest,
                _load(QuantPlan, path.with_name(PLAN) if manifest_file.name == MANIFEST else plan_path(main)),
            )
    return path, None, None


def _load(kind: type[T], path: Path) -> T | None:
    try:
        return load_json(kind, path)
    except FileNotFoundError:
        return None
    except DamagedFile as error:
        raise BadInput(f"{error}; move it away to inspect the file alone") from error


def _planned(plan: QuantPlan | None) -> dict[str, tuple[str, int | None, int]]:
    layers = () if plan is None else plan.layers
    return {
        layer.node: (layer.op_type, layer.format.bits if layer.format else None, layer.activation_bits)
        for layer in layers
    }


def _preprocess(seen: Inspected) -> Preprocess | None:
    """The preprocessing that the file's own metadata contains, if any."""
    text = seen.metadata.get("lowbit.preprocess")
    return None if text is None else from_plain(Preprocess, json.loads(text))


def _run(jobs: dict[str, InspectJob], threads: int, listener: Listener) -> list[Outcome[Inspected]]:
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        home = Path(folder)
        executor = LocalExecutor(home, _TIME_LIMIT_S, threads, listener)
        return executor.run(
            "open", [PlacedJob(name, job, home / f"{name}.json", home / "logs") for name, job in jobs.items()]
        )
