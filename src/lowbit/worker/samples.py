"""Job `samples`: pictures to memory-mapped arrays."""

from lowbit.data.cache import make_samples
from lowbit.data.datasets import open_dataset
from lowbit.worker.jobs import SamplesJob


def run(job: SamplesJob) -> dict[str, object]:
    """Fill `job.out`; what lies there says the rest."""
    make_samples(
        open_dataset(job.data, labelled=job.labelled),
        job.preprocess,
        calibration_samples=job.calibration_samples,
        seed=job.seed,
        limit=job.limit,
        out=job.out,
        workers=job.workers,
    )
    return {}
