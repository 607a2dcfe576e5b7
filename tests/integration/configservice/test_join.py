"""Shards and replicas are added to a running cluster, or refused with the reason; drained, used again, removed.

The cluster's control database is one of our own; the servers are the session's. A server that is in no cluster is
there, too: the one of the control database.
"""

import pytest
from django.core.management import CommandError, call_command
from psycopg import sql

from configservice.models import Cluster, Instance, TopologyEpoch
from devtools.localcluster import LocalCluster
from devtools.localcluster.layout import describe_instances
from devtools.localcluster.spec import CONFIG_SERVICE_ROLE, SERVICE_ROLE, SUPERUSER_ROLE
from tests.integration.configservice.conftest import read_topology
from viewcounter.config import get_config

NEW_DATABASE = "new_shard_test"


@pytest.fixture
def cluster(servers: LocalCluster, init_cluster, control, settings):
    """Both shards of the session in a topology of our own, which names the cluster as they do."""
    with servers.database("shard1a").connect() as connection:
        (cluster_id,) = connection.execute("SELECT cluster_id FROM shard_identity").fetchone()
    settings.CLUSTER_ID = str(cluster_id)
    init_cluster(describe_instances(servers.state, servers.layout, zone="local"), partitions=4)
    return servers


@pytest.fixture
def new_database(cluster: LocalCluster):
    """An empty database on a server that is in no cluster, with the roles that a shard needs."""
    server = cluster.database("control")
    password = cluster.state.get_secret("configservice_password")
    role, service = sql.Identifier(CONFIG_SERVICE_ROLE), sql.Identifier(SERVICE_ROLE)
    with server.connect(user=SUPERUSER_ROLE, database="postgres") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(NEW_DATABASE), service))
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
        connection.execute(sql.SQL("GRANT {} TO {}").format(service, role))
    # The control server's own password is no instance's: it lies where no topology may name it.
    password_file = cluster.state.instance_passwords / "new_shard"
    password_file.write_text(cluster.state.get_secret("control_password"))
    yield NEW_DATABASE
    password_file.unlink()
    with server.connect(user=SUPERUSER_ROLE, database="postgres") as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(NEW_DATABASE)))
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


def add_shard(cluster: LocalCluster, *more: str, **changed: str) -> None:
    options = {
        "shard": "shard3",
        "instance": "shard3a",
        "host": "127.0.0.1",
        "port": str(cluster.database("control").port),
        "database": NEW_DATABASE,
        "password-ref": f"file:{cluster.state.instance_passwords / 'new_shard'}",
    } | changed
    call_command("add_shard", *[f"--{name}={value}" for name, value in options.items()], "--yes", *more)


def add_replica(cluster: LocalCluster, server: str, **changed: str) -> None:
    options = {
        "shard": "shard1",
        "instance": "shard1z",
        "host": "127.0.0.1",
        "port": str(cluster.database(server).port),
    } | changed
    call_command("add_replica", *[f"--{name}={value}" for name, value in options.items()], "--yes")


def read_names() -> list[str]:
    return [i.name for shard in read_topology().shards for i in shard.instances]


def test_a_shard_is_published_when_its_tables_are_there_and_not_before(cluster, new_database, monkeypatch):
    server = cluster.database("control")
    with server.connect(user=SUPERUSER_ROLE, database=new_database) as connection:
        connection.execute("CREATE TABLE foreign_table (id int)")
    with pytest.raises(CommandError, match="--database: it is not empty: it has foreign_table"):
        add_shard(cluster)
    with server.connect(user=SUPERUSER_ROLE, database=new_database) as connection:
        connection.execute("DROP TABLE foreign_table")
    monkeypatch.setattr("configservice.join.changes.publish", _fail)
    with pytest.raises(ConnectionAbortedError):
        add_shard(cluster)
    monkeypatch.undo()
    assert read_topology().epoch == 1
    Cluster.objects.update(generation=3)
    add_shard(cluster, "--reason=it is getting full")  # on what the attempt before has left
    topology = read_topology()
    assert (topology.version, [s.name for s in topology.shards]) == ((3, 2), ["shard1", "shard2", "shard3"])
    assert topology.get_partitions_of(topology.shards[2].id) == []
    with server.connect(user=SERVICE_ROLE, database=new_database) as connection:
        found = connection.execute("SELECT term, cluster_id::text, generation FROM shard_identity").fetchone()
        assert found == (1, topology.cluster_id, 3)
        assert connection.execute("SELECT count(*) FROM raw_event").fetchone() == (0,)
    with pytest.raises(CommandError, match=r"--shard: there is a shard shard3 already"):
        add_shard(cluster)


