"""The output of `bin/up` when the cluster is ready."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from devtools.local.access import describe_access, write_tryout
from devtools.localcluster.spec import TRYOUT_KEY
from devtools.localcluster.state import StateFolder, write_private

URL = "http://127.0.0.1:15000"
NOW = datetime(2026, 6, 15, 10, 20, 30, tzinfo=UTC)
EVENT_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def make_state(tmp_path: Path, *, key: str | None) -> StateFolder:
    state = StateFolder(tmp_path / "state")
    state.create()
    if key is not None:
        write_private(state.get_secret_path(TRYOUT_KEY), f"{key}\n")
    return state


def test_a_line_that_posts_an_event_and_one_that_reads_the_count_are_ready_to_copy(tmp_path: Path):
    lines = list(describe_access(URL, make_state(tmp_path, key="vc_1_x"), now=NOW, event_id=EVENT_ID))
    post, read = lines[-2:]
    assert post == (
        f"  curl -s '{URL}/v1/events?wait=applied' -H 'Authorization: Bearer vc_1_x'"
        " -H 'Content-Type: application/json' -d"
        f' \'{{"event_id": "{EVENT_ID}", "video_id": "XpVt6Z1Gjjo", "event_type": "view",'
        ' "occurred_at": "2026-06-15T10:20:30Z"}\''
    )
    assert read == f"  curl -s '{URL}/v1/videos/XpVt6Z1Gjjo/counts' -H 'Authorization: Bearer vc_1_x'"


def test_without_a_key_only_addresses_are_shown(tmp_path: Path):
    lines = list(describe_access(URL, make_state(tmp_path, key=None), now=NOW, event_id=EVENT_ID))
    assert [line.split()[0] for line in lines] == ["web", "events", "API", "admin"]
    assert "curl" not in "".join(lines)


def test_address_and_key_are_left_for_shells_in_a_file_of_their_owner(tmp_path: Path):
    state = make_state(tmp_path, key="vc_1_x")
    write_tryout(URL, state)
    assert state.tryout_file.read_text() == f"URL={URL}\nKEY=vc_1_x\n"
    assert state.tryout_file.stat().st_mode & 0o777 == 0o600
