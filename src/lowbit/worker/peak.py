"""Job `peak`: measures how fast this machine multiplies matrices."""

from lowbit.core.peak import Peaks
from lowbit.measure.peak import peaks
from lowbit.worker.jobs import PeakJob


def run(job: PeakJob) -> Peaks:
    """The fastest product of each kind."""
    return Peaks(peaks(job.threads))
