"""How consistent, how new, by which way: parameters that every read takes, over HTTP."""

import pytest

from clusterproxy.plan import Consistency
from tests.integration.loglosses.loss_rows import write_loss
from tests.integration.queries.rows import DAY, MinuteRow, await_replicas, find_videos_by_shard, store_rows
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.events.partition import get_partition

PERIOD = "start_time=2026-01-31T00:00:00Z&end_time=2026-02-01T00:00:00Z"
OF_ONE_VIDEO = [
    ("/v1/videos/{video}/counts?", "/v1/videos/{video_id}/counts"),
    ("/v1/videos/{video}/stats?event_type=view", "/v1/videos/{video_id}/stats"),
    (f"/v1/videos/{{video}}/stats?event_type=view&{PERIOD}", "/v1/videos/{video_id}/stats"),
    ("/v1/events?video_id={video}", "/v1/events"),
]
OF_MANY_PARTITIONS = [
    ("/v1/top?event_type=view", "/v1/top"),
    (f"/v1/top?event_type=view&{PERIOD}", "/v1/top"),
    ("/v1/channels/c1/counts?", "/v1/channels/{channel_id}/counts"),
    ("/v1/channels/c1/stats?event_type=view", "/v1/channels/{channel_id}/stats"),
    (f"/v1/channels/c1/stats?event_type=view&{PERIOD}", "/v1/channels/{channel_id}/stats"),
]
EVERYTHING = [*OF_ONE_VIDEO, *OF_MANY_PARTITIONS]


@pytest.fixture
def stored(api, monkeypatch):
    """One video a shard with a view each; every partition of every copy at the same position. Waits are short."""
    monkeypatch.setenv("VIEWCOUNTER_CLUSTER_READ_WAIT_SECONDS", "0.2")
    get_config.cache_clear()
    get_cluster().close()
    get_cluster.cache_clear()
    api.cluster = get_cluster()
    api.videos = [own[0] for own in find_videos_by_shard(api.cluster, per_shard=1).values()]
    store_rows(api.cluster, [MinuteRow(video, 1, DAY, (1000,)) for video in api.videos])
    yield api
    get_cluster().close()
    monkeypatch.undo()
    get_config.cache_clear()
    get_cluster.cache_clear()


def read_position(api, video_id):
    partition = get_partition(video_id, partition_count=api.cluster.topology.partition_count)
    shard = api.cluster.topology.get_shard_of(partition)
    with api.cluster.shard_transaction(shard.id) as connection:
        row = connection.execute("SELECT position FROM partition_state WHERE partition = %s", [partition]).fetchone()
    return partition, row["position"]


def raise_position(position, by=1):
    ms, seq = position.split("-")
    return f"{int(ms) + by}-{seq}"


def get(api, place, options):
    path, template = place
    return api.get(path.format(video=api.videos[0]) + "&" + options, template)


def refuse(api, place, options, *, status=422):
    response = api.call("GET", place[0].format(video=api.videos[0]) + "&" + options)
    assert response.status_code == status, response.content
    return response


def test_every_read_takes_a_consistency_and_tells_its_route(stored):
    anywhere = ",".join(f"{partition}:0-0" for partition in range(stored.cluster.topology.partition_count))
    reasons = {"strong": {"strong"}, "quorum": {"furthest"}, "eventual": {"near_replica", "primary"}}
    for place in EVERYTHING:
        for consistency in Consistency:
            meta = get(stored, place, f"consistency={consistency}&explain=route&min_position={anywhere}")["meta"]
            assert meta["partial"] is False
            expected_shards = ["shard1"] if place in OF_ONE_VIDEO else ["shard1", "shard2"]
            assert [route["shard"] for route in meta["route"]] == expected_shards
            for route in meta["route"]:
                assert route["consistency"] == consistency
                assert route["reason"] in reasons[consistency]
                assert route["role"] == "primary" or consistency != "strong"
                assert route["attempts"][-1]["outcome"] == "answered"
                assert route["attempts"][-1]["instance"] == route["instance"]
                assert route["positions"].keys() == set(map(str, route["partitions"]))


def test_every_read_takes_positions_as_the_gateway_gives_them(stored):
    partition, position = read_position(stored, stored.videos[0])
    for place in EVERYTHING:
        get(stored, place, f"min_position={partition}:{position}")
        response = refuse(stored, place, f"min_position={partition}:{raise_position(position)}", status=504)
        body = response.json()
        assert (body["code"], body["reached"]) == ("position_not_reached", {str(partition): position})
        assert f"partition {partition} is at {position}" in body["detail"]
        assert [(e["field"], e["code"]) for e in body["errors"]] == [("min_position", "position_not_reached")]
        assert response["Retry-After"] == "1"


