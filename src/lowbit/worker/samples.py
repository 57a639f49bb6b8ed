"""Job `samples`: decodes pictures into memory-mapped arrays."""

from lowbit.data.cache import make_samples
from lowbit.data.datasets import open_dataset
from lowbit.worker.jobs import Nothing, SamplesJob


def run(job: SamplesJob) -> Nothing:
    """Write the images into the folder `job.out`."""
    make_samples(
        open_dataset(job.data, labelled=job.labelled),
        job.preprocess,
        calibration_samples=job.calibration_samples,
        seed=job.seed,
        limit=job.limit,
        out=job.out,
        workers=job.workers,
        training_samples=job.training_samples,
    )
    return Nothing()
