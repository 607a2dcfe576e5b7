import pytest

from tests.unit.operations.replay.conftest import NOW
from viewcounter.operations.replay.errors import BadOption
from viewcounter.operations.replay.nonce import Nonce


def test_text_of_a_nonce_leads_back_to_it():
    nonce = Nonce.create(now=NOW)
    assert Nonce.parse(str(nonce)) == nonce
    assert nonce.end_ms == 1_772_368_496_789


@pytest.mark.parametrize(
    "text", ["", "1", "1-", "-1-0000000a", "1-a", "1-0000000A", "x-0000000a", "1-0000000a-1", "01-0000000a"]
)
def test_other_text_is_refused(text):
    with pytest.raises(BadOption):
        Nonce.parse(text)
