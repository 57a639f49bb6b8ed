"""Job `build`: makes an artifact and its manifest from a recipe."""

import shutil
import time

from lowbit.core import digest
from lowbit.core.adapter import BuildRequest
from lowbit.core.artifact import MANIFEST, Manifest
from lowbit.core.codec import save_json
from lowbit.core.discover import require
from lowbit.core.files import folder_aside
from lowbit.core.progress import BuildProgress, LayerProgress
from lowbit.core.version import exact_version
from lowbit.data.cache import has_training, open_samples
from lowbit.measure.imports import ImportTimer
from lowbit.toolchains import find
from lowbit.worker.doing import doing
from lowbit.worker.jobs import BuildJob


def run(job: BuildJob) -> Manifest:
    """Build in a temporary folder, write the manifest there, then move the whole folder to its place."""
    toolchain = find.toolchains((job.toolchain,))[job.toolchain]
    info = toolchain.INFO
    used = require(info, job.recipe) | {"lowbit": exact_version()}
    shutil.rmtree(job.evidence, ignore_errors=True)
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
                    evidence=job.evidence,
                    batch_size=job.batch_size,
                    threads=job.threads,
                    seed=job.seed,
                    progress=lambda done, total, layer: save_json(
                        job.progress, BuildProgress(layers=LayerProgress(done, total, layer))
                    ),
                    given=job.given,
                    classes=job.classes,
                    training=open_samples(job.samples, "training") if has_training(job.samples) else None,
                    checkpoints=job.checkpoints,
                    training_progress=lambda at: save_json(job.progress, BuildProgress(training=at)),
                )
            )
        total_s = time.perf_counter() - start
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path not in built.beside)
        calibrated = len(calibration) if built.calibration_samples is None else built.calibration_samples
        notes = (job.recipe.note, *built.notes) if job.recipe.note else built.notes
        manifest = Manifest(
            key=job.key,
            toolchain=job.toolchain,
            recipe=job.recipe,
            format=info.format_of(job.recipe),
            main=str(built.main.relative_to(folder)),
            files=tuple(str(path.relative_to(folder)) for path in files),
            made_for=info.runtimes_for(job.recipe),
            runtime_options=job.recipe.runtime_options,
            preprocess=job.preprocess,
            model=job.model.name,
            model_digest=job.model.digest,
            calibration_samples=calibrated if built.calibration_s is not None else 0,
            batch_size=built.batch_size or (job.batch_size if info.fixes_batch(job.recipe) else None),
            versions=used,
            digest=digest.of_files(files),
            size_bytes=sum(path.stat().st_size for path in files),
            import_s=imports.seconds,
            build_s=total_s - imports.seconds - (built.calibration_s or 0.0),
            calibration_s=built.calibration_s,
            notes=notes,
            verifiable=built.verifiable,
            dynamic=built.dynamic,
            probabilities=built.probabilities,
            training=built.training,
        )
        save_json(folder / MANIFEST, manifest)
    if job.checkpoints is not None:
        shutil.rmtree(job.checkpoints, ignore_errors=True)
    return manifest
