"""What OpenAI's API lacks: look at data, plan, X-ray, evaluate, judge, vote, compare, correct, import jobs, watch live,
mend, release, business lines, keys, and who did what."""

from fastapi import APIRouter

from postil.api.studio.audit import AuditObject, audit_object
from postil.api.studio.audit import router as audit
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
from postil.api.studio.keys import KeyBody, KeyObject, create_key, key_objects, revoke_key, rotate_key
from postil.api.studio.keys import router as keys
from postil.api.studio.lines import router as lines
from postil.api.studio.live import router as live
from postil.api.studio.rights import router as rights
from postil.api.studio.sets import router as sets
from postil.api.studio.tasks import router as tasks

ROUTERS = (
    data, datasets, tasks, imports, live, findings, comparisons, sets, corrections, judgements, ballots, cards, lines,
    rights, keys, audit,
)  # fmt: skip
router = APIRouter(prefix="/postil")
for one in ROUTERS:
    router.include_router(one)

__all__ = [
    "ROUTERS",
    "AuditObject",
    "BallotBody",
    "CheckBody",
    "DiffBody",
    "FileBody",
    "JudgeBody",
    "KeyBody",
    "KeyObject",
    "PlanBody",
    "PreviewBody",
    "XrayBody",
    "audit_object",
    "begun_ballot",
    "case_of",
    "check",
    "counted",
    "create_key",
    "difference",
    "differing",
    "file_of_corrections",
    "judge_defaults",
    "judge_order",
    "key_objects",
    "marked",
    "order_again",
    "origin_of",
    "plan",
    "preview",
    "revoke_key",
    "rotate_key",
    "router",
    "xray",
]  # fmt: skip
