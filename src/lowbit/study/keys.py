"""Keys: digests of all that can change a job's result. What has changed is never answered from before."""

from collections.abc import Mapping

from lowbit import __version__
from lowbit.core import digest
from lowbit.core.artifact import Manifest
from lowbit.core.host import Host
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Samples
from lowbit.measure.accuracy import Task
from lowbit.study.plan import PlannedBuild
from lowbit.study.request import StudyRequest


def samples_key(request: StudyRequest, fingerprint: str) -> str:
    """Of the decoded images: the data's fingerprint, preprocessing, split."""
    settings = (request.calibration_samples, request.settings.seed, request.limit)
    return digest.of_value([__version__, "samples", fingerprint, request.preprocess, settings])


def model_key(request: StudyRequest, fingerprint: str, versions: Mapping[str, str], samples: str) -> str:
    """Of the float graph: the source's fingerprint and packages, and the samples that it was checked on."""
    return digest.of_value(
        [
            __version__,
            "model",
            request.model,
            fingerprint,
            versions,
            samples,
            request.preprocess,
            request.settings.seed,
            request.settings.threads,
        ]
    )


def build_key(request: StudyRequest, build: PlannedBuild, model: FloatModel, calibration: Samples, host: Host) -> str:
    """Of an artifact: graph, calibration images, recipe, the vendor's versions, the instruction sets (reduce_range)."""
    batch_size = request.settings.batch_size if build.toolchain.fixed_batch else None
    return digest.of_value(
        [
            __version__, "build", model.digest, model.name, calibration.digest, request.preprocess,
            build.toolchain.name, build.recipe, build.versions, batch_size,
            request.settings.threads, request.settings.seed, host.isa,
        ]
    )  # fmt: skip


def cell_key(
    manifest: Manifest,
    runtime: str,
    versions: Mapping[str, str],
    evaluation: Samples,
    task: Task,
    batch_size: int,
    threads: int,
    host: Host,
) -> str:
    """Of an accuracy pass, and so of the cell's folder: the file's contents, where and how it runs, on which images."""
    file = (manifest.digest, manifest.format, manifest.batch_size, manifest.runtime_options, manifest.model_digest)
    return digest.of_value(
        [
            __version__, "cell", file, manifest.toolchain, manifest.recipe.name, manifest.preprocess,
            runtime, versions, evaluation.digest, task, batch_size, threads, host.id,
        ]
    )  # fmt: skip


def reference_key(
    model: FloatModel,
    evaluation: Samples,
    preprocess: Preprocess,
    task: Task,
    versions: Mapping[str, str],
    host: Host,
) -> str:
    """Of the float model's own answers."""
    return digest.of_value(
        [__version__, "reference", model.digest, evaluation.digest, preprocess, task, versions, host.id]
    )


def timing_key(request: StudyRequest, loadgen_version: Mapping[str, str]) -> str:
    """Of a timing round within its cell: the scenario, its lengths, the seed; not how many rounds there are."""
    s = request.settings
    return digest.of_value([s.scenario, s.batch_size, s.min_duration_s, s.official, s.seed, loadgen_version])[:8]
