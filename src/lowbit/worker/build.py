"""Job `build`: a recipe to an artifact with its manifest."""

import contextlib
import time
from collections.abc import Sequence

from lowbit.core import digest
from lowbit.core.adapter import BuildRequest, Built
from lowbit.core.artifact import Manifest
from lowbit.core.codec import save_json
from lowbit.core.discover import require, versions
from lowbit.core.errors import UnsupportedError
from lowbit.core.files import folder_aside
from lowbit.core.samples import Samples
from lowbit.core.verified import Verified
from lowbit.data.cache import open_samples
from lowbit.data.preprocess import to_input
from lowbit.measure.imports import ImportTimer
from lowbit.runtimes import find as runtimes
from lowbit.toolchains import find
from lowbit.worker.doing import doing
from lowbit.worker.jobs import BuildJob

MANIFEST = "manifest.json"

_VERIFIED = 8  # images


def run(job: BuildJob) -> Manifest:
    """Build aside, write the manifest beside the files, and put the folder in place as a whole."""
    toolchain = find.toolchains((job.toolchain,))[job.toolchain]
    info = toolchain.INFO
    calibration = open_samples(job.samples, "calibration")
    with folder_aside(job.out) as folder:
        doing(f"building {job.recipe.name} with {job.toolchain}")
        start = time.perf_counter()
        with ImportTimer() as imports:
            built = toolchain.build(
                BuildRequest(
                    model=job.model,
                    recipe=job.recipe,
                    calibration=calibration,
                    preprocess=job.preprocess,
                    out=folder,
                    cache=job.cache,
                    batch_size=job.batch_size,
                    threads=job.threads,
                    seed=job.seed,
                )
            )
        total_s = time.perf_counter() - start
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path not in built.beside)
        doing(f"verifying {built.main.name}")
        verified = _verified(built, calibration, job, job.recipe.made_for or info.made_for)
        notes = (job.recipe.note, *built.notes) if job.recipe.note else built.notes
        manifest = Manifest(
            key=job.key,
            toolchain=job.toolchain,
            recipe=job.recipe,
            format=info.format_of(job.recipe),
            main=str(built.main.relative_to(folder)),
            files=tuple(str(path.relative_to(folder)) for path in files),
            made_for=job.recipe.made_for or info.made_for,
            runtime_options=job.recipe.runtime_options,
            preprocess=job.preprocess,
            model=job.model.name,
            model_digest=job.model.digest,
            calibration_samples=len(calibration) if built.calibration_s is not None else 0,
            batch_size=job.batch_size if info.fixes_batch(job.recipe) else None,
            versions=versions(info.packages),
            digest=digest.of_files(files),
            size_bytes=sum(path.stat().st_size for path in files),
            import_s=imports.seconds,
            build_s=total_s - imports.seconds - (built.calibration_s or 0.0),
            calibration_s=built.calibration_s,
            notes=notes,
            verified=verified,
        )
        save_json(folder / MANIFEST, manifest)
    return manifest


def _verified(built: Built, calibration: Samples, job: BuildJob, made_for: Sequence[str]) -> tuple[Verified, ...]:
    """What our own engine made, against the integer reference in every runtime it was made for that is installed."""
    if built.quantized is None:
        return ()
    from lowbit.worker.verify import verify_artifact

    images = to_input(calibration.images[:_VERIFIED], job.preprocess)
    found = []
    for name, runtime in runtimes.runtimes(made_for).items():
        with contextlib.suppress(UnsupportedError):  # a runtime that is not installed
            require(runtime.INFO)
            found.append(verify_artifact(built.quantized, built.main, name, images, threads=job.threads))
    return tuple(found)
