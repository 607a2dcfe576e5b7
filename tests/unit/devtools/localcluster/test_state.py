import json
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from devtools.localcluster.ports import FIRST_PORT, LAST_PORT, assign_ports
from devtools.localcluster.spec import ClusterSpec
from devtools.localcluster.state import LOG_MAX_BYTES, StateFolder, find_state_dir, read_json


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / ".local")
    folder.create()
    return folder


def test_a_secret_is_made_once_private_and_long(state: StateFolder):
    first = state.get_secret("log_password")
    assert state.get_secret("log_password") == first
    assert StateFolder(state.root).get_secret("log_password") == first
    assert state.get_secret("broker_password") != first
    assert len(first) == 64
    assert stat.S_IMODE(state.get_secret_path("log_password").stat().st_mode) == 0o600


def test_processes_that_ask_for_a_new_secret_together_get_the_same(state: StateFolder):
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: StateFolder(state.root).get_secret("shared"), range(32)))
    assert secrets == {state.get_secret("shared")}
    assert {path.name for path in state.secrets.iterdir()} == {"shared", "instances"}


def test_ports_are_distinct_below_the_outgoing_range_and_remembered(state: StateFolder):
    names = [f"server{number}" for number in range(50)]
    ports = assign_ports(state, names, replace_taken=True)
    assert len(set(ports.values())) == 50
    assert all(FIRST_PORT <= port <= LAST_PORT for port in ports.values())
    assert assign_ports(state, names, replace_taken=True) == ports


def test_a_chosen_port_is_held_from_other_clusters_and_open_to_its_server(state: StateFolder):
    address = ("127.0.0.1", assign_ports(state, ["one"], replace_taken=True)["one"])
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(address)  # as another cluster chooses
    with socket.create_server(address), socket.create_connection(address):
        pass


def test_only_a_port_that_is_taken_is_replaced(state: StateFolder):
    before = assign_ports(state, ["one", "two"], replace_taken=True)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", before["one"]))
        thief.listen()
        assert assign_ports(state, ["one", "two"], replace_taken=False) == before
        after = assign_ports(state, ["one", "two"], replace_taken=True)
    assert after["two"] == before["two"]
    assert after["one"] != before["one"]


def test_a_damaged_file_is_as_good_as_missing(state: StateFolder):
    state.ports_file.write_text('{"control": ')
    assert read_json(state.ports_file) is None
    assert set(assign_ports(state, ["control"], replace_taken=True)) == {"control"}
    assert set(json.loads(state.ports_file.read_text())) == {"control"}


def test_a_large_log_keeps_its_end_and_is_emptied_in_place(state: StateFolder):
    path = state.get_log_path("web")
    with path.open("ab") as writer:
        writer.write(b"x" * LOG_MAX_BYTES + b"\nlast line\n")
        writer.flush()
        state.bound_log("web")
        writer.write(b"goes on\n")
    assert path.read_bytes() == b"goes on\n"
    assert path.with_suffix(".log.1").read_text().endswith("x\nlast line\n")
    assert path.with_suffix(".log.1").stat().st_size == LOG_MAX_BYTES // 4


@pytest.mark.parametrize("sizes", [{"shards": 0}, {"replicas_per_shard": -1}, {"shards": 8, "partitions": 4}])
def test_impossible_sizes_are_refused(sizes: dict):
    with pytest.raises(ValueError, match="shards"):
        ClusterSpec(**sizes)


def test_instances_are_named_after_their_shard():
    spec = ClusterSpec(shards=2, replicas_per_shard=2)
    assert spec.shard_names == ("shard1", "shard2")
    assert spec.get_instance_names("shard2") == ("shard2a", "shard2b", "shard2c")


def test_the_id_of_a_cluster_is_made_up_at_its_first_start_and_kept(state: StateFolder):
    cluster_id = state.find_cluster_id()
    assert str(UUID(cluster_id)) == cluster_id
    (state.data / "control").mkdir()
    assert StateFolder(state.root).find_cluster_id() == cluster_id


def test_a_cluster_of_the_release_before_keeps_the_id_its_processes_know(state: StateFolder):
    (state.data / "control").mkdir()
    assert state.find_cluster_id() is None
    state.topology_file.write_text('{"epoch": 4, "cluster_id": "8873339a-daf2-413a-ba44-0aeb1ed9e840"}')
    assert state.find_cluster_id() == "8873339a-daf2-413a-ba44-0aeb1ed9e840"
    state.topology_file.unlink()
    assert state.find_cluster_id() == "8873339a-daf2-413a-ba44-0aeb1ed9e840"


def test_instance_passwords_of_an_earlier_release_are_moved(state: StateFolder):
    before = state.secrets / "shard_password"
    before.write_text("old\n")
    assert (state.get_secret("shard_password"), state.get_secret_path("shard_password")) == ("old", before)
    state.move_instance_passwords()
    state.move_instance_passwords()
    assert (state.get_secret("shard_password"), before.exists()) == ("old", False)
    assert state.get_secret_path("shard_password").parent == state.instance_passwords
    assert state.get_secret_path("secret_key").parent == state.secrets


@pytest.mark.parametrize(
    ("environment", "line", "found"),
    [
        ({}, None, "default"),
        ({}, "VIEWCOUNTER_STATE_DIR=/elsewhere", "/elsewhere"),
        ({}, "VIEWCOUNTER_STATE_DIR='/with quotes'", "/with quotes"),
        ({"VIEWCOUNTER_STATE_DIR": "/given"}, "VIEWCOUNTER_STATE_DIR=/elsewhere", "/given"),
        ({"VIEWCOUNTER_ENV_FILE": "nothing"}, "VIEWCOUNTER_STATE_DIR=/elsewhere", "default"),
    ],
)
def test_the_state_folder_is_found_as_the_settings_find_it(tmp_path, environment, line, found):
    default = tmp_path / "default"
    default.mkdir()
    if line is not None:
        (default / "env").write_text(f"VIEWCOUNTER_SECRET_KEY=x\n{line}\n")
    expected = default if found == "default" else Path(found)
    assert find_state_dir(environment, default=default) == expected


def test_a_secret_that_nobody_asked_for_is_not_made(tmp_path):
    state = StateFolder(tmp_path / "state")
    state.create()
    assert state.find_secret("key") is None
    assert state.get_secret("key") == state.find_secret("key")
