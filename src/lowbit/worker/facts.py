"""Job `facts`: reads what a file says of itself."""

from lowbit.formats.facts import FileFacts
from lowbit.formats.read import read_facts
from lowbit.worker.jobs import FactsJob


def run(job: FactsJob) -> FileFacts:
    """Shapes, metadata and layers. Raises UnsupportedError where the file is none of its format."""
    return read_facts(job.path, job.format)
