"""What a run tells, and what scripts see of what is wrong with it."""

from __future__ import annotations

import json

from postil.records import Event, Finding


def test_an_event_as_scripts_see_it() -> None:
    assert Event("stage", {"percent": 5.0}).as_json() == {"type": "stage", "level": "info", "percent": 5.0}


def test_a_finding_as_scripts_see_it() -> None:
    told = json.loads(json.dumps(Finding("few_updates", "warning", {"updates": 31}, {"batch_size": 4}).as_json()))
    assert "31" in told["message"] and told["fix"] and told["message"] != told["fix"]
    assert (told["severity"], told["settings"], told["values"]) == ("warning", {"batch_size": 4}, {"updates": 31})