def test_a_read_of_one_video_takes_the_position_alone_and_ignores_other_partitions(stored):
    partition, position = read_position(stored, stored.videos[0])
    other = (partition + 1) % stored.cluster.topology.partition_count
    for place in OF_ONE_VIDEO:
        get(stored, place, f"min_position={position}")
        get(stored, place, f"min_position={other}:99999999999999-0,{partition}:{position}")
        late = refuse(stored, place, f"min_position={raise_position(position)}", status=504)
        assert late.json()["reached"] == {str(partition): position}


def test_a_position_alone_says_nothing_where_many_partitions_are_read(stored):
    for place in OF_MANY_PARTITIONS:
        [error] = refuse(stored, place, "min_position=1760000000000-0").json()["errors"]
        assert (error["field"], error["code"]) == ("min_position", "partition_missing")


def test_an_answer_that_is_too_old_is_refused_with_its_age(stored):
    """The rows are complete until 2026-02-03."""
    for place in EVERYTHING:
        response = refuse(stored, place, "max_staleness=3600", status=504)
        body = response.json()
        assert body["code"] == "too_stale"
        assert "complete until 2026-02-03T12:00:00Z" in body["detail"]
        assert response["Retry-After"] == "1"


def test_counts_of_many_videos_take_the_same_parameters(stored):
    path, body = "/v1/counts/query", {"video_ids": stored.videos}
    positions = ",".join(":".join(map(str, read_position(stored, video))) for video in stored.videos)
    answer = stored.call("POST", f"{path}?min_position={positions}&consistency=quorum&explain=route", body=body)
    assert answer.status_code == 200
    stored.check(answer.json(), {"$ref": "#/components/schemas/ManyCountsAnswer"})
    assert [route["shard"] for route in answer.json()["meta"]["route"]] == ["shard1", "shard2"]
    partition, position = read_position(stored, stored.videos[1])
    late = stored.call("POST", f"{path}?min_position={partition}:{raise_position(position)}", body=body)
    assert (late.status_code, late.json()["reached"]) == (504, {str(partition): position})


UNUSABLE = [
    ("consistency=linearizable", "consistency", "unknown_consistency"),
    ("consistency=", "consistency", "unknown_consistency"),
    ("consistency=strong&consistency=strong", "consistency", "repeated_parameter"),
    ("max_staleness=0", "max_staleness", "out_of_bounds"),
    ("max_staleness=-1", "max_staleness", "out_of_bounds"),
    ("max_staleness=nan", "max_staleness", "out_of_bounds"),
    ("max_staleness=inf", "max_staleness", "out_of_bounds"),
    ("max_staleness=1e400", "max_staleness", "out_of_bounds"),
    ("max_staleness=604801", "max_staleness", "out_of_bounds"),
    ("max_staleness=1_0", "max_staleness", "out_of_bounds"),
    ("max_staleness=%D9%A1", "max_staleness", "out_of_bounds"),
    ("max_staleness=", "max_staleness", "out_of_bounds"),
    ("min_position=3", "min_position", None),
    ("min_position=", "min_position", None),
    ("min_position=3:", "min_position", "invalid_position"),
    ("min_position=3:1-0,", "min_position", "partition_missing"),
    ("min_position=3:1-0,3:2-0", "min_position", "repeated_partition"),
    ("min_position=32:1-0", "min_position", "unknown_partition"),
    ("min_position=-1:1-0", "min_position", "unknown_partition"),
    ("min_position=99999999999999999999:1-0", "min_position", "unknown_partition"),
    ("min_position=%D9%A1:1-0", "min_position", "unknown_partition"),
    ("min_position=3:1-x", "min_position", "invalid_position"),
    ("min_position=3:1.5-0", "min_position", "invalid_position"),
    ("min_position=3:" + "9" * 60 + "-0", "min_position", "invalid_position"),
    ("explain=plan", "explain", "unknown_explanation"),
    ("explain=", "explain", "unknown_explanation"),
    ("staleness=3", "staleness", "unknown_parameter"),
]


