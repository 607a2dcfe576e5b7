from devtools.localcluster.status import DatabaseStatus, compute_lags, parse_wal_position


def make_database(name: str, role: str, position: str, *, shard: str = "shard1", lag_seconds: float | None = None):
    return DatabaseStatus(name=name, shard=shard, role=role, is_up=True, position=position, lag_seconds=lag_seconds)


def test_wal_position_is_a_64_bit_number_of_bytes():
    assert parse_wal_position("0/0") == 0
    assert parse_wal_position("0/1973640") == 0x1973640
    assert parse_wal_position("16/B374D848") == 0x16B374D848


def test_lag_is_measured_against_the_primary_of_the_same_shard():
    lags = compute_lags(
        [
            make_database("shard1a", "primary", "0/2000"),
            make_database("shard1b", "replica", "0/1000", lag_seconds=7.5),
            make_database("shard2a", "primary", "1/0", shard="shard2"),
            make_database("shard2b", "replica", "0/FFFFFFF0", shard="shard2", lag_seconds=0.5),
        ]
    )
    assert [(d.name, d.lag_bytes, d.lag_seconds) for d in lags] == [
        ("shard1a", None, None),
        ("shard1b", 0x1000, 7.5),
        ("shard2a", None, None),
        ("shard2b", 16, 0.5),
    ]


def test_a_replica_that_has_applied_everything_is_not_late():
    lags = compute_lags(
        [
            make_database("shard1a", "primary", "0/2000"),
            make_database("shard1b", "replica", "0/2000", lag_seconds=86_400.0),
        ]
    )
    assert (lags[1].lag_bytes, lags[1].lag_seconds) == (0, 0.0)


def test_lag_in_bytes_is_unknown_without_the_primary():
    lags = compute_lags([make_database("shard1b", "replica", "0/2000", lag_seconds=3.0)])
    assert (lags[0].lag_bytes, lags[0].lag_seconds) == (None, 3.0)
