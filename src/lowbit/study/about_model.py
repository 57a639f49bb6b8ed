"""What must be known of a model before a study can be asked for: its files, and how pictures are prepared for it."""

import tempfile
from pathlib import Path
from typing import TypeVar

from lowbit.core.errors import BadInput, LowbitError, with_remedy
from lowbit.core.preprocess import Preprocess
from lowbit.sources.find import find
from lowbit.study.execute.local import Listener, LocalExecutor
from lowbit.study.execute.placed import PlacedJob
from lowbit.worker.jobs import DownloadJob, Job, PreprocessJob

_DOWNLOAD_LIMIT_S = 6 * 3600.0  # of a slow line
_ASK_LIMIT_S = 600.0

Result = TypeVar("Result")


def fetch(model: str, listener: Listener) -> None:
    """Fetch the model from the network. BadInput where it is of a kind that needs nothing from there."""
    info = find(model).INFO
    if not info.downloads:
        raise BadInput(f"--download: {model} needs nothing from the network ({info.form}); leave it out")
    _done("download", model, DownloadJob(model), _DOWNLOAD_LIMIT_S, listener)


def own_preprocess(model: str, listener: Listener) -> Preprocess:
    """How the model itself says that pictures are prepared for it. BadInput where it does not, or cannot be said."""
    return _done("model", model, PreprocessJob(model), _ASK_LIMIT_S, listener)


def _done(stage: str, model: str, job: Job[Result], limit_s: float, listener: Listener) -> Result:
    """The result of a job that belongs to no study yet."""
    online = {"HF_HUB_OFFLINE": "0"} if stage == "download" else {}
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        home = Path(folder)
        executor = LocalExecutor(home, limit_s, 1, listener)
        task = PlacedJob(model, job, home / "result.json", home / "logs", environment=online)
        [ended] = executor.run(stage, [task])
    if ended.value is not None:
        return ended.value
    if ended.end == "failed":
        raise LowbitError(f"{model}: {ended.reason}")
    raise BadInput(with_remedy(ended.reason, ended.remedy))
