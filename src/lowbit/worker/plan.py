"""Job `plan`: what our own engine would make of a float graph, decided and not carried out."""

from lowbit.quant.plan.plan import QuantPlan
from lowbit.toolchains.lowbit import plan_of
from lowbit.worker.jobs import PlanJob


def run(job: PlanJob) -> QuantPlan:
    """The plan alone; no image is looked at."""
    return plan_of(job.model, job.recipe)[1]
