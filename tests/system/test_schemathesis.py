"""The OpenAPI document against the running service: what it allows is answered as it says, what it forbids is refused.

The short form is part of every run. The long one, with thousands of cases:
VIEWCOUNTER_SCHEMATHESIS_EXAMPLES=50 bin/test tests/system/test_schemathesis.py
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.plugin import DjangoDbBlocker

from localcluster.cluster import LocalCluster
from viewcounter.gateway.keys import create_key
from viewcounter.gateway.scopes import Scope

pytestmark = pytest.mark.system

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = os.environ.get("VIEWCOUNTER_SCHEMATHESIS_EXAMPLES")
SHORT = ["--phases", "examples,fuzzing", "--max-examples", "3"]
RUN_SECONDS = 3000.0 if EXAMPLES else 280.0


@pytest.fixture
def web(servers: LocalCluster) -> Iterator[LocalCluster]:
    application = servers.application("web")
    application.start()
    try:
        application.wait_ready()
        yield servers
    finally:
        application.stop()


@pytest.mark.timeout(RUN_SECONDS + 20)
def test_every_answer_is_what_the_document_says(
    web: LocalCluster, django_db_blocker: DjangoDbBlocker, tmp_path: Path
) -> None:
    with django_db_blocker.unblock():
        key, token = create_key("contract", list(Scope))
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(CONFIG),
        "run",
        f"{web.web_url}/v1/schema",
        *("--header", f"Authorization: Bearer {token}", "--checks", "all", "--seed", "1", "--no-shrink", "--no-color"),
        *("--continue-on-failure", "--request-timeout", "20", "--generation-database", "none"),
        *(["--max-examples", EXAMPLES] if EXAMPLES else SHORT),
    ]
    try:
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    finally:
        with django_db_blocker.unblock():
            key.delete()
    print(run.stdout[-8000:])  # noqa: T201 - pytest shows it with a failure, and with -s the figures
    assert run.returncode == 0, run.stdout[-8000:]
    counted = re.search(r"([\d,]+) generated", run.stdout)
    assert counted is not None
    assert int(counted[1].replace(",", "")) >= (2000 if EXAMPLES else 100)
