"""The design of the log with an identity, tried by random operations and by the shortest traces found so far."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.model.log_identity import LogModel, Rules, Violation
from tests.tiers import scale_examples

GATEWAYS = st.integers(0, 1)
EVENTS = st.integers(0, 9)


class LogMachine(RuleBasedStateMachine):
    """All operations but those of the known gap: a restored server whose last producers are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.model = LogModel(Rules())

    @rule(gateway=GATEWAYS, event=EVENTS, is_answer_lost=st.booleans())
    def post(self, gateway, event, is_answer_lost):
        self.model.post(gateway, event, is_answer_lost=is_answer_lost)

    @rule(gateway=GATEWAYS)
    def drain_spool(self, gateway):
        self.model.drain_spool(gateway)

    @rule(gateway=GATEWAYS)
    def learn_topology(self, gateway):
        self.model.learn_topology(gateway)

    @rule(gateway=GATEWAYS)
    def restart_gateway(self, gateway):
        self.model.discard_saved_server()
        self.model.restart_gateway(gateway)

    @rule(count=st.integers(1, 4))
    def fetch(self, count):
        self.model.fetch(count=count)

    @rule(index=st.integers(0, 3))
    def apply(self, index):
        self.model.apply(index)

    @rule(seen=st.integers(0, 5))
    def advance_watermark(self, seen):
        self.model.advance_watermark(seen=seen)

    @rule()
    def replicate(self):
        self.model.replicate()

    @rule()
    def promote(self):
        self.model.promote()

    @rule(is_share_used_up=st.booleans(), is_interrupted=st.booleans())
    def trim(self, is_share_used_up, is_interrupted):
        self.model.trim(is_share_used_up=is_share_used_up, is_interrupted=is_interrupted)

    @rule()
    def save_server(self):
        self.model.save_server()

    @rule()
    def restore_server(self):
        self.model.restore_server()

    @rule()
    def empty_server(self):
        self.model.empty_server()

    @rule()
    def close_loss(self):
        self.model.close_loss()

    @rule()
    def lose_server(self):
        self.model.lose_server()

    @rule(is_leader_lost=st.booleans())
    def replace(self, is_leader_lost):
        self.model.replace(is_leader_lost=is_leader_lost)

    @rule()
    def return_older_server(self):
        self.model.return_older_server()

    @rule()
    def fence_older_server(self):
        self.model.fence_older_server()

    @rule()
    def salvage(self):
        self.model.salvage()

    def teardown(self):
        self.model.settle()


TestLogMachine = LogMachine.TestCase
# The same sequences in every run: a new counterexample is for the one who changes the model, not for another change.
TestLogMachine.settings = settings(
    max_examples=scale_examples(100), stateful_step_count=25, deadline=None, derandomize=True
)


def read(model: LogModel) -> None:
    model.fetch()
    model.apply(len(model.batches) - 1)


def append_to_an_emptied_server(model: LogModel) -> None:
    model.post(0, 1)
    read(model)
    model.empty_server()
    model.post(1, 2)


def append_to_a_restored_server(model: LogModel) -> None:
    model.save_server()
    model.post(0, 1)
    model.restore_server()
    model.post(0, 2)


def overtake_a_restored_server(model: LogModel) -> None:
    model.save_server()
    model.post(0, 1)
    model.restore_server(unreached=0)
    model.post(1, 2)  # the numbers of the positions are equal again
    model.post(0, 3)


def send_again(model: LogModel) -> None:
    model.post(0, 1, is_answer_lost=True)
    model.drain_spool(0)


def apply_a_batch_of_a_former_primary(model: LogModel) -> None:
    model.post(0, 1)
    read(model)
    model.post(0, 2)
    model.fetch()
    model.promote()
    model.apply(0)


def promote_below_an_interrupted_trim(model: LogModel) -> None:
    model.post(0, 1)
    read(model)
    model.trim(is_share_used_up=True, is_interrupted=True)
    model.promote()
    model.restart_gateway(0)
    model.post(0, 2)


def trim_beside_a_lagging_replica(model: LogModel) -> None:
    model.post(0, 1)
    read(model)
    model.trim()


def believe_an_old_end(model: LogModel) -> None:
    model.post(0, 1)
    model.advance_watermark(seen=0)


def lose_the_leader_while_it_replaces(model: LogModel) -> None:
    model.lose_server()
    model.replace(is_leader_lost=True)
    model.replace()


def replace_an_unread_log(model: LogModel) -> None:
    model.post(0, 1)
    model.lose_server()
    model.replace()


def restart_the_gateway_of_a_lost_log(model: LogModel) -> None:
    model.post(0, 1)
    model.restart_gateway(0)
    replace_an_unread_log(model)
    model.restart_gateway(0)
    model.learn_topology(0)


def append_after_the_salvage(model: LogModel) -> None:
    model.lose_server()
    model.replace()
    model.return_older_server()
    model.salvage()
    read(model)
    model.close_loss()
    model.post(0, 1)


def lose_the_successor_after_the_salvage(model: LogModel) -> None:
    model.post(0, 1)
    model.lose_server()
    model.replace()
    model.return_older_server()
    model.fence_older_server()
    model.salvage()
    model.close_loss()
    model.lose_server()
    model.replace()


def salvage_a_server_that_was_trimmed(model: LogModel) -> None:
    model.post(0, 1)
    read(model)
    model.trim(is_share_used_up=True)
    model.promote()
    model.lose_server()
    model.replace()
    model.return_older_server()
    model.fence_older_server()
    model.salvage()
    read(model)
    model.close_loss()


def apply_a_batch_of_an_earlier_run(model: LogModel) -> None:
    model.save_server()
    model.post(0, 1, is_answer_lost=True)
    model.fetch()
    model.restore_server()
    model.apply(0)
    model.post(1, 2)


Trace = Callable[[LogModel], None]
TRACES: dict[str, Trace] = {
    "identity": append_to_an_emptied_server,
    "highest_seen": append_to_a_restored_server,
    "producer_chain": overtake_a_restored_server,
    "event_ids": send_again,
    "compare_and_set": apply_a_batch_of_a_former_primary,
    "floor_first": promote_below_an_interrupted_trim,
    "floor_checked": promote_below_an_interrupted_trim,
    "trim_below_every_copy": trim_beside_a_lagging_replica,
    "barrier": believe_an_old_end,
    "term_first": lose_the_leader_while_it_replaces,
    "loss_row": replace_an_unread_log,
    "open_loss_end": restart_the_gateway_of_a_lost_log,
    "fence_first": append_after_the_salvage,
    "close_when_applied": lose_the_successor_after_the_salvage,
    "close_above_floor": salvage_a_server_that_was_trimmed,
    "run_first": apply_a_batch_of_an_earlier_run,
}


def test_every_rule_has_a_trace_that_needs_it():
    assert set(TRACES) == set(Rules.__dataclass_fields__)


@pytest.mark.parametrize("name", TRACES)
def test_a_rule_taken_away_breaks_a_promise(name):
    kept = LogModel(Rules())
    TRACES[name](kept)
    kept.settle()
    without = LogModel(replace(Rules(), **{name: False}))
    with pytest.raises(Violation):
        TRACES[name](without)
        without.settle()


def test_the_last_entry_of_a_lost_producer_is_the_known_gap():
    model = LogModel(Rules())
    model.save_server()
    model.post(0, 1)
    model.restart_gateway(0)
    model.restore_server()
    with pytest.raises(Violation, match="neither applied nor in a loss row"):
        model.settle()
