"""One client a process, never shared across a fork."""

import os

from viewcounter.eventlog.registry import get_event_log


def test_a_process_has_one_client() -> None:
    assert get_event_log() is get_event_log()


def test_forked_child_has_a_client_of_its_own() -> None:
    parents = get_event_log()
    child = os.fork()
    if child == 0:
        os._exit(0 if get_event_log() is not parents else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
