"""Linters and generators of others read the OpenAPI document, and what they generate works against a real gateway.

Run by its name, not part of a whole run: no package of ours brings Node.js or the generators. What is not there is
skipped, loudly.
"""

import json
import os
import shutil
import uuid
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from devtools.localcluster.cluster import LocalCluster
from tests.pace import limit
from tests.processes import Argument, run
from viewcounter.apikeys.authentication import get_key_cache
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import Scope

NODE_MODULES = "VIEWCOUNTER_TEST_NODE_MODULES"
"""A folder in which the packages of package.json are installed."""
PYTHON_GENERATOR = "VIEWCOUNTER_TEST_OPENAPI_PYTHON_CLIENT"
"""The program, in a virtual environment that has what its packages need, and mypy."""
PROGRAMS = Path(__file__).parent / "programs"
RUN_SECONDS = 120.0
COMPILER = {
    "strict": True,
    "noUncheckedIndexedAccess": True,
    "skipLibCheck": True,
    "target": "es2022",
    "module": "nodenext",
    "types": ["node"],
}


@dataclass(frozen=True)
class Service:
    """A gateway, its document as generators load it, and a key that reads and writes."""

    url: str
    token: str
    document: Path

    def check(self, command: Sequence[Argument], *, folder: Path) -> None:
        """Runs a generated client: one event accepted, one video's counts read, one request refused."""
        done = run(
            [*command, self.url, self.token, f"video-{uuid.uuid4().hex}", str(uuid.uuid4())],
            within_seconds=RUN_SECONDS,
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"sent": [202, 1], "read": [200, 0], "refused": [422, "limit"]}


def find_tool(setting: str, missing: str) -> Path:
    found = os.environ.get(setting)
    if found:
        return Path(found)
    reason = f"{setting} is not set: {missing}"
    warnings.warn(reason, stacklevel=2)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    return find_tool(NODE_MODULES, "THE OPENAPI DOCUMENT IS NOT CHECKED BY LINTERS AND TYPESCRIPT GENERATORS")


@pytest.fixture(scope="session")
def python_generator() -> Path:
    return find_tool(PYTHON_GENERATOR, "THE OPENAPI DOCUMENT IS NOT CHECKED BY A PYTHON GENERATOR")


@pytest.fixture
def service(servers: LocalCluster, tmp_path: Path, django_db_blocker: Any) -> Iterator[Service]:
    application = servers.application("web")
    application.start()
    try:
        application.wait_ready()
        document = tmp_path / "schema.json"
        # As `curl -o schema.json` does it: without an Accept header that names JSON.
        answer = urllib3.request("GET", f"{servers.web_url}/v1/schema", timeout=limit(30.0))
        document.write_bytes(answer.data)
        with django_db_blocker.unblock():
            token = create_key("generated", [Scope.EVENTS_WRITE, Scope.STATS_READ])[1]
            yield Service(servers.web_url, token, document)
            ApiKey.objects.all().delete()
            get_key_cache().clear()
    finally:
        application.stop()


@pytest.fixture
def project(service: Service, node_modules: Path, tmp_path: Path) -> Path:
    """A folder for programs in TypeScript."""
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": COMPILER}))
    (tmp_path / "node_modules").symlink_to(node_modules)
    return tmp_path


def run_tool(project: Path, name: str, *arguments: Argument) -> str:
    done = run([project / "node_modules" / ".bin" / name, *arguments], within_seconds=RUN_SECONDS, cwd=project)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def build_and_check(project: Path, service: Service, program: str) -> None:
    shutil.copy(PROGRAMS / program, project)
    run_tool(project, "tsc", "--project", ".")
    service.check(["node", program.replace(".ts", ".js")], folder=project)


def test_redocly_finds_no_error(service: Service, project: Path) -> None:
    assert "Your API description is valid" in run_tool(project, "redocly", "lint", service.document)


def test_spectral_finds_no_error(service: Service, project: Path) -> None:
    (project / ".spectral.yaml").write_text('extends: ["spectral:oas"]\n')
    assert "(0 errors" in run_tool(project, "spectral", "lint", "--fail-severity", "error", service.document)


def test_a_client_of_openapi_typescript_type_checks_and_works(service: Service, project: Path) -> None:
    assert "arn" not in run_tool(project, "openapi-typescript", service.document, "-o", "schema.ts")
    build_and_check(project, service, "openapi_fetch.ts")


def test_a_client_of_hey_api_type_checks_and_works(service: Service, project: Path) -> None:
    # Node.js needs the extensions in the imports of its modules.
    config = {"input": str(service.document), "output": {"path": "hey", "module": {"extension": ".js"}}}
    (project / "openapi-ts.config.mjs").write_text(f"export default {json.dumps(config)};\n")
    assert "arn" not in run_tool(project, "openapi-ts")
    build_and_check(project, service, "hey_api.ts")


def test_a_client_of_openapi_python_client_type_checks_and_works(
    service: Service, python_generator: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    generate = [python_generator, "generate", "--path", service.document, "--meta", "setup", "--output-path", project]
    path = {**os.environ, "PATH": f"{python_generator.parent}:{os.environ['PATH']}"}
    done = run(generate, within_seconds=RUN_SECONDS, cwd=tmp_path, environment=path)
    assert done.returncode == 0, done.stdout + done.stderr
    # Bodies of events in other forms than JSON have no model; nothing else is left out.
    assert (done.stdout + done.stderr).count("WARNING") == 2
    python = python_generator.with_name("python")
    checked = run(
        [python, "-m", "mypy", "--strict", "viewcounter_rest_api_client"],
        within_seconds=RUN_SECONDS,
        cwd=project,
        environment={**path, "MYPY_CACHE_DIR": str(tmp_path / "cache")},
    )
    assert checked.returncode == 0, checked.stdout[-4000:]
    shutil.copy(PROGRAMS / "python_client.py", project)
    service.check([python, "python_client.py"], folder=project)
