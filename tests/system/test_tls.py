"""A cluster whose control database, log, broker and cache require TLS, with the Valkey users of the documentation."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis
from viewcounter_client import Client, queries

from devtools.localcluster import ClusterSpec, run_temporary_cluster
from devtools.localcluster.spec import CONTROL_SERVER
from tests.contracts.log_server import LogServer
from tests.tls import Authority, open_tls_front
from viewcounter.config.project import PROJECT_ROOT

pytestmark = [pytest.mark.system, pytest.mark.long(minutes=1)]

PASSWORD = "s3cret-of-this-test"


def read_rules(role: str) -> str:
    """The ACL rules of a role, as the manual has them."""
    manual = (PROJECT_ROOT / "docs/operations/tls.md").read_text()
    return " ".join(
        re.search(rf"^    ACL SETUSER {role} on >PASSWORD (.+(?:\n        .+)*)", manual, re.MULTILINE)[1].split()
    )


@contextmanager
def run_server(folder: Path, authority: Authority, *roles: str) -> Iterator[tuple[LogServer, str]]:
    """A Valkey server behind TLS with these users only; yields it and where the front is."""
    server = LogServer(folder)
    server.start()
    try:
        with server.connect() as client:
            client.execute_command("ACL", "SETUSER", "watcher", "on", f">{PASSWORD}", "+acl|log", "+client|setinfo")
            for role in roles:
                client.execute_command("ACL", "SETUSER", role, "on", f">{PASSWORD}", *read_rules(role).split())
            client.execute_command("ACL", "SETUSER", "default", "off")
        with open_tls_front(authority.issue(f"server-{folder.name}"), server.port, is_postgres=False) as front:
            yield server, f"127.0.0.1:{front.port}"
    finally:
        server.kill()


def check_nothing_was_denied(*servers: LogServer) -> None:
    """Names user, reason and command (or key) of each denied command, which is also why a cluster does not start."""
    denied = set()
    for server in servers:
        with redis.Redis.from_url(server.url, username="watcher", password=PASSWORD) as client:
            denied |= {(entry["username"], entry["reason"], entry["object"]) for entry in client.acl_log()}
    assert denied == set()


def test_a_cluster_counts_with_tls_everywhere_and_users_that_may_do_little(tmp_path):
    authority = Authority(tmp_path)
    root = f"?ssl_ca_certs={authority.root}"
    with ExitStack() as stack:
        log, log_at = stack.enter_context(run_server(tmp_path / "log", authority, "viewcounter-log"))
        broker, broker_at = stack.enter_context(
            run_server(tmp_path / "broker", authority, "viewcounter-broker", "viewcounter-cache")
        )
        settings = {
            "VIEWCOUNTER_LOG_URL": f"rediss://viewcounter-log:{PASSWORD}@{log_at}/0{root}",
            "VIEWCOUNTER_BROKER_URL": f"rediss://viewcounter-broker:{PASSWORD}@{broker_at}/0{root}",
            "VIEWCOUNTER_CACHE_URL": f"rediss://viewcounter-cache:{PASSWORD}@{broker_at}/1{root}",
            "VIEWCOUNTER_CONTROL_DATABASE_SSLMODE": "verify-full",
            "VIEWCOUNTER_CONTROL_DATABASE_TLS_ROOT_CERTIFICATE": str(authority.root),
        }

        def reach(name: str, port: int) -> int:
            if name != CONTROL_SERVER:
                return port
            front = open_tls_front(authority.issue("control"), port, is_postgres=True)
            return stack.enter_context(front).port

        spec = ClusterSpec(partitions=4, shards=1)
        cluster = stack.enter_context(run_temporary_cluster(spec=spec, settings=settings, reach=reach))
        stack.callback(check_nothing_was_denied, log, broker)
        cluster.start()
        key = cluster.run_command("create_api_key", "tls", "--scopes", "events:write,stats:read", "--quiet").strip()
        with Client(cluster.web_url, key) as client:
            client.track("view", video_id="by-tls")
            answer = client.query(queries.counts("by-tls"), after_flush=True)
        assert answer.videos[0].counts["view"] == 1
        cluster.run_command("retention", "--all")
