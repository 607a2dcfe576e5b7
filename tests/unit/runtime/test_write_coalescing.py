"""What is written in one go leaves in one call, in order, and never waits past the loop's turn."""

import asyncio

from runtime.http.bounded_protocol import WRITE_MAX_BYTES, CoalescingTransport


class Transport:
    def __init__(self):
        self.calls = []

    def write(self, data):
        self.calls.append(data)

    def close(self):
        self.calls.append("close")

    def abort(self):
        self.calls.append("abort")

    def is_closing(self):
        return "close" in self.calls


def run(use):
    """The calls that reached the transport, after `use` and after the loop's next turn."""

    async def main():
        transport = Transport()
        joined = CoalescingTransport(transport, asyncio.get_running_loop())
        use(joined)
        at_once = list(transport.calls)
        await asyncio.sleep(0)
        return at_once, transport.calls[len(at_once) :]

    return asyncio.run(main())


def test_head_and_body_leave_in_one_call_at_the_loops_next_turn():
    def answer(joined):
        joined.write(b"head ")
        joined.write(b"body")

    assert run(answer) == ([], [b"head body"])


def test_a_long_answer_is_handed_on_as_it_grows():
    piece = b"x" * WRITE_MAX_BYTES

    def answer(joined):
        joined.write(b"head")
        joined.write(piece)
        joined.write(b"end")

    assert run(answer) == ([b"head" + piece], [b"end"])


def test_what_was_written_before_closing_is_sent_first_and_nothing_before_an_abort():
    def close(joined):
        joined.write(b"last words")
        joined.close()
        assert joined.is_closing()

    def abort(joined):
        joined.write(b"last words")
        joined.abort()

    assert run(close) == ([b"last words", "close"], [])
    assert run(abort) == (["abort"], [])