def _fail(**_: object) -> None:
    raise ConnectionAbortedError


def test_whoever_may_not_be_a_new_shard_is_told_why_at_its_field(cluster, new_database):
    port = str(cluster.database("shard2a").port)
    secret = cluster.state.get_secret_path("secret_key")
    refused = [
        ({"host": "169.254.169.254"}, "--sslmode: prefer could drop TLS silently"),
        ({"host": "169.254.169.254", "sslmode": "require"}, "--host: 169.254.169.254 is not allowed with port"),
        ({"host": "no-such-host.invalid", "sslmode": "require"}, "--host: no-such-host.invalid has no address"),
        ({"host": "/run/postgresql"}, "--host: /run/postgresql has no address"),
        ({"port": "1"}, "--host: the server does not answer: .*refused"),
        ({"password-ref": "hunter2"}, "--password-ref: A reference to the password"),
        ({"password-ref": "env:VIEWCOUNTER_SHARD_NOT_SET"}, "--password-ref: .*the password is empty or missing"),
        ({"password-ref": "env:VIEWCOUNTER_SECRET_KEY"}, "--password-ref: .*does not begin with VIEWCOUNTER_SHARD_"),
        ({"password-ref": f"file:{secret}"}, "--password-ref: .*is not in"),
        ({"database": "nowhere"}, "--user: the server rejects this user"),
        ({"instance": "shard2b"}, "--instance: shard2b is an instance of shard2 already"),
        ({"port": port, "database": "postgres"}, "--user: the server rejects this user"),
    ]
    for changed, reason in refused:
        with pytest.raises(CommandError, match=reason):
            add_shard(cluster, **changed)
    assert (read_topology().epoch, Instance.objects.count()) == (1, 4)


def test_a_server_that_the_config_service_could_not_operate_is_no_shard(cluster, new_database, monkeypatch):
    monkeypatch.setenv("VIEWCOUNTER_CONFIGSERVICE_USER", "nobody_there")
    get_config.cache_clear()
    try:
        with pytest.raises(CommandError, match="--host: the role of the config service cannot monitor it"):
            add_shard(cluster)
    finally:
        monkeypatch.undo()
        get_config.cache_clear()
    assert read_topology().epoch == 1


def test_a_replica_joins_only_where_it_belongs(cluster):
    with pytest.raises(CommandError, match="--host: this is shard1b of shard1"):
        add_replica(cluster, "shard1b")
    with pytest.raises(CommandError, match="--host: this is shard1b of shard1 at another address"):
        add_replica(cluster, "shard1b", host="localhost")
    Instance.objects.filter(name="shard2b").delete()
    with pytest.raises(CommandError, match="--host: it is a copy of shard2, not of shard1"):
        add_replica(cluster, "shard2b")
    with pytest.raises(CommandError, match="--instance: no standby streams from shard2a under this name"):
        add_replica(cluster, "shard2b", shard="shard2", instance="shard2z")
    with pytest.raises(CommandError, match="there is no shard 'shard9'"):
        add_replica(cluster, "shard2b", shard="shard9")
    assert read_topology().epoch == 1
    add_replica(cluster, "shard2b", shard="shard2", instance="shard2b")
    assert (read_topology().epoch, read_names()) == (1, ["shard1a", "shard1b", "shard2a", "shard2b"])


def test_an_instance_of_another_cluster_is_refused(cluster, settings):
    Instance.objects.filter(name="shard2b").delete()
    settings.CLUSTER_ID = ""
    Cluster.objects.update(id="99999999-9999-4999-8999-999999999999")
    with pytest.raises(CommandError, match="--database: it belongs to another cluster"):
        add_replica(cluster, "shard2b", shard="shard2", instance="shard2b")


