"""TLS parameters for libpq, and connections that are refused before it is called."""

import pytest
from psycopg import pq

from configservice.topology.model import is_loopback
from shardproxy.errors import InsecureConnection
from shardproxy.tls import STRAY_VARIABLES, TlsFiles, build_tls_parameters, find_stray_variables

STATED = {
    *("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGAPPNAME", "PGCONNECT_TIMEOUT", "PGCLIENTENCODING"),
    "PGPASSFILE",  # used only for connections without a password, of which there are none
}


def test_a_verified_server_may_authenticate_us_as_it_likes():
    files = TlsFiles("/tls/ca.pem", "/tls/client.pem", "/tls/client.key")
    assert build_tls_parameters(host="db.example", sslmode="verify-full", files=files) == {
        "sslmode": "verify-full",
        "sslrootcert": "/tls/ca.pem",
        "sslcert": "/tls/client.pem",
        "sslkey": "/tls/client.key",
    }


@pytest.mark.parametrize("sslmode", ["disable", "require", "verify-ca"])
def test_a_server_that_does_not_prove_its_name_has_to_speak_scram(sslmode):
    parameters = build_tls_parameters(host="db.example", sslmode=sslmode)
    assert parameters == {"sslmode": sslmode, "require_auth": "scram-sha-256"}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "/run/postgresql", "127.0.0.1,::1"])
def test_tls_is_optional_on_loopback(host):
    assert build_tls_parameters(host=host, sslmode="prefer")["sslmode"] == "prefer"


@pytest.mark.parametrize("host", ["db.example", "10.0.0.5", "localhost.example", "127.0.0.1,db.example", "0.0.0.0"])  # noqa: S104
def test_optional_tls_to_another_machine_is_refused(host):
    assert not is_loopback(host)
    with pytest.raises(InsecureConnection, match=r"sslmode prefer to .+ could drop TLS silently; use verify-full"):
        build_tls_parameters(host=host, sslmode="prefer")


def test_every_variable_that_libpq_knows_is_stated_by_us_or_stray():
    known = {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    assert known - STATED - set(STRAY_VARIABLES) == set()


def test_stray_variables_are_named_and_empty_ones_are_none():
    environment = {"PGSSLMODE": "verify-full", "PGOPTIONS": "", "PGHOST": "elsewhere", "HOME": "/root"}
    assert find_stray_variables(environment) == ["PGSSLMODE"]
