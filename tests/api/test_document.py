"""The OpenAPI document is whole, and the server does what it says."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from postil.api.gate import OPEN_PATHS
from tests.api.served import Served

CHECKS = (
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
)


def test_every_route_tells_what_it_takes_gives_and_refuses(server: Served) -> None:
    document = server.app.openapi()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["description"], (method, path)
            assert "422" not in operation["responses"]
            assert "200" in operation["responses"]
            if path in OPEN_PATHS:
                continue
            assert {"400", "401", "404", "429", "500", "503"} <= set(operation["responses"])
            assert path.startswith("/rate/") or operation["security"] == [{"key": []}]


@pytest.mark.slow
def test_what_schemathesis_sends_is_answered_as_documented(server: Served) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    headers = {"authorization": f"Bearer {server.key()}"}
    faults: list[str] = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.endswith("/live"):  # it does not end
            continue

        @settings(max_examples=12, deadline=None, database=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(case=operation.as_strategy())
        def tried(case: schemathesis.Case) -> None:
            answer = case.call(headers=headers, timeout=30)
            case.validate_response(answer, checks=list(CHECKS))

        try:
            tried()
        except Exception as fault:  # noqa: BLE001  all routes are looked at before anything is said
            faults.append(f"{operation.label}: {fault}"[:1500])
    assert not faults, "\n\n".join(faults)
