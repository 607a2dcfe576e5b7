"""TLS parameters of all connections to PostgreSQL: to shards and to the control database.

Invariant: TLS is never dropped silently. `prefer`, which falls back to plain text when a server (or an attacker in
between) offers no TLS, is accepted on loopback only. A server whose certificate does not prove its name never gets the
password: SCRAM is required, which does not reveal the password and proves that the server knows it too.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from configservice.topology.model import is_loopback
from runtime.settings import setting
from shardproxy.errors import InsecureConnection

PROTECTED_MODES = frozenset({"require", "verify-ca", "verify-full"})
STRAY_VARIABLES = (
    *("PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGOPTIONS", "PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS", "PGREALM"),
    *("PGSSLMODE", "PGREQUIRESSL", "PGSSLNEGOTIATION", "PGSSLCOMPRESSION", "PGSSLCERT", "PGSSLKEY", "PGSSLCERTMODE"),
    *("PGSSLROOTCERT", "PGSSLCRL", "PGSSLCRLDIR", "PGSSLSNI", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION"),
    *("PGREQUIREAUTH", "PGREQUIREPEER", "PGCHANNELBINDING", "PGMINPROTOCOLVERSION", "PGMAXPROTOCOLVERSION"),
    *("PGGSSENCMODE", "PGKRBSRVNAME", "PGGSSLIB", "PGGSSDELEGATION", "PGOAUTHDEBUG"),
)
"""Variables from which libpq would take connection parameters. Without PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD
and others that every connection sets itself."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of TLS files; empty: libpq's default in the home directory of the account, which need not exist."""

    root_certificate: str = setting(
        "",
        "File of the certificate authorities that the server's certificate is checked against; system: those of the"
        " operating system.",
    )
    certificate: str = setting("", "File of the client certificate shown to the server.")
    key: str = setting("", "File of the private key of the client certificate, mode 0600.")


NO_FILES = TlsFiles()


def build_tls_parameters(*, host: str, sslmode: str, files: TlsFiles = NO_FILES) -> dict[str, str]:
    """libpq parameters. Raises InsecureConnection for a mode that could drop TLS on the way to another machine."""
    if sslmode not in PROTECTED_MODES and sslmode != "disable" and not is_loopback(host):
        raise InsecureConnection(
            f"sslmode {sslmode} to {host} could drop TLS silently; use verify-full, verify-ca or require,"
            " or disable in a network that you trust"
        )
    given = {"sslrootcert": files.root_certificate, "sslcert": files.certificate, "sslkey": files.key}
    parameters = {"sslmode": sslmode, **{keyword: path for keyword, path in given.items() if path}}
    if sslmode != "verify-full":
        parameters["require_auth"] = "scram-sha-256"
    return parameters


def find_stray_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Names of environment variables that would override the settings of our connections."""
    return sorted(name for name in STRAY_VARIABLES if environment.get(name))
