import io

from viewcounter.operations.replay.progress import ReplayProgress
from viewcounter.operations.replay.run import Step


def test_without_a_terminal_each_step_and_each_twentieth_is_a_line():
    stream = io.StringIO()
    with ReplayProgress(stream) as progress:
        progress(Step.CATALOGUE, 0, None)
        for done in range(0, 1001, 10):
            progress(Step.SEND, done, 1000)
        progress(Step.WAIT, 0, None)
    lines = stream.getvalue().splitlines()
    assert lines[:3] == ["Loading channels and videos", "Sending events: 0 of 1000", "Sending events: 50 of 1000"]
    assert lines[-2:] == ["Sending events: 1000 of 1000", "Waiting until all is applied"]
    assert len(lines) == 1 + 21 + 1
