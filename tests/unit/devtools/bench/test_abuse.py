import random

from devtools.bench.attacks import invent_token
from viewcounter.apikeys.authentication import digest_token


def test_invented_keys_look_like_keys_so_that_the_service_has_to_look_them_up():
    rng = random.Random(3)
    invented = [invent_token(rng) for _ in range(100)]
    assert len({digest_token(token) for token in invented}) == 100
    assert invent_token(rng, prefix="0123456789ab").startswith("vc_0123456789ab_")
