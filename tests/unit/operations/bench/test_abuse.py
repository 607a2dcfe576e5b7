import random

from viewcounter.gateway.keys import digest_token
from viewcounter.operations.bench.abuse import AbuseFigures, Guessing, describe_abuse
from viewcounter.operations.bench.attacks import invent_token


def test_invented_keys_look_like_keys_so_that_the_service_has_to_look_them_up():
    rng = random.Random(3)
    invented = [invent_token(rng) for _ in range(100)]
    assert len({digest_token(token) for token in invented}) == 100
    assert invent_token(rng, prefix="0123456789ab").startswith("vc_0123456789ab_")


def test_the_table_says_what_the_attack_got_and_what_others_saw():
    calm = AbuseFigures("none", 0, posts=600, p50_ms=2.0, p99_ms=9.5, max_ms=12.0, peak_rss_bytes=110 * 1024**2)
    attacked = AbuseFigures("slow heads", 10_000, {"cut": 7000, "413": 2}, 598, ["HTTP/1.1 503", "no answer"])
    report = describe_abuse("abuse", "under attack", [calm, attacked], Guessing(1.25, 1.26))
    [table] = report.tables
    assert table.rows[0] == ("none", "0", "-", "600", "0", "2.0", "9.5", "12", "110")
    assert table.rows[1][:5] == ("slow heads", "10,000", "7,000 cut, 2 413", "598", "2")
    assert "1.25 ms when its prefix is unknown, 1.26 ms when there is such a key" in table.notes[1]
    assert report.figures["attacks"][1]["failed"] == ["HTTP/1.1 503", "no answer"]
