"""Job `plan`: decides how our own engine would quantize a float graph, without doing it."""

from lowbit.quant.plan.plan import QuantPlan
from lowbit.toolchains.lowbit import plan_of
from lowbit.worker.jobs import PlanJob


def run(job: PlanJob) -> QuantPlan:
    """The plan. No image is read."""
    return plan_of(job.model, job.recipe)[1]
