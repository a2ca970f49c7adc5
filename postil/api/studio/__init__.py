"""What OpenAI's API lacks: look at data, plan, X-ray, evaluate, judge, vote, compare, correct, import jobs, watch live,
mend, release, business lines, and keys."""

from fastapi import APIRouter

from postil.api.studio.ballots import BallotBody, begun_ballot, counted, differing
from postil.api.studio.ballots import router as ballots
from postil.api.studio.cards import router as cards
from postil.api.studio.comparisons import router as comparisons
from postil.api.studio.corrections import FileBody, file_of_corrections, origin_of
from postil.api.studio.corrections import router as corrections
from postil.api.studio.data import (
    CheckBody,
    DiffBody,
    PlanBody,
    PreviewBody,
    XrayBody,
    check,
    difference,
    marked,
    plan,
    preview,
    xray,
)  # fmt: skip
from postil.api.studio.data import router as data
from postil.api.studio.datasets import router as datasets
from postil.api.studio.findings import case_of, order_again
from postil.api.studio.findings import router as findings
from postil.api.studio.imports import router as imports
from postil.api.studio.judgements import JudgeBody, judge_defaults, judge_order
from postil.api.studio.judgements import router as judgements
from postil.api.studio.lines import router as lines
from postil.api.studio.live import router as live
from postil.api.studio.rights import router as rights
from postil.api.studio.sets import router as sets
from postil.api.studio.tasks import router as tasks

router = APIRouter(prefix="/postil")
for one in (
    data, datasets, tasks, imports, live, findings, comparisons, sets, corrections, judgements, ballots, cards, lines,
    rights,
):  # fmt: skip
    router.include_router(one)

__all__ = [
    "BallotBody",
    "CheckBody",
    "DiffBody",
    "FileBody",
    "JudgeBody",
    "PlanBody",
    "PreviewBody",
    "XrayBody",
    "begun_ballot",
    "case_of",
    "check",
    "counted",
    "difference",
    "differing",
    "file_of_corrections",
    "judge_defaults",
    "judge_order",
    "marked",
    "order_again",
    "origin_of",
    "plan",
    "preview",
    "router",
    "xray",
]  # fmt: skip
