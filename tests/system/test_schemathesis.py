"""The OpenAPI document against the running service: what it allows is answered as it says, what it forbids is refused.

The long form, with thousands of cases and sequences of requests: bin/test --long tests/system/test_schemathesis.py
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.plugin import DjangoDbBlocker

from devtools.localcluster.cluster import LocalCluster
from tests.processes import run
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.scopes import Scope

pytestmark = pytest.mark.system

CONFIG = Path(__file__).with_name("schemathesis.toml")
SHORT = ("--phases", "examples,fuzzing", "--max-examples", "3")
LONG = ("--max-examples", "10")
RUN_SECONDS = 280.0
LONG_SECONDS = 3000.0


@pytest.fixture
def web(servers: LocalCluster) -> Iterator[LocalCluster]:
    application = servers.application("web")
    application.start()
    try:
        application.wait_ready()
        yield servers
    finally:
        application.stop()


@pytest.mark.parametrize(
    ("options", "seconds", "least_cases"),
    [
        pytest.param(SHORT, RUN_SECONDS, 100, id="short"),
        pytest.param(
            LONG,
            LONG_SECONDS,
            2000,
            marks=[pytest.mark.long(minutes=10), pytest.mark.timeout(LONG_SECONDS + 20)],
            id="long",
        ),
    ],
)
def test_every_answer_is_what_the_document_says(
    web: LocalCluster, django_db_blocker: DjangoDbBlocker, tmp_path: Path, *, options, seconds, least_cases
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
        *options,
    ]
    try:
        done = run(command, cwd=tmp_path, within_seconds=seconds)
    finally:
        with django_db_blocker.unblock():
            key.delete()
    print(done.stdout[-8000:])  # noqa: T201 - pytest shows it with a failure, and with -s the figures
    assert done.returncode == 0, done.stdout[-8000:]
    counted = re.search(r"([\d,]+) generated", done.stdout)
    assert counted is not None
    assert int(counted[1].replace(",", "")) >= least_cases
