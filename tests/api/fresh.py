"""Loaded into upstream's pytest, far from our own: before each test the server's fixed objects are made anew.

The server listens at TEST_API_BASE_URL, as upstream's tests expect it; there `POST /fresh` does it (see seeded.py).
"""

from __future__ import annotations

import os
from urllib.request import Request, urlopen

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """One test cancels what the next one pauses, so none may see what another left."""
    with urlopen(Request(f"{os.environ['TEST_API_BASE_URL']}/fresh", method="POST"), timeout=60) as answer:
        assert answer.status == 204
