"""What each page, each act on a page and each file of a page needs of a key.

Here stands only which of the API's routes does the same; what is needed is what that route asks for. "" is for whoever
has signed in.
"""

from __future__ import annotations

from functools import cache

from starlette.routing import compile_path

from postil.api import scopes_of_routes

PAGES = {
    "/": "",
    "/new": "POST /v1/files",
    "/jobs": "GET /v1/fine_tuning/jobs",
    "/jobs/{job_id}": "GET /v1/fine_tuning/jobs/{job_id}",
    "/compare": "POST /v1/postil/comparisons",
    "/models": "GET /v1/models",
    "/models/{name:path}": "GET /v1/models/{model:path}",
    "/evaluations": "GET /v1/postil/evaluations",
    "/votes/{ballot_id}": "GET /v1/postil/ballots/{ballot_id}",
    "/data": "GET /v1/postil/datasets",
    "/data/{dataset_id}": "POST /v1/postil/check",
    "/data/{dataset_id}/plan": "POST /v1/postil/plan",
    "/data/{dataset_id}/xray": "POST /v1/postil/xray",
    "/data/{dataset_id}/versions": "GET /v1/postil/datasets/{dataset_id}/versions",
    "/keys": "GET /v1/postil/keys",
    "/audit": "GET /v1/postil/audit",
    "/corrections/{set_id}": "GET /v1/postil/correction_sets/{set_id}",
    "/rate/{token}": "GET /rate/{token}/ballot",
}
FILES = {  # what goes out or comes in as bytes, beside the pages
    "/upload": "POST /v1/files",
    "/files/{file_id}/content": "GET /v1/files/{file_id}/content",
    "/adapters/{model:path}.zip": "POST /v1/postil/exports",
    "/data/{dataset_id}/marked.xlsx": "POST /v1/postil/marked",
}
ACTS = {
    "dataset.create": "POST /v1/postil/datasets",
    "dataset.revise": "POST /v1/postil/datasets/{dataset_id}/versions",
    "dataset.delete": "DELETE /v1/postil/datasets/{dataset_id}",
    "dataset.compare": "POST /v1/postil/diff",
    "file.delete": "DELETE /v1/files/{file_id}",
    "base.fetch": "POST /v1/postil/bases",
    "job.create": "POST /v1/fine_tuning/jobs",
    "job.read": "GET /v1/fine_tuning/jobs/{job_id}",
    "job.pause": "POST /v1/fine_tuning/jobs/{job_id}/pause",
    "job.resume": "POST /v1/fine_tuning/jobs/{job_id}/resume",
    "job.keep": "POST /v1/postil/jobs/{job_id}/keep",
    "job.cancel": "POST /v1/postil/tasks/{task_id}/cancel",
    "job.delete": "DELETE /v1/postil/jobs/{job_id}",
    "job.again": "POST /v1/postil/jobs/{job_id}/again",
    "evaluation.create": "POST /v1/postil/evaluations",
    "evaluation.read": "GET /v1/postil/jobs/{job_id}/evaluation",
    "answers.create": "POST /v1/postil/answers",
    "export.create": "POST /v1/postil/exports",
    "judgement.create": "POST /v1/postil/judgements",
    "ballot.create": "POST /v1/postil/ballots",
    "ballot.close": "POST /v1/postil/ballots/{ballot_id}/close",
    "ballot.delete": "DELETE /v1/postil/ballots/{ballot_id}",
    "rater.invite": "POST /v1/postil/ballots/{ballot_id}/raters",
    "rater.renew": "POST /v1/postil/raters/{rater_id}/link",
    "vote": "POST /rate/{token}/votes",
    "compare.ask": "POST /v1/postil/comparisons",
    "correction.add": "POST /v1/postil/correction_sets/{set_id}/corrections",  # into the set that the pages keep
    "correction.use": "POST /v1/postil/correction_sets/{set_id}/file",
    "correction.remove": "DELETE /v1/postil/corrections/{correction_id}",
    "correction.delete": "DELETE /v1/postil/correction_sets/{set_id}",
    "model.allow": "POST /v1/postil/models/allow",
    "model.withdraw": "POST /v1/postil/models/withdraw",
    "model.delete": "DELETE /v1/models/{model:path}",
    "model.log": "GET /v1/postil/models/log",
    "note.read": "GET /v1/postil/models/note",
    "note.write": "POST /v1/postil/models/note",
    "key.create": "POST /v1/postil/keys",
    "key.rotate": "POST /v1/postil/keys/{key_id}/rotate",
    "key.revoke": "DELETE /v1/postil/keys/{key_id}",
    "line.set": "POST /v1/postil/lines/{line}",
    "line.back": "POST /v1/postil/lines/{line}/back",
}


def needed(name: str) -> tuple[str, ...]:
    """The scopes of which a key must have one for this page, act or file, by its name in the tables; () for none."""
    route = _ROUTES[name]
    return scopes_of_routes()[route] if route else ()


@cache
def place_of(path: str) -> str:
    """The page or file, by its name in the tables, to which an address of ours leads, without ROOT. Raises KeyError."""
    bare = path.partition("?")[0]
    for name, pattern in _PATTERNS.items():
        if pattern.match(bare):
            return name
    raise KeyError(path)


_ROUTES = {**PAGES, **FILES, **ACTS}
_PATTERNS = {name: compile_path(name)[0] for name in (*FILES, *PAGES)}
