from devtools.localcluster.member import compute_restart_delay_seconds


def test_restart_delay_doubles_with_each_failure_up_to_ten_seconds():
    assert [compute_restart_delay_seconds(failures) for failures in range(1, 8)] == [
        0.5,
        1.0,
        2.0,
        4.0,
        8.0,
        10.0,
        10.0,
    ]
    assert compute_restart_delay_seconds(10_000) == 10.0
