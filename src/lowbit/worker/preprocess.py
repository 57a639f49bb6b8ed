"""Job `preprocess`: asks a model how pictures are prepared for it."""

from typing import cast

from lowbit.core.preprocess import Preprocess
from lowbit.sources import find as sources
from lowbit.sources._edge import OwnPreprocess
from lowbit.worker.doing import doing
from lowbit.worker.jobs import PreprocessJob


def run(job: PreprocessJob) -> Preprocess:
    """That preprocessing."""
    doing(f"reading how pictures are prepared for {job.spec}")
    return cast(OwnPreprocess, sources.find(job.spec)).preprocess_of(job.spec)
