"""Mix: noise of a row's own split added at a controlled SNR, and the SNR that came out measured."""

from pipeline.stages.mix.options import Options, weight_of
from pipeline.stages.mix.plan import NAME, Drawn, Plan, plan, redrawn, unrendered
from pipeline.stages.mix.work import DEPENDS, PLANNED, VERSION, Made, jobs, mixed, stores, work

__all__ = [
    "DEPENDS",
    "NAME",
    "PLANNED",
    "VERSION",
    "Drawn",
    "Made",
    "Options",
    "Plan",
    "jobs",
    "mixed",
    "plan",
    "redrawn",
    "stores",
    "unrendered",
    "weight_of",
    "work",
]
