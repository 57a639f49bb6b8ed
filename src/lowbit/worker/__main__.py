"""`python -m lowbit.worker JOB RESULT`: do the job in JOB, write the result to RESULT, and leave.

Exit status: 0 with a result; 28 when the disk is full and no result could be written. Anything else is a crash, and
the parent says so.
"""

import contextlib
import errno
import faulthandler
import importlib
import json
import logging
import os
import sys
import traceback
from pathlib import Path

from lowbit.core.codec import save_json, to_plain
from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.lifeline import PARENT_VARIABLE, die_with_parent
from lowbit.core.text import kind_and_said, one_line
from lowbit.worker import doing, jobs

DISK_FULL = errno.ENOSPC


def main(job_path: str, result_path: str) -> int:
    """Do one job; every way it can end but a crash is written down as a result."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    faulthandler.enable()  # a crash leaves the stack in the log
    doing.begin(Path(result_path))
    plain = json.loads(Path(job_path).read_text())
    try:
        save_json(Path(result_path), perform(plain))
        doing.end()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return DISK_FULL  # not even a log could be written now
        raise
    return 0


def perform(plain: dict[str, object]) -> jobs.JobResult:
    """Run the job that `plain` describes, in the module named after its kind."""
    module = importlib.import_module(f"lowbit.worker.{plain['kind']}")
    try:
        return jobs.JobResult("done", data=to_plain(module.run(jobs.job_from(plain))))
    except UnsupportedError as error:
        traceback.print_exc()
        return jobs.JobResult("unsupported", one_line(error.reason), one_line(error.remedy))
    except BadInput as error:
        traceback.print_exc()
        return jobs.JobResult("bad-input", one_line(str(error)))
    except Exception as error:  # the boundary of the process: whatever a vendor raises ends as a typed result
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        traceback.print_exc()
        return jobs.JobResult("failed", kind_and_said(error))


if __name__ == "__main__":
    die_with_parent(int(os.environ[PARENT_VARIABLE]))
    status = main(*sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)  # the result is written: a vendor that crashes while it is unloaded must not change it
