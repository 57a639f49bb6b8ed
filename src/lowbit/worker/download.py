"""Job `download`: fetches a model from the network into the user's own cache."""

from typing import cast

from lowbit.sources import find as sources
from lowbit.sources._edge import Downloads
from lowbit.worker.doing import doing
from lowbit.worker.jobs import DownloadJob, Nothing


def run(job: DownloadJob) -> Nothing:
    """Fetch it."""
    doing(f"downloading {job.spec}")
    cast(Downloads, sources.find(job.spec)).download(job.spec)
    return Nothing()
