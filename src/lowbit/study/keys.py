"""Keys: digests of everything that can change a job's result. A stored result is reused only under the same key."""

from collections.abc import Mapping

from lowbit.core import digest
from lowbit.core.artifact import Manifest
from lowbit.core.cell import Build
from lowbit.core.discover import versions
from lowbit.core.host import Host
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Samples
from lowbit.core.settings import Settings
from lowbit.core.version import exact_version
from lowbit.measure.accuracy import Scoring
from lowbit.study.ask import InputsAsk


def samples_key(asked: InputsAsk, fingerprint: str) -> str:
    """Key of the decoded images: the data's fingerprint, preprocessing and split."""
    settings = (asked.calibration_samples, asked.seed, asked.evaluated, asked.labelled, asked.training_samples)
    decoders = versions(("pillow", "pyarrow", "numpy"))
    return digest.of_value([exact_version(), "samples", fingerprint, asked.preprocess, settings, decoders])


def model_key(asked: InputsAsk, fingerprint: str, packages: tuple[str, ...], samples: str) -> str:
    """Key of the float graph: the source's fingerprint and packages, and the samples that it was checked on."""
    used = versions((*packages, "onnx", "onnx-ir", "onnxscript", "onnxruntime"))
    return digest.of_value(
        [
            exact_version(),
            "model",
            asked.model,
            fingerprint,
            used,
            samples,
            asked.preprocess,
            asked.seed,
            asked.threads,
            asked.structure_only,
            asked.input_size,
        ]
    )


def build_key(
    asked: InputsAsk,
    build: Build,
    model: FloatModel,
    calibration: Samples,
    host: Host,
    batch_size: int,
    classes: tuple[int, ...] = (),
    training: Samples | None = None,
) -> str:
    """Key of an artifact: graph, calibration images, recipe, its packages, and instruction sets (reduce_range).

    The recipe of a given file holds the digest of its contents. classes, training: of a recipe that trains. The
    user's own file counts where a recipe may start from it.
    """
    batch = batch_size if build.fixes_batch else None
    own_file = "" if model.keras_file is None else model.source_digest
    return digest.of_value(
        [
            exact_version(), "build", model.digest, model.name, calibration.digest, asked.preprocess,
            build.toolchain.name, build.recipe, build.versions, batch,
            asked.threads, asked.seed, host.isa, classes, own_file,
            None if training is None else training.digest,
        ]
    )  # fmt: skip


def verify_key(
    manifest: Manifest, calibration: Samples, runtime: str, packages: Mapping[str, str], images: int, host: Host
) -> str:
    """Key of a verification: the build (whose own key names the evidence), the images, the runtime and the host."""
    used = versions(("numpy", "onnx", "onnx-ir"))
    return digest.of_value(
        [
            exact_version(), "verify", manifest.key, manifest.digest, calibration.digest, manifest.preprocess,
            images, runtime, packages, used, host.id,
        ]
    )  # fmt: skip


def cell_key(
    manifest: Manifest,
    runtime: str,
    packages: Mapping[str, str],
    reference: str,
    batch_size: int,
    threads: int | None,
    isa: str | None,
) -> str:
    """Key of an accuracy pass, and of the cell's folder: the file's contents, and where and how it runs.

    - packages: the runtime's packages and their versions
    - reference: key of the float model's scores, which covers images, labels and host as well
    - batch_size: of the pass, which is that of the timing only where it can change scores
    - threads: None where they cannot change scores
    - isa: another instruction set means other kernels, and their sums may differ or even saturate
    """
    file = (manifest.digest, manifest.format, manifest.batch_size, manifest.runtime_options, manifest.model_digest)
    return digest.of_value(
        [
            exact_version(), "cell", file, manifest.toolchain, manifest.recipe.name, manifest.preprocess,
            runtime, packages, reference, batch_size, threads, isa,
        ]
    )  # fmt: skip


def reference_key(
    model: FloatModel,
    evaluation: Samples,
    preprocess: Preprocess,
    task: Scoring,
    threads: int,
    host: Host,
) -> str:
    """Key of the float model's own scores, computed in ONNX Runtime."""
    used = versions(("onnxruntime", "numpy"))
    return digest.of_value(
        [exact_version(), "reference", model.digest, evaluation.digest, preprocess, task, threads, used, host.id]
    )


def timing_key(settings: Settings, host: Host) -> str:
    """Key of a timing round within its cell's folder: all settings but the number of rounds.

    Cells that differ in settings which cannot change scores share a folder, so that threads stand here as well.
    """
    used = versions(("mlcommons-loadgen",))
    s = settings
    lengths = (s.min_duration_s, s.max_duration_s, s.official and s.rules)
    timed = (s.scenario, s.batch_size, s.threads, s.isa, *lengths, s.seed)
    served = (s.target_latency_ms, s.target_qps) if s.scenario == "server" else ()
    return digest.of_value([*timed, *served, used, host.governor])[:8]


def peak_key(host: Host, threads: int) -> str:
    """Key of this machine's fastest matrix products."""
    used = versions(("onnxruntime", "torch"))
    return digest.of_value([exact_version(), "peak", used, host.id, host.governor, threads])
