"""The hubs' own packages upload a directory, in a process of its own: their offline switch is read once a process.

Told by one line of JSON; the last line of standard output is {"url": ...} or {"error": a code, "reason": ...}. The
token is what the hub's own login left, or its variable (HF_TOKEN, MODELSCOPE_API_TOKEN); it is never ours to see.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any


def main() -> None:
    told = json.loads(sys.stdin.readline())
    try:
        answer = HUBS[told["hub"]](told)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError) as error:  # theirs are all of these kinds
        answer = {"error": "push_failed", "reason": " ".join(f"{type(error).__name__}: {error}".split())}
    print(json.dumps(answer))  # noqa: T201 - this is what the parent reads


def huggingface(told: Mapping[str, Any]) -> dict[str, str]:
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    if get_token() is None:
        return {"error": "push_no_token"}
    hub = HfApi(endpoint=told["endpoint"] or None, library_name="postil")
    try:
        if not hub.model_info(told["repo"]).private and not told["public"]:
            return {"error": "push_public"}
    except RepositoryNotFoundError:
        hub.create_repo(told["repo"], private=not told["public"])
    made = hub.upload_folder(repo_id=told["repo"], folder_path=told["directory"], allow_patterns=told["files"],
                             commit_message=told["message"])  # fmt: skip
    return {"url": str(made.repo_url), "commit": str(made.oid)}


def modelscope(told: Mapping[str, Any]) -> dict[str, str]:
    from modelscope.hub.api import HubApi, ModelScopeConfig

    if not ModelScopeConfig.get_token():
        return {"error": "push_no_token"}
    hub = HubApi()
    if hub.repo_exists(told["repo"], repo_type="model"):
        if hub.get_model(told["repo"]).get("Visibility") == PUBLIC and not told["public"]:
            return {"error": "push_public"}
    else:
        hub.create_repo(told["repo"], visibility="public" if told["public"] else "private", repo_type="model")
    hub.upload_folder(repo_id=told["repo"], folder_path=told["directory"], allow_patterns=told["files"],
                      commit_message=told["message"])  # fmt: skip
    return {"url": f"https://modelscope.cn/models/{told['repo']}"}


PUBLIC = 5  # ModelScope's number for "everybody sees it"
HUBS = {"huggingface": huggingface, "modelscope": modelscope}

if __name__ == "__main__":
    main()
