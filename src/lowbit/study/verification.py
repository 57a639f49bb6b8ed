"""Verification as a stage: the job to run, what its outcome means for a cell, and how the manifest records it."""

from collections.abc import Mapping
from dataclasses import replace

from lowbit.core.artifact import Artifact, Manifest
from lowbit.core.cell import Failure, Outcome
from lowbit.core.errors import with_remedy
from lowbit.core.samples import Samples
from lowbit.core.verified import NotVerified, Verified
from lowbit.measure.verify import shortfall
from lowbit.study import keys
from lowbit.study.execute.placed import PlacedJob
from lowbit.study.prepare import Work
from lowbit.worker.jobs import VerifyJob

_IMAGES = 8  # calibration images that a file is verified on


def verify_job(
    work: Work,
    calibration: Samples,
    manifest: Manifest,
    artifact: Artifact,
    runtime: str,
    packages: Mapping[str, str],
) -> PlacedJob[Verified]:
    """The job that compares `artifact` with the reference in `runtime`. `packages` (versions) are part of its key."""
    key = keys.verify_key(manifest, calibration, runtime, packages, _IMAGES, work.executor.host)
    job = VerifyJob(
        artifact=artifact,
        evidence=work.store.evidence(manifest.key),
        runtime=runtime,
        samples=calibration.path.parent,
        preprocess=manifest.preprocess,
        images=_IMAGES,
        threads=work.asked.threads,
    )
    name = f"{manifest.toolchain}/{manifest.recipe.name}@{runtime}"
    return PlacedJob(name, job, work.store.verification(key), work.store.logs(key))


def failure_of(outcome: Outcome[Verified]) -> Failure | None:
    """The failure of a file that differs too much from the reference; None where it agrees or could not be judged."""
    if outcome.value is None:
        return None
    reason = shortfall(outcome.value)
    return None if reason is None else Failure("failed", reason, outcome.log)


def with_outcomes(manifest: Manifest, outcomes: Mapping[str, Outcome[Verified]]) -> Manifest:
    """`manifest` with the results of verification added. `outcomes`: runtime → how verification ended."""
    return replace(
        manifest,
        verified=tuple(each.value for each in outcomes.values() if each.value is not None),
        not_verified=tuple(
            NotVerified(runtime, with_remedy(each.reason, each.remedy))
            for runtime, each in outcomes.items()
            if each.value is None
        ),
    )
