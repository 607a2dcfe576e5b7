"""What operators may change in the admin, and that it is published."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from configservice.failover.records import Failover
from configservice.models import EventType, Instance, Leadership, Move, PartitionAssignment, Shard, TopologyEpoch
from configservice.registry.services import Service, ServiceKind, put_heartbeat, remove_service
from configservice.topology.publication import lock_topology, read_from_cache
from tests.integration.configservice.conftest import read_topology
from tests.waiting import wait_until

ADMIN = "/admin/configservice"
SERVICES = "/admin/operations/servicerow/"


@pytest.mark.parametrize(
    "page", ["shard", "instance", "partitionassignment", "eventtype", "topologyepoch", "failover", "move"]
)
def test_every_list_and_search_works(admin_client, init_cluster, page):
    init_cluster()
    assert admin_client.get(f"{ADMIN}/{page}/").status_code == 200
    assert admin_client.get(f"{ADMIN}/{page}/?q=1").status_code == 200


@pytest.fixture
def failover(admin_client, init_cluster):
    init_cluster()
    now = timezone.now()
    row = Failover.objects.create(
        shard=Shard.objects.get(name="shard1"),
        kind="automatic",
        state="done",
        reason="shard1a refuses",
        actor="config service",
        old_primary="shard1a",
        candidate="shard1b",
        write_pause_ms=812,
        requested_at=now,
        promoted_at=now + timedelta(seconds=0.5),
        finished_at=now + timedelta(seconds=1.25),
    )
    yield row
    row.delete()


def test_a_failover_is_found_with_its_steps_and_nobody_may_change_it(admin_client, failover):
    listed = admin_client.get(f"{ADMIN}/failover/?q=refuses").content.decode()
    assert all(text in listed for text in ("shard1a", "shard1b", "automatic", "812 ms", "1.25"))
    assert "shard1b" not in admin_client.get(f"{ADMIN}/failover/?q=nobody").content.decode().split("</form>")[-1]
    page = admin_client.get(f"{ADMIN}/failover/{failover.pk}/change/").content.decode()
    assert "promoted" in page
    assert "0.500 s" in page
    assert admin_client.post(f"{ADMIN}/failover/{failover.pk}/change/", {"state": "undone"}).status_code == 403
    assert admin_client.post(f"{ADMIN}/failover/{failover.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.get(f"{ADMIN}/failover/add/").status_code == 403


def test_services_are_listed_and_searched_as_they_are_now(admin_client, cluster_cache):
    started_at = datetime(2026, 1, 1, tzinfo=UTC)
    for number, kind in enumerate([ServiceKind.MOVER, ServiceKind.WORKER]):
        service = Service(f"id{number}", kind, f"host{number}", 700 + number, "0.1.0", "local", started_at, epoch=17)
        put_heartbeat(cluster_cache, service, forget_seconds=60.0)
    try:
        everybody = admin_client.get(SERVICES).content.decode()
        assert all(text in everybody for text in ("mover", "host0", "700", "worker", "host1", "701", "serving", "17"))
        one = admin_client.get(f"{SERVICES}?q=MOVER+host0").content.decode()
        assert "700" in one
        assert "701" not in one
        assert "Nothing matches" in admin_client.get(f"{SERVICES}?q=mover+host1").content.decode()
    finally:
        for number in range(2):
            remove_service(cluster_cache, f"id{number}")
    assert "No services" in admin_client.get(SERVICES).content.decode()


def test_a_registry_that_does_not_answer_is_said_so(admin_client, settings):
    settings.TOPOLOGY_CACHE_URL = "redis://127.0.0.1:1/0"
    assert "does not answer" in admin_client.get(SERVICES).content.decode()


def test_services_are_shown_to_those_who_may_see_them(client, control):
    User.objects.create_user("eve", password="correct horse battery", is_staff=True)
    assert client.login(username="eve", password="correct horse battery")
    assert client.get(SERVICES).status_code == 403


def test_an_event_type_added_gets_the_next_id_and_is_published(admin_client, init_cluster, cluster_cache):
    init_cluster()
    answer = admin_client.post(f"{ADMIN}/eventtype/add/", {"name": "bookmark"})
    assert answer.status_code == 302
    topology = read_topology()
    assert (topology.epoch, topology.find_event_type("bookmark").id) == (2, 7)
    assert read_from_cache(cluster_cache).decode() == topology
    newest = TopologyEpoch.objects.first()
    assert (newest.reason, newest.actor) == ("added event type bookmark", "ada")


def test_event_types_added_at_the_same_time_get_ids_of_their_own(admin_client, init_cluster):
    init_cluster()

    def add() -> int:
        try:
            return admin_client.post(f"{ADMIN}/eventtype/add/", {"name": "bookmark"}).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            lock_topology()
            status = pool.submit(add)
            wait_until(is_lock_waited_for, what="the other one to wait")
            EventType.objects.create(pk=7, name="clap")
        assert status.result() == 302
    assert dict(EventType.objects.filter(pk__gte=7).values_list("name", "pk")) == {"clap": 7, "bookmark": 8}


def is_lock_waited_for() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return cursor.fetchone() == (1,)


@pytest.mark.parametrize("name", ["view", "Book Mark", "", "x" * 64])
def test_a_bad_event_type_is_refused_and_nothing_is_published(admin_client, init_cluster, name):
    init_cluster()
    assert admin_client.post(f"{ADMIN}/eventtype/add/", {"name": name}).status_code == 200
    assert EventType.objects.count() == 6
    assert read_topology().epoch == 1


def test_an_event_type_never_changes_its_meaning(admin_client, init_cluster):
    init_cluster()
    admin_client.post(f"{ADMIN}/eventtype/1/change/", {"name": "glance", "valued": "on"})
    assert EventType.objects.get(id=1).name == "view"
    assert admin_client.post(f"{ADMIN}/eventtype/1/delete/", {"post": "yes"}).status_code == 403
    assert read_topology().epoch == 1


def test_a_change_of_an_instance_is_published_and_its_role_stays(admin_client, init_cluster):
    init_cluster()
    row = Instance.objects.get(name="shard1b")
    form = {name: getattr(row, name) for name in ("host", "port", "database", "user", "password_ref", "sslmode")}
    answer = admin_client.post(
        f"{ADMIN}/instance/{row.pk}/change/", form | {"zone": "east", "promotable": "on", "role": "primary"}
    )
    assert answer.status_code == 302
    topology = read_topology()
    (replica,) = topology.get_shard_of(0).replicas
    assert (topology.epoch, replica.name, replica.zone) == (2, "shard1b", "east")


def test_a_password_is_not_taken_for_a_reference(admin_client, init_cluster):
    init_cluster()
    row = Instance.objects.get(name="shard1b")
    form = {name: getattr(row, name) for name in ("host", "port", "database", "user", "zone", "sslmode")}
    new = {"shard": "shard1", "name": "shard1c", "port": "5009", "password_ref": "hunter2"}
    answer = admin_client.post(f"{ADMIN}/instance/add/", form | new)
    assert answer.context["form"].errors.keys() == {"password_ref"}
    assert "never the password itself" in answer.content.decode()
    assert read_topology().epoch == 1


def test_an_address_is_not_edited(admin_client, init_cluster):
    init_cluster()
    row = Instance.objects.get(name="shard1b")
    form = {"host": "169.254.169.254", "port": "80", "password_ref": "file:/etc/passwd", "zone": "local"}
    assert admin_client.post(f"{ADMIN}/instance/{row.pk}/change/", form | {"promotable": "on"}).status_code == 302
    row.refresh_from_db()
    assert (row.host, row.port, row.password_ref) == ("127.0.0.1", 5002, "env:VIEWCOUNTER_SHARD_PASSWORD")
    assert read_topology().epoch == 1


def act(client, page, action, *keys, **more):
    """The confirmation page; with `confirmed`, the one after it was done."""
    return client.post(f"{ADMIN}/{page}/", {"action": action, "_selected_action": keys} | more, follow=True)


def list_messages(answer):
    return [str(message) for message in answer.context["messages"]]


def test_replicas_are_drained_and_removed_when_confirmed_and_primaries_never(admin_client, init_cluster):
    init_cluster()
    primary, replica = (Instance.objects.get(name=name).pk for name in ("shard1a", "shard1b"))
    for key, page in ((primary, "instance"), (replica, "instance"), (Shard.objects.first().pk, "shard")):
        assert admin_client.post(f"{ADMIN}/{page}/{key}/delete/", {"post": "yes"}).status_code == 403
    page = act(admin_client, "instance", "drain", replica).content.decode()
    assert "no promotable replica" in page
    assert read_topology().epoch == 1
    answer = act(admin_client, "instance", "drain", primary, replica, confirmed="yes", reason="new disks")
    refused, done = list_messages(answer)
    assert refused.startswith("shard1a is the primary of shard1: first")
    assert done == "shard1b: published epoch 2."
    newest = TopologyEpoch.objects.first()
    assert (newest.reason, newest.actor) == ("new disks", "ada")
    (refused,) = list_messages(act(admin_client, "instance", "use_again", replica, confirmed="yes"))
    assert refused == "shard1b cannot be used yet: shard1b does not answer"
    act(admin_client, "instance", "remove", replica, confirmed="yes")
    topology = read_topology()
    assert (topology.epoch, topology.get_shard_of(0).replicas) == (3, ())


def test_a_switchover_is_asked_for_when_confirmed_and_needs_a_leader(admin_client, init_cluster):
    init_cluster()
    shard = Shard.objects.get(name="shard1").pk
    assert "replaces shard1a as primary" in act(admin_client, "shard", "switch_over", shard).content.decode()
    assert Failover.objects.count() == 0
    (refused,) = list_messages(act(admin_client, "shard", "switch_over", shard, confirmed="yes"))
    assert refused.startswith("shard1: no config service leads")
    now = timezone.now()
    Leadership.objects.create(id=1, generation=1, holder="test", taken_at=now, renewed_at=now)
    act(admin_client, "shard", "switch_over", shard, confirmed="yes", reason="kernel update")
    failover = Failover.objects.get()
    assert (failover.kind, failover.state, failover.reason, failover.actor) == (
        "switchover",
        "requested",
        "kernel update",
        "ada",
    )
    assert "switchover" in admin_client.get(f"{ADMIN}/failover/").content.decode()


def test_partitions_are_evened_out_over_the_selected_shards_when_confirmed(admin_client, init_cluster):
    init_cluster()
    one, two = Shard.objects.order_by("name").values_list("pk", flat=True)
    PartitionAssignment.objects.update(shard=one)
    assert "Partition 4 goes to shard2." in act(admin_client, "shard", "rebalance", one, two).content.decode()
    assert Move.objects.count() == 0
    act(admin_client, "shard", "rebalance", one, two, confirmed="yes")
    assert list(Move.objects.order_by("partition").values_list("partition", "target")) == [(4, two), (5, two), (6, two)]
    Move.objects.all().delete()
    PartitionAssignment.objects.filter(partition__gte=4).update(shard=two)
    (message,) = list_messages(act(admin_client, "shard", "rebalance", one, two))
    assert message.startswith("The shards are balanced")


@pytest.mark.parametrize("action", ["change", "delete"])
def test_assignments_and_epochs_are_read_only(admin_client, init_cluster, action):
    init_cluster()
    for page, key in (("partitionassignment", 3), ("topologyepoch", 1)):
        assert admin_client.get(f"{ADMIN}/{page}/{key}/change/").status_code == 200
        assert admin_client.post(f"{ADMIN}/{page}/{key}/{action}/", {"post": "yes"}).status_code == 403
        assert admin_client.get(f"{ADMIN}/{page}/add/").status_code == 403
    assert (PartitionAssignment.objects.count(), TopologyEpoch.objects.count()) == (7, 1)


def test_a_durability_that_could_never_be_met_is_refused_at_its_field(admin_client, init_cluster):
    init_cluster()
    shard = Shard.objects.get(name="shard1")
    form = {"name": "shard1", "durability": "quorum", "quorum": "2", "on_standby_loss": "block", "failover_mode": ""}
    answer = admin_client.post(
        f"{ADMIN}/shard/{shard.pk}/change/", form | {"instances-TOTAL_FORMS": "0", "instances-INITIAL_FORMS": "0"}
    )
    assert answer.context["adminform"].form.errors == {"quorum": ["the shard has 1 replicas to wait for, not 2"]}
    assert read_topology().epoch == 1


def test_another_durability_is_asked_for_with_a_reason_that_is_kept(admin_client, init_cluster):
    init_cluster()
    shard = Shard.objects.get(name="shard1")
    address = f"{ADMIN}/shard/{shard.pk}/change/"
    unchanged = {"name": "shard1", "durability": "async", "quorum": "1", "on_standby_loss": "degrade"}
    inlines = {"failover_mode": shard.failover_mode, "instances-TOTAL_FORMS": "0", "instances-INITIAL_FORMS": "0"}
    typed = unchanged | inlines | {"durability": "all", "on_standby_loss": "block"}
    for answer in ({}, {"confirmed": "yes", "reason": ""}):
        page = admin_client.post(address, typed | answer)
        assert "Before: commits of shard1 wait for the primary alone" in page.content.decode()
        assert ("durability", "all") in page.context["hidden"]
        assert read_topology().epoch == 1
    sent = dict(page.context["hidden"]) | {"confirmed": "yes", "reason": "audit of May"}
    assert admin_client.post(address, sent).status_code == 302
    topology = read_topology()
    assert (topology.epoch, topology.get_shard_of(0).durability) == (2, "all")
    assert TopologyEpoch.objects.get(epoch=2).reason == "audit of May"
    history = admin_client.get(f"{ADMIN}/shard/{shard.pk}/history/").content.decode()
    assert "wait for the primary and all its replicas" in history
    assert "Reason: audit of May" in history


def test_an_epoch_shows_what_it_changed(admin_client, init_cluster):
    init_cluster()
    admin_client.post(f"{ADMIN}/eventtype/add/", {"name": "bookmark"})
    page = admin_client.get(f"{ADMIN}/topologyepoch/2/change/").content.decode()
    assert "<td>event_type</td><td>bookmark</td><td></td><td></td>" in page
    assert admin_client.get(f"{ADMIN}/topologyepoch/1/change/").status_code == 200


def test_changes_before_the_cluster_is_made_are_saved_but_not_published(admin_client):
    answer = admin_client.post(f"{ADMIN}/eventtype/add/", {"name": "bookmark"}, follow=True)
    assert "Saved, but not published" in answer.content.decode()
    assert [kind.name for kind in EventType.objects.all()] == ["bookmark"]
    assert TopologyEpoch.objects.count() == 0
