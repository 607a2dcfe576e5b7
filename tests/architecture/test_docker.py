"""docker/ fits the product: every process, every setting, nothing unpinned, nothing that runs as root."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from configservice.topology.cluster_file import read_cluster_file
from devtools.localcluster.postgres import OPERATED_PARAMETERS
from devtools.localcluster.spec import (
    CONFIG_SERVICE_ROLE,
    REPLICATION_ROLE,
    SERVICE_ROLE,
    SHARD_DATABASE,
    SHARD_PROXY_ROLE,
)
from tests.architecture.programs import run_where_found
from viewcounter.config import Config
from viewcounter.config.reading import list_settings

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
SERVERS = {name: service for name, service in SERVICES.items() if name not in OURS}
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (DOCKER / ".env.example").read_text(), re.MULTILINE))
STAGES = re.split(r"^FROM ", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
SETTINGS = {found.variable for found in list_settings(Config)}
SETTINGS_READ_ELSEWHERE = {"VIEWCOUNTER_SECRETS_DIR"}  # it says where the others are


def test_every_process_of_the_running_page_is_a_service():
    page = (ROOT / "docs/operations/running.md").read_text()
    rows = page.split("## Processes")[1].split("\n\n")[1].splitlines()[2:]
    processes = {row.split("|")[1].strip().replace(" ", "") for row in rows}
    assert {service["command"][0] for service in OURS.values()} == processes | {"prepare"}
    entrypoint = (DOCKER / "entrypoint").read_text()
    assert set(re.findall(r"^(\w+)\)$", entrypoint, re.MULTILINE)) == processes


def test_the_image_holds_every_package_of_the_service_and_no_devtools():
    roots = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    roots.remove("devtools")
    let_in = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(let_in) == {*roots, "manage.py", "requirements.lock", "docker/entrypoint", "docker/healthcheck"}
    assert set(roots) <= set(re.findall(r"compileall -q (.+)", STAGES[0])[0].split())


def test_every_image_has_a_version():
    images = {name: value for name, value in EXAMPLE.items() if name.endswith("IMAGE")}
    assert sorted(images) == ["IMAGE", "POSTGRES_IMAGE", "PYTHON_IMAGE", "VALKEY_IMAGE"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert images["IMAGE"] == f"{project['name']}:{project['version']}"
    for image in images.values():
        assert re.search(r":\d+\.\d+[\w.-]*$", image), image
    named = {re.sub(r"^\$\{(\w+):\?.*\}$", r"\1", service["image"]) for service in SERVICES.values()}
    assert named == {"IMAGE", "POSTGRES_IMAGE", "VALKEY_IMAGE"}
    assert f"ARG PYTHON_IMAGE={images['PYTHON_IMAGE']}\n" in (DOCKER / "Dockerfile").read_text()
    assert [stage.split()[0] for stage in STAGES] == ["${PYTHON_IMAGE}${PYTHON_DIGEST}"] * 2


def test_the_image_is_installed_from_the_lock_and_its_last_stage_builds_nothing():
    assert "--require-hashes --only-binary :all: --requirement requirements.lock" in STAGES[0]
    assert re.search(r"\bpip\b|apt|gcc|requirements", STAGES[1]) is None


def test_the_image_runs_without_root_and_checks_itself():
    assert re.findall(r"^USER (\S+)$", STAGES[1], re.MULTILINE) == ["10001:10001"]
    assert len(re.findall(r"^HEALTHCHECK .*CMD ", STAGES[1], re.MULTILINE)) == 1


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_to_spare_and_is_looked_after(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"privileged", "network_mode", "pid"}.isdisjoint(service)
    if name in OURS:  # the account and the check are the image's
        assert service["read_only"] is True
        assert "user" not in service
    else:
        assert service["user"] in {"postgres", "valkey"}
        assert service["healthcheck"]["test"]
    assert (service["restart"], "disable" in service.get("healthcheck", {})) == (
        ("no", True) if name == "prepare" else ("unless-stopped", False)
    )
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_every_process_is_stopped_before_the_servers_it_uses():
    for name, service in OURS.items():
        before = set(service["depends_on"])
        assert before == set(SERVERS) | ({"prepare"} if name != "prepare" else set()), name


def test_every_variable_is_a_known_setting_or_one_of_the_compose_file():
    compose = (DOCKER / "compose.yaml").read_text()
    substituted = set(re.findall(r"\$\{(\w+)", compose))
    ours = {name for service in OURS.values() for name in service["environment"]}
    in_scripts = set(re.findall(r"\bVIEWCOUNTER_\w+", (DOCKER / "entrypoint").read_text() + STAGES[1]))
    assert ours | in_scripts | {name for name in EXAMPLE if name.startswith("VIEWCOUNTER_")} <= (
        SETTINGS | SETTINGS_READ_ELSEWHERE
    )
    assert substituted == {name for name in EXAMPLE if not name.startswith("VIEWCOUNTER_")}


def test_no_secret_stands_in_a_variable():
    secret = r"PASSWORD(?!_REF)|SECRET(?!S_DIR)|_KEY|_URL"
    names = {*EXAMPLE, *(name for service in SERVICES.values() for name in service.get("environment", {}))}
    assert [name for name in sorted(names) if re.search(secret, name)] == []


def test_every_secret_is_made_as_a_file_for_the_containers_alone(tmp_path):
    folder = tmp_path / "secrets"
    make = ["sh", str(DOCKER / "make-secrets"), str(folder)]
    subprocess.run(make, check=True, capture_output=True)
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} <= set(made)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}
    random = [text for name, text in made.items() if name.endswith(("_password", "_key"))]
    assert len(set(random)) == len(random)
    assert all(len(text) >= 50 for text in random)
    assert made["log_password"] in made["log_url"]
    subprocess.run(make, check=True, capture_output=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == made


def test_the_settings_of_the_containers_pass_the_checks_of_a_deployment(tmp_path):
    subprocess.run(["sh", str(DOCKER / "make-secrets"), str(tmp_path / "made")], check=True, capture_output=True)
    files = {name: tmp_path / "made" / Path(secret["file"]).name for name, secret in COMPOSE["secrets"].items()}
    service = OURS["web1"]
    for secret in service["secrets"]:
        if "/" not in secret["target"]:
            (tmp_path / secret["target"]).symlink_to(files[secret["source"]])
    environment = {
        "PATH": os.environ["PATH"],
        **{name: value for name, value in EXAMPLE.items() if name.startswith("VIEWCOUNTER_")},
        **service["environment"],
        "VIEWCOUNTER_STATE_DIR": str(tmp_path),
        "VIEWCOUNTER_SECRETS_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_process_gets_its_secrets_under_the_names_of_settings():
    for name, service in OURS.items():
        targets = [secret["target"] for secret in service["secrets"]]
        in_folder = {target.upper() for target in targets if "/" not in target}
        assert in_folder <= SETTINGS, name
        assert "VIEWCOUNTER_SECRET_KEY" in in_folder, name


def test_the_cluster_file_names_the_shards_and_the_passwords_that_are_mounted():
    described = read_cluster_file(DOCKER / "cluster.json")
    instances = [instance for shard in described.shards for instance in shard.instances]
    assert {instance.host for instance in instances} == {name for name in SERVERS if name.startswith("shard")}
    # Within one host; `prefer`, the default, is refused between containers.
    assert {instance.sslmode for instance in instances} == {"disable"}
    assert OURS["web1"]["environment"]["VIEWCOUNTER_CONTROL_DATABASE_SSLMODE"] == "disable"
    refs = {instance.password_ref for instance in instances}
    for service in OURS.values():
        mounted = {f"file:{secret['target']}" for secret in service["secrets"]}
        assert refs <= mounted
        assert service["environment"]["VIEWCOUNTER_POOL_PASSWORD_REFS_DIRECTORY"] == "/run/shard-passwords"


def test_the_databases_have_the_roles_that_the_processes_log_in_as():
    shard = (DOCKER / "postgres/shard.sql").read_text()
    roles = set(re.findall(r"CREATE ROLE (\w+)", shard))
    assert roles == {SERVICE_ROLE, REPLICATION_ROLE, SHARD_PROXY_ROLE, CONFIG_SERVICE_ROLE}
    assert f"ON PARAMETER {', '.join(OPERATED_PARAMETERS)}" in shard
    assert f"CREATE DATABASE {SHARD_DATABASE} OWNER {SERVICE_ROLE}" in shard
    environment = OURS["web1"]["environment"]
    assert environment["VIEWCOUNTER_CONFIGSERVICE_USER"] == CONFIG_SERVICE_ROLE
    assert environment["VIEWCOUNTER_SHARDPROXY_USER"] == SHARD_PROXY_ROLE


@pytest.mark.parametrize("script", ["entrypoint", "make-secrets", "postgres/start"])
def test_a_script_can_be_read_by_its_shell_and_be_run(script):
    path = DOCKER / script
    shell = path.read_text().splitlines()[0].rsplit("/", 1)[1].removeprefix("env ")
    subprocess.run([shell, "-n", str(path)], check=True)
    assert path.stat().st_mode & 0o111 == 0o111


def test_hadolint_finds_nothing():
    run_where_found("hadolint", str(DOCKER / "Dockerfile"))


def test_compose_understands_its_file(tmp_path):
    shutil.copy(DOCKER / ".env.example", tmp_path / ".env")
    shutil.copy(DOCKER / "compose.yaml", tmp_path)
    run_where_found("docker-compose", "--file", str(tmp_path / "compose.yaml"), "config", "--quiet")
