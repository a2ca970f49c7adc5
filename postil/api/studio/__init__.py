"""What OpenAI's API lacks: look at data, plan, X-ray, evaluate, compare, import jobs, watch live, release, and keys."""

from fastapi import APIRouter

from postil.api.studio.comparisons import router as comparisons
from postil.api.studio.data import router as data
from postil.api.studio.imports import router as imports
from postil.api.studio.live import router as live
from postil.api.studio.rights import router as rights
from postil.api.studio.tasks import router as tasks

router = APIRouter(prefix="/postil")
for one in (data, tasks, imports, live, comparisons, rights):
    router.include_router(one)

__all__ = ["router"]
