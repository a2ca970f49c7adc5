"""What OpenAI's API lacks: look at data, plan, X-ray, evaluate, compare, watch live, release, and keys."""

from fastapi import APIRouter

from postil.api.studio.comparisons import router as comparisons
from postil.api.studio.data import router as data
from postil.api.studio.datasets import router as datasets
from postil.api.studio.live import router as live
from postil.api.studio.rights import router as rights
from postil.api.studio.tasks import router as tasks

router = APIRouter(prefix="/postil")
for one in (data, datasets, tasks, live, comparisons, rights):
    router.include_router(one)

__all__ = ["router"]
