"""A lost control database is rebuilt from real shards: with a failover and moves that the document does not know."""

import io
import os
from datetime import UTC, datetime

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from configservice.errors import GenerationTaken
from configservice.models import (
    Cluster,
    Instance,
    Leadership,
    Move,
    PartitionAssignment,
    RoleChoice,
    Shard,
    TopologyEpoch,
)
from configservice.moves.records import get_move, list_unfinished
from configservice.moves.states import MoveState
from configservice.topology.model import Role
from configservice.topology.publication import publish
from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.binaries import find_postgres_dir
from devtools.localcluster.spec import CONTROL_DATABASE, SERVICE_ROLE, SUPERUSER_ROLE
from tests.clusters import run_cluster, start_prepared_servers
from tests.conftest import NO_EVENTS, NOTHING_ELSE, use_cluster
from tests.integration.moves.moving import Moving
from tests.integration.processing.counted import PARTITION
from tests.processes import run
from tests.waiting import wait_until
from viewcounter.apikeys.key_copy import build_record
from viewcounter.apikeys.key_file import KeyList, write_key_list
from viewcounter.apikeys.models import ApiKey
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.controlplane.shard_facts import ShardReader
from viewcounter.moves.mover import run_move
from viewcounter.storage.partitions import adopt_partitions

PARTITIONS = 8


@pytest.fixture(scope="module")
def lost_cluster(servers: LocalCluster):
    """A cluster of its own: its control database is dropped, its primary killed."""
    get_cluster().close()
    with run_cluster(spec=ClusterSpec(partitions=PARTITIONS), start=start_prepared_servers) as cluster:
        use_cluster(cluster)
        yield cluster
        get_cluster().close()
        connections.close_all()
    use_cluster(servers)


@pytest.fixture
def moving(lost_cluster, django_db_blocker):
    """Odd partitions on shard2, even ones on shard1, at epoch 1; events are counted in one of shard2."""
    with django_db_blocker.unblock():
        Move.objects.all().delete()
        ApiKey.objects.all().delete()
        Leadership.objects.all().delete()
        for partition in range(PARTITIONS):
            PartitionAssignment.objects.filter(pk=partition).update(shard_id=1 + partition % 2, epoch=1)
        published = publish(reason="clean", actor="test")
        cluster = get_cluster()
        await_version(published.version)
        for shard in cluster.topology.shards:
            with cluster.shard_transaction(shard.id) as connection:
                connection.execute(NO_EVENTS)
                connection.execute(NOTHING_ELSE)
                connection.execute("DELETE FROM partition_state")
                adopt_partitions(connection, dict.fromkeys(cluster.topology.get_partitions_of(shard.id), 1))
        yield Moving.fill(cluster)


def await_version(version):
    wait_until(lambda: (get_cluster().refresh_topology(), get_cluster().topology.version == version)[1])


