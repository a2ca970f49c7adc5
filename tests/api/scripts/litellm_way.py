"""LiteLLM: file, job, list, cancel, and an answer of a fine-tuned model, whole and in pieces."""

import os
import sys
from pathlib import Path

import litellm

base, tuned, data = sys.argv[1:]
ours = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
with Path(data).open("rb") as opened:
    file = litellm.create_file(file=opened, purpose="fine-tune", custom_llm_provider="openai", **ours)
assert file.status == "processed", file
job = litellm.create_fine_tuning_job(
    model=base, training_file=file.id, hyperparameters={"n_epochs": 2}, suffix="lite", custom_llm_provider="openai",
    **ours,
)  # fmt: skip
assert (job.hyperparameters.n_epochs, job.training_file) == (2, file.id), job
found = litellm.list_fine_tuning_jobs(custom_llm_provider="openai", **ours)
assert job.id in [one.id for one in found.data], found
again = litellm.retrieve_fine_tuning_job(fine_tuning_job_id=job.id, custom_llm_provider="openai", **ours)
assert again.id == job.id, again
ended = litellm.cancel_fine_tuning_job(fine_tuning_job_id=job.id, custom_llm_provider="openai", **ours)
assert ended.status == "cancelled", ended
asked = {"model": f"openai/{tuned}", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, **ours}
answer = litellm.completion(**asked)
pieces = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(**asked, stream=True)]
assert answer.choices[0].message.content == "".join(pieces) == "Hello there", (answer, pieces)
print("whole")
