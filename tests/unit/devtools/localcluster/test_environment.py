import os
import stat
from pathlib import Path

import pytest

from configservice.topology.signing import read_signing_key
from devtools.localcluster.__main__ import main
from devtools.localcluster.applications import build_child_environment
from devtools.localcluster.environment import build_environment, write_environment
from devtools.localcluster.errors import SettingsContradict
from devtools.localcluster.spec import BROKER_SERVER, CONTROL_SERVER, LOG_SERVER
from devtools.localcluster.state import StateFolder
from viewcounter.config import Config, read_settings

PORTS = {"control": 20001, "log": 20002, "broker": 20003, "web": 20004, "shardproxy": 20005}


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / ".local")
    folder.create()
    return folder


def test_without_outer_settings_every_server_is_ours(state: StateFolder):
    environment = build_environment(state, ports=PORTS, outer={})
    log_password = state.get_secret("log_password")
    assert environment.given == frozenset()
    assert environment.settings["VIEWCOUNTER_LOG_URL"] == f"redis://:{log_password}@127.0.0.1:20002/0"
    assert environment.settings["VIEWCOUNTER_CONTROL_DATABASE_PORT"] == "20001"
    assert environment.settings["VIEWCOUNTER_WEB_BIND"] == "127.0.0.1:20004"


@pytest.mark.parametrize(
    ("outer", "given"),
    [
        ({"VIEWCOUNTER_LOG_URL": "redis://elsewhere/0"}, {LOG_SERVER}),
        ({"VIEWCOUNTER_CONTROL_DATABASE_HOST": "elsewhere"}, {CONTROL_SERVER}),
        ({"VIEWCOUNTER_BROKER_URL": "redis://b/0", "VIEWCOUNTER_CACHE_URL": "redis://b/1"}, {BROKER_SERVER}),
        ({"VIEWCOUNTER_WEB_BIND": "127.0.0.1:8000"}, set()),
    ],
)
def test_an_address_in_the_outer_environment_replaces_our_server(state: StateFolder, outer: dict, given: set):
    environment = build_environment(state, ports=PORTS, outer=outer)
    assert environment.given == given
    assert environment.settings | outer == environment.settings


def test_a_shell_that_loaded_our_own_settings_gives_nothing(state: StateFolder):
    own = build_environment(state, ports=PORTS, outer={}).settings
    assert build_environment(state, ports=PORTS, outer=own).given == frozenset()


def test_broker_and_cache_are_given_together_or_not_at_all(state: StateFolder):
    with pytest.raises(SettingsContradict):
        build_environment(state, ports=PORTS, outer={"VIEWCOUNTER_CACHE_URL": "redis://c/1"})


def test_the_settings_file_is_private_and_replaced_whole(state: StateFolder):
    write_environment(state, {"VIEWCOUNTER_A": "1"})
    write_environment(state, {"VIEWCOUNTER_B": "2"})
    assert state.environment_file.read_text().splitlines()[1:] == ["VIEWCOUNTER_B=2"]
    assert stat.S_IMODE(state.environment_file.stat().st_mode) == 0o600
    assert [path.name for path in state.root.iterdir() if path.is_file()] == ["env"]


def test_settings_of_this_process_do_not_reach_a_child(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VIEWCOUNTER_LOG_LEVEL", "DEBUG")
    child = build_child_environment({"VIEWCOUNTER_X": "1"}, outer={"VIEWCOUNTER_Y": "2"}, env_file=Path("/state/env"))
    ours = {name: value for name, value in child.items() if name.startswith("VIEWCOUNTER_")}
    assert ours == {"VIEWCOUNTER_X": "1", "VIEWCOUNTER_Y": "2", "VIEWCOUNTER_ENV_FILE": "/state/env"}
    assert child["PATH"] == os.environ["PATH"]


def test_signing_key_of_an_earlier_release_goes_on_telling_viewers_apart(state: StateFolder):
    old = "k" * 48
    state.get_secret_path("secret_key").write_text(f"{old}\n")
    first = build_environment(state, ports=PORTS, outer={}).settings
    again = build_environment(StateFolder(state.root), ports=PORTS, outer={}).settings
    assert first == again
    assert first["VIEWCOUNTER_VIEWER_KEY"] == old
    assert read_settings(Config, first).viewer_key.get_secret_value() == old
    names = sorted(path.name for path in state.secrets.iterdir() if "key" in path.name)
    assert names == ["secret_key", "topology_signing_key", "viewer_key"]


def test_new_cluster_tells_viewers_apart_by_its_signing_key(state: StateFolder):
    assert "VIEWCOUNTER_VIEWER_KEY" not in build_environment(state, ports=PORTS, outer={}).settings


def test_processes_get_the_public_key_and_not_the_private_one(state: StateFolder):
    settings = build_environment(state, ports=PORTS, outer={}).settings
    key = read_signing_key(state.get_secret_path("topology_signing_key"))
    assert settings["VIEWCOUNTER_CLUSTER_TOPOLOGY_PUBLIC_KEYS"] == key.public
    assert "VIEWCOUNTER_CONFIGSERVICE_SIGNING_KEY_FILE" not in settings
    assert stat.S_IMODE(state.get_secret_path("topology_signing_key").stat().st_mode) == 0o600


def test_settings_file_with_a_key_of_an_earlier_release_is_written_anew(state: StateFolder):
    state.get_secret_path("secret_key").write_text("k" * 48 + "\n")
    write_environment(state, {"VIEWCOUNTER_SECRET_KEY": "k" * 48})
    main(state.root)
    written = state.environment_file.read_text()
    assert f"VIEWCOUNTER_SECRET_KEY={state.get_secret('secret_key')}\n" in written
    state.environment_file.write_text(written + "# a line of an operator\n")
    main(state.root)
    assert state.environment_file.read_text().endswith("# a line of an operator\n")
