"""The code samples of the OpenAPI document run as they stand, against a running gateway."""

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from devtools.localcluster.cluster import LocalCluster
from tests.pace import limit
from tests.processes import run
from viewcounter.apikeys.authentication import get_key_cache
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import Scope
from viewcounter.catalogue.models import Channel, Video

pytestmark = pytest.mark.system

RUN_SECONDS = 60.0
ORDER = {"put": 0, "post": 1, "get": 2}
"""Writers first: what they write, readers find."""
MISSING = ("getDeadLetter", "replayDeadLetter", "discardDeadLetter", "getRecount")
"""Their examples name objects that there are none of: 404."""
SEPARATOR = "--- next sample"
PYTHON = """
import sys, traceback
for source in sys.stdin.read().split({separator!r}):
    try:
        exec(source, {{}})
    except Exception:
        traceback.print_exc()
        sys.exit(f"failed: {{source}}")
"""


@pytest.fixture(scope="module")
def gateway(servers: LocalCluster, django_db_blocker: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """The document of a running gateway, and the environment that its samples need."""
    application = servers.application("web")
    application.start()
    try:
        application.wait_ready()
        document = urllib3.request("GET", f"{servers.web_url}/v1/schema", timeout=limit(30.0)).json()
        with django_db_blocker.unblock():
            token = create_key("samples", list(Scope))[1]
            yield document, {**os.environ, "VIEWCOUNTER_URL": servers.web_url, "VIEWCOUNTER_KEY": token}
            for model in (ApiKey, Video, Channel):
                model.objects.all().delete()
            get_key_cache().clear()
    finally:
        application.stop()


def list_samples(document: Any, label: str) -> list[str]:
    """Of every operation that a program may use and whose objects there are."""
    operations = [
        (ORDER[method], path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "x-codeSamples" in operation
    ]
    return [
        next(sample["source"] for sample in operation["x-codeSamples"] if sample["label"] == label)
        for _, _, operation in sorted(operations, key=lambda each: each[:2])
        if operation["operationId"] not in MISSING
    ]


def test_every_sample_for_curl_works(gateway: tuple[Any, dict[str, str]]) -> None:
    if shutil.which("curl") is None:
        warnings.warn("no curl here: THE CODE SAMPLES FOR curl ARE NOT RUN", stacklevel=1)
        pytest.skip("no curl here")
    document, environment = gateway
    script = "set -e\n" + "\necho\n".join(list_samples(document, "curl"))
    done = run(["bash", "-c", script], within_seconds=RUN_SECONDS, environment=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert '"accepted":1' in done.stdout


def test_every_sample_in_python_works(gateway: tuple[Any, dict[str, str]], tmp_path: Path) -> None:
    document, environment = gateway
    samples = tmp_path / "samples.txt"
    samples.write_text(SEPARATOR.join(list_samples(document, "Python")))
    program = PYTHON.format(separator=SEPARATOR).replace("sys.stdin.read()", "open(sys.argv[1]).read()")
    done = run([sys.executable, "-c", program, samples], within_seconds=RUN_SECONDS, environment=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    assert '"accepted":1' in done.stdout


def test_every_sample_in_javascript_works(gateway: tuple[Any, dict[str, str]], tmp_path: Path) -> None:
    if shutil.which("node") is None:
        warnings.warn("no Node.js here: THE CODE SAMPLES IN JAVASCRIPT ARE NOT RUN", stacklevel=1)
        pytest.skip("no Node.js here")
    document, environment = gateway
    program = tmp_path / "samples.mjs"
    program.write_text("".join(f"{{\n{sample}}}\n" for sample in list_samples(document, "JavaScript")))
    done = run(["node", program], within_seconds=RUN_SECONDS, environment=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    assert '"accepted":1' in done.stdout
