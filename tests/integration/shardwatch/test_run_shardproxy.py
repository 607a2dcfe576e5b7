"""The shard proxy process: it ends sessions, measures and reports while servers are down, and stops at SIGTERM."""

import os
import signal
import threading

import psycopg
import pytest
import urllib3
from django.core.management import CommandError, call_command
from django.db import connections
from prometheus_client.parser import text_string_to_metric_families

from configservice.errors import WitnessUnavailable
from configservice.monitoring.witness_reports import WitnessReader
from configservice.topology.cluster_cache import get_cluster_cache
from tests.pace import limit
from tests.waiting import wait_until
from viewcounter.cache.macs import CacheValue, build_authenticator


def sleep_on(server, *, seconds=60):
    """A foreign session that runs a statement for `seconds`; the SQLSTATE that ended it, or None."""
    found = []

    def run():
        with server.connect() as connection:
            connection.execute("SET statement_timeout = 0; SET application_name = 'metabase'")
            try:
                connection.execute(f"SELECT 'geheim', pg_sleep({seconds})")
                found.append(None)
            except psycopg.Error as error:
                found.append(error.sqlstate)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit(30))
    assert found, "the session was not ended"
    return found[0]


def ask(servers, path):
    address = servers.environment["VIEWCOUNTER_SHARDPROXY_METRICS_BIND"]
    return urllib3.request("GET", f"http://{address}{path}", retries=False, timeout=limit(10.0))


def read_metrics(servers):
    """By (name, instance), the sum over all other labels."""
    found = {}
    for family in text_string_to_metric_families(ask(servers, "/metrics").data.decode()):
        for sample in family.samples:
            key = (sample.name.removeprefix("viewcounter_"), sample.labels.get("instance"))
            found[key] = found.get(key, 0.0) + sample.value
    return found


def read_reports(instance):
    try:
        heard = WitnessReader(build_authenticator(CacheValue.WITNESS)).read(get_cluster_cache(), instance=instance)
    except WitnessUnavailable:
        return None
    return [one.report.is_reachable for one in heard if one.report.age_seconds < 10]


INSTANCES = ["shard1a", "shard1b", "shard2a", "shard2b"]


def test_it_kills_stores_measures_and_bears_witness_and_ends_at_sigterm(servers, shard_proxy, kills):
    assert sleep_on(servers.database("shard1b")) == "57014"
    wait_until(kills.exists)
    kill = kills.get()
    assert (kill.shard, kill.instance, kill.session_class, kill.action) == ("shard1", "shard1b", "foreign", "cancel")
    assert (kill.statement, kill.application, kill.budget_seconds) == ("SELECT ?, pg_sleep(?)", "metabase", 1.0)
    wait_until(lambda: ("instance_lag_events", "shard2b") in read_metrics(servers))
    metrics = read_metrics(servers)
    assert metrics["kills_total", "shard1b"] == 1
    for instance in INSTANCES:
        assert metrics["instance_up", instance] == 1
        assert metrics["instance_max_connections", instance] == 100
        assert metrics["instance_connections", instance] < 50
        assert metrics["instance_database_bytes", instance] > 1_000_000
        assert metrics["instance_lag_partitions", instance] == metrics["instance_lag_events", instance] == 0
        wait_until(lambda instance=instance: read_reports(instance) == [True])
    assert ("instance_slot_retained_bytes", "shard1a") in metrics
    with servers.database("shard1b").connect():
        wait_until(lambda: read_metrics(servers)["instance_connections", "shard1b"] > 0)
    health = ask(servers, "/healthz")
    assert (health.status, health.json()["instances"]) == (200, dict.fromkeys(INSTANCES, "up"))
    assert ask(servers, "/admin/").status == 404
    os.kill(shard_proxy.pid, signal.SIGTERM)
    wait_until(lambda: shard_proxy.exit_status is not None)
    assert shard_proxy.exit_status == 0


def test_kills_are_stored_later_when_control_database_and_cache_are_down(servers, shard_proxy, kills):
    wait_until(lambda: read_reports("shard2b") == [True])
    down = [servers.server(name) for name in ("control", "broker", "shard2b")]
    for server in down:
        server.kill()
    try:
        wait_until(lambda: ask(servers, "/healthz").json()["instances"]["shard2b"] == "down")
        assert sleep_on(servers.database("shard1a")) == "57014"
        wait_until(lambda: read_metrics(servers)["kills_waiting", None] == 1)
        metrics = read_metrics(servers)
        assert (metrics["instance_up", "shard2b"], metrics["instance_up", "shard2a"]) == (0, 1)
        assert (ask(servers, "/healthz").status, read_reports("shard2b")) == (200, None)
    finally:
        for server in down:
            server.start()
        for server in down:
            server.wait_ready()
        connections.close_all()
    wait_until(kills.exists)
    assert [(kill.instance, kill.action) for kill in kills.all()] == [("shard1a", "cancel")]
    wait_until(lambda: read_metrics(servers)["kills_waiting", None] == 0)
    wait_until(lambda: read_reports("shard2b") == [True])


@pytest.mark.parametrize(
    ("chosen", "refusal"),
    [
        ({"shard": "shard9"}, "--shard: there is no 'shard9'; there are: shard1, shard2"),
        ({"instance": "shard1c"}, "--instance: there is no 'shard1c'; there are: shard1a, shard1b, shard2a, shard2b"),
    ],
)
def test_a_name_that_the_topology_does_not_know_is_refused_with_those_it_does(servers, chosen, refusal):
    with pytest.raises(CommandError, match=refusal):
        call_command("run_shardproxy", **chosen)
