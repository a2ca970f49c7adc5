"""Jobs, events and checkpoints as OpenAI's clients read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from postil.api.openai.models import organisation

if TYPE_CHECKING:
    from postil.store.tables import Checkpoint, Job, JobEvent


class ShownHyperparameters(BaseModel):
    """What was asked for, and once the plan stands, what it decided."""

    batch_size: int | Literal["auto"]
    learning_rate_multiplier: float | Literal["auto"]
    n_epochs: int | Literal["auto"]


class ShownSupervised(BaseModel):
    """The supervised method."""

    hyperparameters: ShownHyperparameters


class ShownMethod(BaseModel):
    """The method."""

    type: Literal["supervised"] = "supervised"
    supervised: ShownSupervised


class ShownPreferences(ShownHyperparameters):
    """The same of preference tuning."""

    beta: float | Literal["auto"]


class ShownDpo(BaseModel):
    """Preference tuning."""

    hyperparameters: ShownPreferences


class ShownDpoMethod(BaseModel):
    """The method."""

    type: Literal["dpo"] = "dpo"
    dpo: ShownDpo


class JobFault(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    param: str | None


class JobObject(BaseModel):
    """A fine-tuning job."""

    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    id: str
    model: str
    created_at: int
    finished_at: int | None
    fine_tuned_model: str | None
    organization_id: str
    result_files: list[str]
    status: Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled", "paused"]
    validation_file: str | None
    training_file: str
    hyperparameters: ShownHyperparameters
    trained_tokens: int | None
    error: JobFault | None
    seed: int
    estimated_finish: int | None
    integrations: list[dict[str, Any]]
    method: ShownMethod | ShownDpoMethod
    metadata: dict[str, str]
    user_provided_suffix: str | None
    usage_metrics: None = None
    shared_with_openai: Literal[False] = False
    x_postil: dict[str, Any]


class EventObject(BaseModel):
    """Something that a job told."""

    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    id: str
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None


class CheckpointObject(BaseModel):
    """A state of a job that can be used as a model."""

    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    id: str
    created_at: int
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, float]
    fine_tuning_job_id: str


def job_object(job: Job, labels: Mapping[str, str], position: int | None = None) -> JobObject:
    """`position`: how many go before it in the queue."""
    hyperparameters = _hyperparameters(job)
    running = job.status == "running"
    return JobObject(
        id=job.id, model=job.model, created_at=job.created_at, finished_at=job.finished_at,
        fine_tuned_model=job.fine_tuned_model if job.status == "succeeded" else None,
        organization_id=organisation(job.project), result_files=list(job.result_files), status=job.status,
        validation_file=job.validation_file, training_file=job.training_file or "", hyperparameters=hyperparameters,
        trained_tokens=job.trained_tokens, error=fault(job), seed=job.seed,
        estimated_finish=job.estimated_finish if running else None,
        integrations=list(job.request.get("integrations", [])),
        method=_method(job, hyperparameters), metadata=dict(labels),
        user_provided_suffix=job.suffix, x_postil=vendor(job, position),
    )  # fmt: skip


def fault(job: Job) -> JobFault | None:
    """Only of a job that failed: clients take an object with empty fields for an error."""
    if job.status != "failed" or not job.error:
        return None
    told = job.error
    return JobFault(code=str(told.get("code") or "internal_error"), message=str(told.get("message") or ""),
                    param=told.get("param"))  # fmt: skip


def vendor(job: Job, position: int | None) -> dict[str, Any]:
    """What OpenAI has no field for."""
    return {
        "requested": job.request.get("x_postil", {}), "plan": dict(job.resolved), "priority": job.priority,
        "progress": dict(job.progress), "step": job.progress.get("step"),
        "total_steps": job.progress.get("total_steps"),
        "queue_position": position, "adapter_sha256": job.adapter_sha256, "resumed_from_step": list(job.resumed_from),
        "hold": job.hold, "wish": job.wish, "attempt": job.attempt,
    }  # fmt: skip


def event_object(row: JobEvent) -> EventObject:
    return EventObject(id=row.id, created_at=row.created_at, level=row.level, message=row.message, type=row.type,
                       data=dict(row.data) if row.data is not None else None)  # fmt: skip


def checkpoint_object(row: Checkpoint) -> CheckpointObject:
    numbers = {name: float(value) for name, value in row.metrics.items() if isinstance(value, int | float)}
    return CheckpointObject(id=row.id, created_at=row.created_at, fine_tuned_model_checkpoint=row.model_id,
                            step_number=row.step, metrics=numbers, fine_tuning_job_id=row.job_id)  # fmt: skip


def _method(job: Job, hyperparameters: ShownHyperparameters) -> ShownMethod | ShownDpoMethod:
    if job.request.get("method") != "dpo":
        return ShownMethod(supervised=ShownSupervised(hyperparameters=hyperparameters))
    asked = job.order.get("settings", {}).get("dpo_beta")
    beta = job.resolved.get("dpo_beta", "auto" if asked is None else float(asked))
    return ShownDpoMethod(dpo=ShownDpo(hyperparameters=ShownPreferences(**hyperparameters.model_dump(), beta=beta)))


def _hyperparameters(job: Job) -> ShownHyperparameters:
    asked = job.request.get("hyperparameters", {})
    decided = job.resolved
    multiplier = asked.get("learning_rate_multiplier", "auto")
    return ShownHyperparameters(
        n_epochs=decided.get("n_epochs", asked.get("n_epochs", "auto")),
        batch_size=decided.get("batch_size", asked.get("batch_size", "auto")),
        learning_rate_multiplier=1.0 if decided and multiplier == "auto" else multiplier,
    )
