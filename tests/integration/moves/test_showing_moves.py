"""Moves in the REST API and in the admin."""

import json

import pytest
from django.contrib.auth.models import User
from django.test import Client

from configservice.models import Move, PartitionAssignment
from tests.integration.moves.moving import Moving
from tests.integration.processing.counted import PARTITION
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.scopes import Scope


@pytest.fixture
def admin(clean_cluster):
    User.objects.filter(username="ada").delete()
    User.objects.create_superuser("ada", password="correct horse battery")
    client = Client()
    assert client.login(username="ada", password="correct horse battery")
    return client


def post_action(admin, *, confirmed: bool):
    shard_id = 1
    data = {"action": f"move_to_{shard_id}", "_selected_action": [str(PARTITION)]}
    return admin.post(
        "/admin/configservice/partitionassignment/", data | ({"confirmed": "yes"} if confirmed else {}), follow=True
    )


def test_partitions_are_moved_from_their_list_after_a_question(moving: Moving, admin):
    page = post_action(admin, confirmed=False)
    assert "Move 1 partitions to shard1" in page.content.decode()
    assert Move.objects.count() == 0
    page = post_action(admin, confirmed=True)
    assert "1 moves are planned" in page.content.decode()
    again = post_action(admin, confirmed=True)
    assert f"partition {PARTITION} is being moved already" in again.content.decode()
    [move] = Move.objects.all()
    assert (move.actor, moving.run(move).state) == ("ada", "done")
    page = admin.get("/admin/configservice/move/").content.decode()
    assert "100 %" in page
    assert PartitionAssignment.objects.get(partition=PARTITION).shard.name == "shard1"


def test_a_move_is_aborted_in_the_admin_and_nowhere_edited(moving: Moving, admin):
    move = moving.plan()
    chosen = {"action": "abort_moves", "_selected_action": [str(move.pk)]}
    for answer in ({}, {"confirmed": "yes", "reason": " "}):
        page = admin.post("/admin/configservice/move/", chosen | answer, follow=True).content.decode()
        assert f"Move {move.pk} of partition {PARTITION} from shard2 to shard1, now planned" in page
        assert Move.objects.get().state == "planned"
    answer = {"confirmed": "yes", "reason": "wrong shard"}
    page = admin.post("/admin/configservice/move/", chosen | answer, follow=True)
    assert f"Move {move.pk} is being aborted" in page.content.decode()
    history = admin.get(f"/admin/configservice/move/{move.pk}/history/").content.decode()
    assert "Aborted: wrong shard" in history
    assert moving.run(move).error == "aborted by ada"
    assert admin.get("/admin/configservice/move/add/").status_code == 403


def test_moves_are_listed_for_those_who_administer(moving: Moving):
    move = moving.run(moving.plan())
    tokens = {scope: create_key(f"moves {scope}", [scope])[1] for scope in (Scope.ADMIN, Scope.STATS_READ)}
    client = Client()
    answer = client.get("/v1/moves", headers={"Authorization": f"Bearer {tokens[Scope.ADMIN]}"})
    assert answer.status_code == 200, answer.content
    listed = json.loads(answer.content)
    [shown] = listed["moves"]
    assert listed["next_cursor"] is None
    older = client.get(f"/v1/moves?cursor={move.pk}", headers={"Authorization": f"Bearer {tokens[Scope.ADMIN]}"})
    assert json.loads(older.content) == {"moves": [], "next_cursor": None}
    assert (shown["id"], shown["from"], shown["to"], shown["state"]) == (move.pk, "shard2", "shard1", "done")
    assert shown["progress"] == 1.0
    assert shown["held_seconds"] > 0
    refused = client.get("/v1/moves", headers={"Authorization": f"Bearer {tokens[Scope.STATS_READ]}"})
    assert refused.status_code == 403
