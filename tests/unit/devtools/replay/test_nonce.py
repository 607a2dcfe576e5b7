from devtools.replay.nonce import Nonce
from tests.unit.devtools.replay.conftest import NOW


def test_text_of_a_nonce_leads_back_to_it():
    nonce = Nonce.create(now=NOW)
    assert Nonce.parse(str(nonce)) == nonce
    assert nonce.end_ms == 1_772_368_496_789
