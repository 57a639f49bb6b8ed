"""`python -m lowbit.worker JOB RESULT STUDY`: do the job in the file JOB and write how it ended to the file RESULT.

The exit status is 0 when RESULT was written, and 28 when the disk was too full for it. Any other status is a crash, for
which the parent writes the reason.
"""

import contextlib
import errno
import faulthandler
import importlib
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from lowbit.core.cell import Outcome
from lowbit.core.errors import BadInput, MissingPackage, UnsupportedError
from lowbit.core.lifeline import PARENT_VARIABLE, die_with_parent
from lowbit.core.text import kind_and_said, one_line
from lowbit.worker import doing, jobs, stored_jobs

DISK_FULL = errno.ENOSPC


def main(job_path: str, result_path: str, study: str) -> int:
    """Do one job and write how it ended, unless the process crashes."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    faulthandler.enable()  # writes the stack to the log when the process crashes
    doing.begin(Path(result_path))
    job = stored_jobs.load_job(Path(job_path), Path(study))
    try:
        stored_jobs.save_outcome(Path(result_path), perform(job))
        doing.end()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return DISK_FULL  # not even a log could be written now
        raise
    return 0


def perform(job: jobs.Job[Any]) -> Outcome[Any]:
    """Run the job in the module that is named after its kind."""
    module = importlib.import_module(f"lowbit.worker.{job.KIND}")
    try:
        return Outcome("done", module.run(job))
    except MissingPackage as error:
        traceback.print_exc()
        return Outcome("missing", reason=error.reason, remedy=error.remedy)
    except UnsupportedError as error:
        traceback.print_exc()
        return Outcome("unsupported", reason=one_line(error.reason), remedy=one_line(error.remedy))
    except BadInput as error:
        traceback.print_exc()
        return Outcome("bad-input", reason=one_line(str(error)))
    except Exception as error:  # the process ends here: anything that a vendor raises becomes an Outcome
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        traceback.print_exc()
        return Outcome("failed", reason=kind_and_said(error))


if __name__ == "__main__":
    die_with_parent(int(os.environ[PARENT_VARIABLE]))
    status = main(*sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)  # a vendor's library may crash while it is unloaded; the result is already written
