"""Job `build`: a recipe to an artifact with its manifest."""

import time

from lowbit.core import digest
from lowbit.core.adapter import BuildRequest
from lowbit.core.artifact import Manifest
from lowbit.core.codec import save_json
from lowbit.core.discover import versions
from lowbit.core.files import folder_aside
from lowbit.data.cache import open_samples
from lowbit.measure.imports import ImportTimer
from lowbit.toolchains import find
from lowbit.worker.jobs import BuildJob

MANIFEST = "manifest.json"


def run(job: BuildJob) -> Manifest:
    """Build aside, write the manifest beside the files, and put the folder in place as a whole."""
    toolchain = find.toolchains((job.toolchain,))[job.toolchain]
    info = toolchain.INFO
    calibration = open_samples(job.samples, "calibration")
    with folder_aside(job.out) as folder:
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
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        notes = (job.recipe.note, *built.notes) if job.recipe.note else built.notes
        manifest = Manifest(
            key=job.key,
            toolchain=job.toolchain,
            recipe=job.recipe,
            format=info.makes,
            main=str(built.main.relative_to(folder)),
            files=tuple(str(path.relative_to(folder)) for path in files),
            made_for=job.recipe.made_for or info.made_for,
            runtime_options=job.recipe.runtime_options,
            preprocess=job.preprocess,
            model=job.model.name,
            model_digest=job.model.digest,
            calibration_samples=len(calibration) if built.calibration_s is not None else 0,
            batch_size=job.batch_size if info.fixed_batch else None,
            versions=versions(info.packages),
            digest=digest.of_files(files),
            size_bytes=sum(path.stat().st_size for path in files),
            import_s=imports.seconds,
            build_s=total_s - imports.seconds - (built.calibration_s or 0.0),
            calibration_s=built.calibration_s,
            notes=notes,
        )
        save_json(folder / MANIFEST, manifest)
    return manifest
