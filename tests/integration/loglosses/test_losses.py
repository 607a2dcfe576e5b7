"""Losses of the event log as operators see them: in the command, the admin, the status of the cluster."""

import io
import json

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client

from tests.integration.loglosses.loss_rows import write_loss
from viewcounter.health.cluster_health import probe_cluster
from viewcounter.health.readiness import build_shard_parts
from viewcounter.loglosses.losses import iterate_losses
from viewcounter.storage.log_losses import StoredLoss

PAGE = "/admin/processing/loglossrow/"


@pytest.fixture
def losses(clean_cluster):
    """Two of partition 3, and one of 20."""
    for partition, through in ((3, "1-4"), (3, "1-9"), (20, "2-0")):
        write_loss(clean_cluster, partition, "1-1", through)
    return list(iterate_losses(clean_cluster, only_open=True))


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    call_command("log_losses", *arguments, stdout=out, stderr=err)
    return out.getvalue()


def count_open(cluster):
    _, shards = probe_cluster(cluster, timeout_seconds=5.0, max_lag_seconds=10.0)
    return {health.shard.name: health.open_losses for health in shards}


def test_losses_are_listed_newest_first(clean_cluster, losses):
    assert all(isinstance(loss, StoredLoss) for loss in losses)
    assert {(loss.partition, loss.through_position) for loss in losses} == {(3, "1-4"), (3, "1-9"), (20, "2-0")}
    lines = [json.loads(line) for line in run("list", "--json").splitlines()]
    assert [line["key"] for line in lines] == [str(loss.key) for loss in losses]
    assert len(run("list", "--partition", "3").splitlines()) == 2
    assert len(run("list", "--limit", "1").splitlines()) == 1


def test_an_open_loss_degrades_its_shard_until_it_is_closed(clean_cluster, losses):
    shard = clean_cluster.topology.get_shard_of(3).name
    assert sum(count_open(clean_cluster).values()) == 3
    _, healths = probe_cluster(clean_cluster, timeout_seconds=5.0, max_lag_seconds=10.0)
    parts = {name: part for health in healths for name, part in build_shard_parts(health)}
    assert parts[f"{shard} log losses"].status == "degraded"
    assert "log_losses list --open" in parts[f"{shard} log losses"].reason
    first = str(losses[0].key)
    assert "1 losses closed" in run("close", first, "--reason", "sent again", "--yes")
    assert sum(count_open(clean_cluster).values()) == 2
    with pytest.raises(CommandError, match=f"not open, or unknown: {first}"):
        run("close", first, "--reason", "sent again", "--yes")
    assert "2 losses closed" in run("close", "--all", "--reason", "the disk died", "--yes")
    assert sum(count_open(clean_cluster).values()) == 0
    assert "accepted by" in run("list")
    assert "the disk died" in run("list")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("close", "--reason", "r"), "either the ids of losses or --all"),
        (("close", "1-2", "--all", "--reason", "r"), "either the ids of losses or --all"),
        (("close", "x", "--reason", "r"), "not the id of a loss"),
        (("list", "--partition", "99"), "no such partition"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(clean_cluster, arguments, why):
    with pytest.raises(CommandError, match=why):
        run(*arguments)


@pytest.fixture
def users(django_db_blocker):
    with django_db_blocker.unblock():
        made = []

        def log_in(name, *codenames):
            user = User.objects.create_user(name, password="x", is_staff=True, is_superuser=not codenames)
            made.append(user)
            user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
            client = Client()
            client.force_login(user)
            return client

        yield log_in
        for user in made:
            user.delete()


def test_closing_in_the_admin_takes_a_reason_and_is_recorded(clean_cluster, losses, users):
    admin = users("operator")
    text = admin.get(PAGE).content.decode()
    assert all(str(loss.key) in text for loss in losses)
    key = str(losses[0].key)
    asked = admin.post(PAGE, {"action": "close", "id": key}).content.decode()
    assert "lost for good" in asked
    assert len(list(iterate_losses(clean_cluster, only_open=True))) == 3
    confirmed = {"action": "close", "id": key, "confirmed": "yes", "reason": "sent again"}
    assert "1 of 1 losses closed" in admin.post(PAGE, confirmed, follow=True).content.decode()
    assert len(list(iterate_losses(clean_cluster, only_open=True))) == 2
    [closed] = [loss for loss in iterate_losses(clean_cluster, only_open=False) if loss.outcome]
    assert (str(closed.key), closed.close_reason, closed.closed_by) == (key, "sent again", "operator (admin)")


def test_a_user_who_may_only_view_losses_closes_none(clean_cluster, losses, users):
    viewer = users("viewer", "view_loglossrow")
    assert "Close the selected" not in viewer.get(PAGE).content.decode()
    assert viewer.post(PAGE, {"action": "close", "id": str(losses[0].key)}).status_code == 403
    assert len(list(iterate_losses(clean_cluster, only_open=True))) == 3
