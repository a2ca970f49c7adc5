"""The importer of Weights & Biases, without its service: what it read of a job stands in a run on the disk."""

import json
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import wandb
from wandb.integration.openai.fine_tuning import WandbLogger
from wandb.proto import wandb_internal_pb2 as written

BLOCK, HEADER = 32_768, 7


def records(path: Path) -> Iterator[written.Record]:
    """What a run's file holds: blocks of pieces, each with its sum, length and kind (whole, first, middle, last)."""
    data, at, piece = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        at += HEADER
        piece, at = piece + data[at : at + length], at + length
        if kind in (1, 4):
            yield written.Record.FromString(piece)
            piece = b""


def told(items: object) -> dict:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def whole() -> list[written.Record]:
    return [one for path in Path("wandb").glob("offline-run-*/*.wandb") for one in records(path)]


client = openai.OpenAI()
WandbLogger._logged_in = True  # its service is not there to log in to; nothing else is touched
WandbLogger.sync(fine_tune_job_id=sys.argv[1], openai_client=client, log_datasets=False)
wandb.teardown()  # another process of theirs writes the file, and goes on after the run is finished
deadline = time.monotonic() + 60
found = whole()
while not any(record.HasField("exit") for record in found):
    assert time.monotonic() < deadline, found[-3:]
    time.sleep(0.1)
    found = whole()
summary, config, history = {}, {}, []
for record in found:
    summary |= told(record.summary.update)
    config |= told(record.config.update) | told(record.run.config.update)
    if record.history.item:
        history.append(told(record.history.item))
# what it would send of the data, which it only does when its service answers
job = client.fine_tuning.jobs.retrieve(sys.argv[1])
table, rows = WandbLogger._make_table(client.files.content(job.training_file).text)
assert table.columns == ["role: system", "role: user", "role: assistant"]
print(json.dumps({"summary": summary, "config": config, "history": history, "rows": rows}))