def test_a_value_that_cannot_be_used_is_named(api):
    api.videos = ["cats"]
    for place in (OF_ONE_VIDEO[0], OF_MANY_PARTITIONS[0]):
        for options, field, code in UNUSABLE:
            [error] = refuse(api, place, options).json()["errors"]
            assert (error["field"], options) == (field, options)
            assert code is None or error["code"] == code, options


def test_an_answer_that_was_asked_for_in_a_certain_way_is_not_kept_by_browsers(stored):
    path = f"/v1/videos/{stored.videos[0]}/counts"
    for options in ("consistency=strong", "min_position=1-0", "explain=route"):
        response = stored.call("GET", f"{path}?{options}")
        assert (response.status_code, response["Cache-Control"]) == (200, "no-store")
    assert stored.call("GET", path)["Cache-Control"] != "no-store"


def test_a_route_shows_names_and_figures_and_no_addresses(stored):
    instances = [i for shard in stored.cluster.topology.shards for i in shard.instances]
    path = f"/v1/videos/{stored.videos[0]}/counts?explain=route"
    text = stored.call("GET", path).content.decode()
    for instance in instances:
        assert str(instance.port) not in text
        assert instance.password_ref not in text
    assert "127.0.0.1" not in text
    assert "route" not in stored.call("GET", path.partition("?")[0]).json()["meta"]


class TestDeadServers:
    @pytest.fixture
    def kill(self, stored, servers):
        """Kills instances of shard 1 by name; they are back afterwards."""
        killed = []

        def kill(*names):
            for name in names:
                servers.database(name).kill()
                killed.append(name)

        yield kill
        for name in killed:
            servers.database(name).start()
        for name in killed:
            servers.database(name).wait_ready()
        await_replicas(stored.cluster)

    def test_each_way_of_not_being_there_has_its_code_and_a_time_to_come_back(self, stored, kill):
        path = f"/v1/videos/{stored.videos[0]}/counts"

        def code(options=""):
            response = stored.call("GET", f"{path}?{options}")
            if response.status_code == 200:
                return 200, response.json()["meta"].get("route", [{}])[0].get("instance")
            assert response["Retry-After"] == "1"
            return response.status_code, response.json()["code"]

        _, position = read_position(stored, stored.videos[0])
        kill("shard1a")
        assert code("explain=route") == (200, "shard1b")
        assert code("consistency=strong") == (503, "primary_unavailable")
        assert code("consistency=quorum") == (503, "quorum_unavailable")
        assert code(f"min_position={raise_position(position)}") == (504, "position_not_reached")
        kill("shard1b")
        assert code("min_position=1-0") == (503, "shard_unavailable")
        assert code("consistency=quorum") == (503, "quorum_unavailable")


def test_a_position_that_the_log_has_lost_is_gone_for_every_read(stored):
    partition, position = read_position(stored, stored.videos[0])
    write_loss(stored.cluster, partition, "0-0", position)
    for place in EVERYTHING:
        for consistency in Consistency:
            options = f"min_position={partition}:{position}&consistency={consistency}"
            body = refuse(stored, place, options, status=410).json()
            assert body["code"] == "lost"
            assert body["lost"] == [{"partition": partition, "after": "0-0", "through": position}]
            assert [(e["field"], e["code"]) for e in body["errors"]] == [("min_position", "lost")]
        assert "partial" in get(stored, place, f"min_position={partition}:0-0")["meta"]


def test_a_loss_is_named_in_every_answer_until_it_is_closed(stored):
    partition, position = read_position(stored, stored.videos[0])
    write_loss(stored.cluster, partition, "0-0", position)
    for place in EVERYTHING:
        [lost] = get(stored, place, "consistency=strong")["meta"]["lost"]
        assert (lost["partition"], lost["after"], lost["through"]) == (partition, "0-0", position)
    with stored.cluster.transaction(partition) as connection:
        connection.execute("UPDATE log_loss SET outcome = 'accepted', closed_at = now()")
    for place in EVERYTHING:
        assert "lost" not in get(stored, place, "consistency=strong")["meta"]
        refuse(stored, place, f"min_position={partition}:{position}&consistency=strong", status=410)


def test_a_position_that_was_salvaged_is_there_again(stored):
    partition, position = read_position(stored, stored.videos[0])
    write_loss(stored.cluster, partition, "0-0", position, outcome="salvaged")
    for place in EVERYTHING:
        assert "lost" not in get(stored, place, f"min_position={partition}:{position}&consistency=strong")["meta"]
