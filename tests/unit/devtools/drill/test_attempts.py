from devtools.drill.attempts import PostAttempt, Second, count_by_second, find_percentile


def test_requests_are_counted_in_the_second_in_which_they_ended():
    attempts = [
        PostAttempt("c", 100.0, 100.5, 100.9, "202"),  # 900 ms although it took 400
        PostAttempt("c", 100.0, 100.0, 100.1, "202"),
        PostAttempt("c", 100.0, 100.0, 102.5, "503"),
    ]
    assert count_by_second(attempts, started_at=100.0, seconds=3) == [
        Second(0, 2, 0, attempts[0].latency_seconds * 1000),
        Second(1, 0, 0, None),
        Second(2, 0, 1, None),
        Second(3, 0, 0, None),
    ]


def test_a_percentile_is_a_value_that_was_measured():
    assert find_percentile([], 0.99) is None
    assert find_percentile([5.0], 0.99) == 5.0
    assert find_percentile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert find_percentile([3.0, 1.0, 2.0], 0.5) == 2.0
