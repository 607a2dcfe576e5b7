"""Connections set all keywords of libpq, and read the password from its reference."""

from pathlib import Path

import pytest
from msgspec import structs

from configservice.topology.model import Instance, Role
from configservice.topology.password_refs import PasswordRefRules
from shardproxy.conninfo import build_connection_parameters
from shardproxy.errors import UnreadablePassword
from shardproxy.settings import PoolSettings

INSTANCE = Instance(
    name="shard1a",
    role=Role.PRIMARY,
    host="db1.example",
    port=5433,
    database="counts",
    user="viewcounter",
    password_ref="env:VIEWCOUNTER_SHARD_PASSWORD",
    sslmode="verify-full",
)


def test_connections_state_who_where_and_how(monkeypatch):
    monkeypatch.setenv("VIEWCOUNTER_SHARD_PASSWORD", "s3cret")
    parameters = build_connection_parameters(INSTANCE, PoolSettings(application_name="test"))
    wanted = {
        "host": "db1.example",
        "port": 5433,
        "user": "viewcounter",
        "password": "s3cret",
        "dbname": "counts",
        "sslmode": "verify-full",
        "application_name": "test",
        "connect_timeout": 2,
        "client_encoding": "UTF8",
    }
    assert {name: parameters[name] for name in wanted} == wanted


def test_password_is_read_anew_for_each_connection(tmp_path):
    settings = PoolSettings(password_refs=PasswordRefRules(tmp_path))
    file = tmp_path / "password"
    file.write_text("first\n")
    instance = Instance(
        **{name: getattr(INSTANCE, name) for name in INSTANCE.__struct_fields__} | {"password_ref": f"file:{file}"}
    )
    assert build_connection_parameters(instance, settings)["password"] == "first"
    file.write_text("second\n")
    assert build_connection_parameters(instance, settings)["password"] == "second"


@pytest.mark.parametrize("reference", ["env:VIEWCOUNTER_SHARD_NOT_SET", "file:/nonexistent/password", "hunter2"])
def test_a_reference_to_nothing_is_refused_and_never_repeated_as_a_password(reference):
    instance = Instance(
        name="a", role=Role.PRIMARY, host="localhost", port=1, database="d", user="u", password_ref=reference
    )
    with pytest.raises(UnreadablePassword) as caught:
        build_connection_parameters(instance, PoolSettings(password_refs=PasswordRefRules(Path("/nonexistent"))))
    assert "hunter2" not in str(caught.value)


def test_a_topology_cannot_have_a_secret_of_ours_sent_to_its_server(tmp_path, monkeypatch):
    monkeypatch.setenv("VIEWCOUNTER_SECRET_KEY", "s3cret")
    (tmp_path / "secret_key").write_text("s3cret")
    for place in ("env:VIEWCOUNTER_SECRET_KEY", f"file:{tmp_path / 'secret_key'}"):
        with pytest.raises(UnreadablePassword, match="password reference not allowed"):
            build_connection_parameters(structs.replace(INSTANCE, password_ref=place), PoolSettings())