def test_an_instance_is_drained_used_again_and_removed(cluster, capsys):
    with pytest.raises(CommandError, match=r"primary of shard1: first `manage.py switchover"):
        call_command("drain_instance", "shard1a", "--yes")
    with pytest.raises(CommandError, match="there is no instance 'shard9z'"):
        call_command("drain_instance", "shard9z", "--yes")
    call_command("drain_instance", "shard1b", "--yes", "--reason=new disks")
    assert capsys.readouterr().out == "shard1b is drained, epoch 2\n"
    call_command("drain_instance", "shard1b", "--yes")
    assert read_topology().epoch == 2
    call_command("undrain_instance", "shard1b")
    (replica,) = read_topology().shards[0].replicas
    assert (replica.drained, read_topology().epoch) == (False, 3)
    with pytest.raises(CommandError, match=r"first `manage.py drain_instance shard1b`"):
        call_command("remove_instance", "shard1b", "--yes")
    call_command("drain_instance", "shard1b", "--yes")
    call_command("remove_instance", "shard1b", "--yes")
    assert read_names() == ["shard1a", "shard2a", "shard2b"]


def test_a_drained_instance_that_does_not_follow_is_not_used_again(cluster):
    call_command("drain_instance", "shard1b", "--yes")
    Instance.objects.filter(name="shard1b").update(port=1)
    with pytest.raises(CommandError, match="shard1b cannot be used yet: shard1b does not answer"):
        call_command("undrain_instance", "shard1b")
    assert Instance.objects.get(name="shard1b").drained


def test_the_admin_shows_what_it_found_before_it_adds_and_refusals_at_their_fields(cluster, admin_client):
    Instance.objects.filter(name="shard2b").delete()
    page = "/admin/configservice/instance/add/"
    typed = {"shard": "shard2", "name": "shard2x", "host": "127.0.0.1", "port": cluster.database("shard2b").port}
    form = admin_client.get(f"{page}?shard=shard2").context["form"]
    typed |= {name: form.initial[name] for name in ("database", "user", "password_ref", "sslmode", "zone")}
    refused = admin_client.post(page, typed).context["form"].errors
    assert refused.keys() == {"name"}
    assert refused["name"][0].startswith("no standby streams from shard2a under this name")
    elsewhere = typed | {"host": "169.254.169.254"}
    assert admin_client.post(page, elsewhere).context["form"].errors.keys() == {"sslmode"}
    elsewhere |= {"sslmode": "verify-full"}
    assert admin_client.post(page, elsewhere).context["form"].errors.keys() == {"host"}
    typed |= {"name": "shard2b", "zone": "east", "reason": "more reads"}
    page_shown = admin_client.post(page, typed)
    assert page_shown.context["checked"].findings[0].startswith("PostgreSQL 1")
    assert not Instance.objects.filter(name="shard2b").exists()
    answer = admin_client.post(page, typed | {"confirmed": "yes"}, follow=True)
    found, done = [str(message) for message in answer.context["messages"]]
    assert found.startswith("shard2b follows shard2: PostgreSQL 1")
    assert done == "shard2b is published with epoch 2"
    newest = TopologyEpoch.objects.first()
    assert (newest.epoch, newest.reason, newest.actor) == (2, "more reads", "ada")


def test_a_replica_that_is_made_promotable_by_hand_must_follow(cluster, admin_client):
    row = Instance.objects.get(name="shard1b")
    Instance.objects.filter(pk=row.pk).update(promotable=False, port=1)
    page = f"/admin/configservice/instance/{row.pk}/change/"
    answer = admin_client.post(page, {"zone": "local", "promotable": "on"})
    assert answer.context["adminform"].form.errors == {"promotable": ["shard1b does not answer"]}
    Instance.objects.filter(pk=row.pk).update(port=row.port)
    assert admin_client.post(page, {"zone": "local", "promotable": "on"}).status_code == 302
    assert Instance.objects.get(pk=row.pk).promotable