def restore(*arguments):
    out = io.StringIO()
    call_command("restore_topology", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def lose_control_database(cluster):
    """With every other copy of the topology that a command would find. Leaves an empty database."""
    connections.close_all()
    with cluster.database("control").connect(user=SUPERUSER_ROLE, database="postgres") as connection:
        connection.execute(f"DROP DATABASE {CONTROL_DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {CONTROL_DATABASE} OWNER {SERVICE_ROLE}")
    with redis.Redis.from_url(cluster.environment["VIEWCOUNTER_CACHE_URL"]) as cache:
        cache.flushdb()
    (get_config().state_dir / "topology.json").unlink(missing_ok=True)


def on_shard(cluster, name, statement, *parameters):
    with cluster.database(name).connect() as connection:
        return connection.execute(statement, parameters).fetchall()


def read_generations(cluster, *names):
    return [on_shard(cluster, name, "SELECT generation FROM shard_identity")[0][0] for name in names]


DIGEST, SCOPES = b"d" * 32, ["stats:read"]


def make_key(name, **changed):
    return ApiKey.objects.create(prefix=f"vc_{name}"[:16], name=name, secret_sha256=DIGEST, scopes=SCOPES, **changed)


def keep_keys(folder, *rows):
    """As a gateway does."""
    path = folder / "api_keys"
    keys = KeyList(get_cluster().topology.cluster_id, datetime.now(UTC), tuple(map(build_record, rows)))
    write_key_list(path, keys, secret=get_config().secret_key.get_secret_value())
    return path


def fail_over(cluster):
    """shard1b becomes primary as a config service would make it one, and no control database learns of it."""
    cluster.server("shard1a").kill()
    with cluster.database("shard1b").connect(user=SUPERUSER_ROLE) as connection:
        assert connection.execute("SELECT pg_promote(true, 30)").fetchone() == (True,)
    with cluster.database("shard1b").connect() as connection:
        connection.execute("UPDATE shard_identity SET term = term + 1")


def rejoin(cluster):
    cluster.reseed_replica("shard1a")
    Instance.objects.filter(name="shard1a").update(role=RoleChoice.REPLICA)
    await_version(publish(reason="rejoined", actor="test").version)


def assert_counts_everywhere(shard):
    """Every partition takes a transaction at the epoch of the one topology, and counts are exact."""
    cluster = get_cluster()
    for partition, assignment in enumerate(cluster.topology.assignments):
        with cluster.transaction(partition) as connection:
            (row,) = connection.execute(
                "SELECT epoch, state FROM partition_state WHERE partition = %s", [partition]
            ).fetchall()
        assert (row["epoch"], row["state"]) == (assignment.epoch, "owned")
    shard_names = {s.id: s.name for s in cluster.topology.shards}
    assert shard_names[cluster.topology.assignments[PARTITION].shard_id] == shard


def test_empty_control_database_is_rebuilt_from_an_old_file_and_the_shards(moving, lost_cluster, tmp_path):
    old = tmp_path / "topology.json"
    old.write_bytes((get_config().state_dir / "topology.json").read_bytes())
    before = get_cluster().topology
    moving.run(moving.plan())
    for quorum in (2, 1, 2):  # epochs that the file does not know
        Shard.objects.update(quorum=quorum)
        publish(reason="a test", actor="test")
    await_version((before.generation, TopologyEpoch.objects.first().epoch))
    known = get_cluster().topology
    keys = keep_keys(tmp_path, make_key("valid"), make_key("revoked", revoked_at=timezone.now()))
    fail_over(lost_cluster)
    lose_control_database(lost_cluster)
    with pytest.raises(CommandError, match=r"lacks tables of this release: run `manage\.py migrate`"):
        restore("--topology", str(old))
    call_command("migrate", verbosity=0)
    with pytest.raises(CommandError, match=r"give the topology\.json of another host"):
        restore()

    shown = restore("--topology", str(old))
    assert f"from {old}: {before.version}, cluster {before.cluster_id}\n" in shown
    assert "instance shard1b role: replica -> primary\n" in shown
    assert f"partition {PARTITION} epoch: 1 -> 2\n" in shown
    assert "not restored: API keys" in shown
    assert shown.endswith("nothing was changed; --apply carries this out\n")
    assert (TopologyEpoch.objects.count(), Shard.objects.count()) == (0, 0)
    assert read_generations(lost_cluster, "shard1b", "shard2a") == [before.generation] * 2

    generation = before.generation + 1
    done = restore("--topology", str(old), "--keys", str(keys), "--apply", "--reason", "a disk died")
    assert "API keys: 2 to add, 0 to revoke\n" in done
    assert f"published generation {generation}, epoch {before.epoch + 1};" in done
    assert known.epoch > before.epoch + 1
    await_version((generation, before.epoch + 1))
    topology = get_cluster().topology
    assert (topology.cluster_id, topology.log_id) == (before.cluster_id, before.log_id)
    assert read_generations(lost_cluster, "shard1b", "shard2a") == [generation] * 2
    shard = topology.get_shard(1)
    assert (shard.primary.name, shard.term) == ("shard1b", before.get_shard(1).term + 1)
    assert {i.name: i.role for i in shard.instances}["shard1a"] is Role.FENCED
    assert_counts_everywhere("shard1")
    moving.live()
    moving.counted.assert_exact()
    rows = TopologyEpoch.objects.order_by("epoch").values_list("epoch", "reason")
    assert list(rows) == [
        (before.epoch, "known before the control database was rebuilt"),
        (before.epoch + 1, "restore_topology: a disk died"),
    ]
    assert Cluster.objects.get().generation == generation
    found = {key.name: (bytes(key.secret_sha256), key.scopes, key.revoked_at is None) for key in ApiKey.objects.all()}
    assert found == {"valid": (DIGEST, SCOPES, True), "revoked": (DIGEST, SCOPES, False)}
    Shard.objects.create(name="added-later").delete()  # ids that were written by hand are not drawn again
    rejoin(lost_cluster)


def test_restored_backup_takes_up_moves_that_it_does_not_know(moving, lost_cluster, tmp_path):
    make_key("since")
    dump = tmp_path / "control.dump"
    server = lost_cluster.database("control")
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD": get_config().control_database.password.get_secret_value()}
    target = ["--host=127.0.0.1", f"--port={server.port}", f"--username={SERVICE_ROLE}"]
    binaries = find_postgres_dir(None)
    stored = [*target, "--extension=plpgsql", "--no-comments", "--format=custom", f"--file={dump}", CONTROL_DATABASE]
    assert run([binaries / "pg_dump", *stored], environment=environment, within_seconds=60).returncode == 0
    revoked = ApiKey.objects.get(name="since")
    revoked.revoked_at = timezone.now()
    keys = keep_keys(tmp_path, revoked)
    before = get_cluster().topology
    move = moving.plan()  # held and activated, but never flipped to: its mover dies
    not_flipped = frozenset(MoveState) - {MoveState.ACTIVATED}
    assert run_move(moving.make_tools(), move.pk, while_in=not_flipped)
    assert get_move(move.pk).state == MoveState.ACTIVATED
    for shard, epoch, state in ((2, 1, "held"), (1, 2, "owned")):
        place = f"shard{shard}a" if shard == 2 else before.get_shard(1).primary.name
        rows = on_shard(lost_cluster, place, "SELECT epoch, state FROM partition_state WHERE partition = %s", PARTITION)
        assert rows == [(epoch, state)]
    lose_control_database(lost_cluster)
    loaded = [*target, "--exit-on-error", "--no-owner", f"--dbname={CONTROL_DATABASE}", dump]
    assert run([binaries / "pg_restore", *loaded], environment=environment, within_seconds=60).returncode == 0

    assert "keys revoked since are valid again" in restore()
    shown = restore("--apply", "--keys", str(keys))
    assert "API keys: 0 to add, 1 to revoke\n" in shown
    assert ApiKey.objects.get(name="since").revoked_at == revoked.revoked_at
    assert f"from the control database: {before.version}," in shown
    assert f"move of partition {PARTITION} from shard2 to shard1: recorded as flipped, for a mover to end it" in shown
    assert "not restored: changes since the backup" in shown
    await_version((before.generation + 1, before.epoch + 1))
    (unfinished,) = list_unfinished()
    assert (unfinished.state, unfinished.source.name, unfinished.target.name) == ("flipped", "shard2", "shard1")
    assert moving.run(unfinished).state == MoveState.DONE
    assert_counts_everywhere("shard1")
    moving.assert_exact_on("shard1")


def test_revisions_of_the_catalogue_go_on_above_those_of_the_shards(moving, lost_cluster):
    with get_cluster().shard_transaction(2) as connection:
        connection.execute("UPDATE channel SET revision = 10000")
    restore("--apply")
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT nextval('catalogue_revision')")
        assert cursor.fetchone() == (10001,)


def test_generation_that_another_control_database_has_taken_changes_nothing(moving, lost_cluster, monkeypatch):
    before = get_cluster().topology
    read_facts = ShardReader.read_facts

    def read_then_lose_the_race(self, topology):
        facts = read_facts(self, topology)
        with get_cluster().shard_transaction(2) as connection:
            connection.execute("UPDATE shard_identity SET generation = generation + 1")
        return facts

    monkeypatch.setattr(ShardReader, "read_facts", read_then_lose_the_race)
    with pytest.raises(CommandError, match="has topology generation") as caught:
        restore("--apply")
    assert isinstance(caught.value.__cause__, GenerationTaken)
    assert Cluster.objects.get().generation == before.generation
    assert TopologyEpoch.objects.first().epoch == before.epoch
    primary = before.get_shard(1).primary.name
    assert read_generations(lost_cluster, primary, "shard2a") == [before.generation, before.generation + 1]
    monkeypatch.undo()
    restore("--apply")
    await_version((before.generation + 2, before.epoch + 1))
    assert read_generations(lost_cluster, primary, "shard2a") == [before.generation + 2] * 2


def test_command_refuses_to_race_a_leading_config_service(moving):
    now = timezone.now()
    Leadership.objects.create(id=1, generation=1, holder="another", taken_at=now, renewed_at=now)
    epoch = TopologyEpoch.objects.first().epoch
    with pytest.raises(CommandError, match="stop all config services first"):
        restore("--apply")
    assert TopologyEpoch.objects.first().epoch == epoch


def test_unsigned_and_foreign_files_are_refused(moving, tmp_path):
    copy = (get_config().state_dir / "topology.json").read_text()
    unsigned = tmp_path / "unsigned.json"
    unsigned.write_text(copy.replace('"epoch\\":', '"epoch\\":1'))
    with pytest.raises(CommandError, match="is not signed with a key of VIEWCOUNTER_CLUSTER_TOPOLOGY_PUBLIC_KEYS"):
        restore("--topology", str(unsigned))
    (tmp_path / "damaged.json").write_text(copy[:100])
    with pytest.raises(CommandError, match=r"damaged\.json holds no topology"):
        restore("--topology", str(tmp_path / "damaged.json"))
    with pytest.raises(CommandError, match="No such file or directory"):
        restore("--topology", str(tmp_path / "none.json"))
    with pytest.raises(CommandError, match="no such file"):
        restore("--keys", str(tmp_path / "none"))
    keys = keep_keys(tmp_path)
    keys.write_bytes(keys.read_bytes() + b" ")
    with pytest.raises(CommandError, match="its MAC is wrong"):
        restore("--keys", str(keys))
