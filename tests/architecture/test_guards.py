"""Every statement that changes rows of a partition runs after a lock on the partition's row, in the expected state.

A mover that was frozen in a clean-up once removed the rows of a partition that had come back; see decision 0016.
"""

import re
from functools import cache

import pytest

from tests.architecture.transactions import (
    ANY_TABLE,
    SQL,
    Block,
    Code,
    build_module,
    calls_argument,
    find_composed,
    find_partition_tables,
    find_written,
    read_statements,
)

OF_ITSELF = frozenset({"itself"})
"""The statement changes the partition's own row, by compare-and-set."""
FLUSH = frozenset({"flush.sql:advance_positions"})
OWNER = frozenset({"rollup.sql:lock_rollup"})
COPY = frozenset({"moves.sql:check_copy"})
MOVER = COPY | {"moves.sql:check_moved_away"}

GUARDS: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        [
            "flush.sql:advance_positions",
            "dead_letters.sql:stop_partition",
            "dead_letters.sql:resume_partition",
            "moves.sql:hold_maintenance",
            "moves.sql:continue_maintenance_hold",
            "moves.sql:renew_maintenance_hold",
            "moves.sql:hold_source",
            "moves.sql:unhold_source",
            "moves.sql:free_source",
            "moves.sql:release_source",
            "moves.sql:begin_copy",
            "moves.sql:take_copy_over",
            "moves.sql:retire_copy",
            "moves.sql:own_arrival",
            "partitions.sql:accept_arrived",
            "partitions.sql:advance_watermarks",
            "partitions.sql:pass_over_lost",
            "log_sessions.sql:adopt_log_session",
            "log_sessions.sql:adopt_log_session_of_free_rows",
            "log_sessions.sql:raise_log_term",
            "leases.sql:claim_partitions",
            "leases.sql:hand_over_partitions",
        ],
        OF_ITSELF,
    ),
    **dict.fromkeys(
        [
            "flush.sql:copy_raw_events",
            "flush.sql:insert_event_ids",
            "flush.sql:ensure_videos",
            "flush.sql:add_minutes",
            "flush.sql:add_totals",
            "flush.sql:add_ledger",
            "flush.sql:mark_dirty",
            "dead_letters.sql:insert_dead_letters",
            "conflicts.sql:insert_conflicts",
        ],
        FLUSH,
    ),
    **dict.fromkeys(
        [
            "rollup.sql:delete_hour",
            "rollup.sql:insert_hour",
            "rollup.sql:delete_day",
            "rollup.sql:mark_day_of_dirty_hours",
            "rollup.sql:mark_unsplit_days",
            "rollup.sql:set_rolled_through",
            "rollup.sql:delete_dirty_hours",
            "rollup.sql:insert_dirty_hours",
            "rollup.sql:mark_days_of_hours",
            "rollup.sql:delete_dirty_days",
            "rollup.sql:insert_dirty_days",
            "rollup.sql:delete_marks",
            "rollup.sql:mark_sketches_due",
            "sketches.sql:store_sketches",
            "sketches.sql:clear_due",
            "retention.sql:set_horizon",
            "retention.sql:delete_minutes_of_hour",
            "retention.sql:delete_hours_of_day",
            "retention.sql:delete_hour_sketches_of_day",
            "retention.sql:delete_ids",
            "retention.sql:delete_resolved_dead_letters",
            "retention.sql:delete_conflicts",
            "id_pieces.sql:merge_small_pieces",
        ],
        OWNER,
    ),
    **dict.fromkeys(
        [
            "recount.sql:set_minutes",
            "recount.sql:delete_minutes",
            "recount.sql:ensure_video",
            "recount.sql:set_totals",
            "recount.sql:delete_totals",
            "recount.sql:mark_buckets",
            "recount.sql:renew_generation",
            "recount.sql:insert_correction",
        ],
        frozenset({"recount.sql:lock_partition"}),
    ),
    "dead_letters.sql:resolve_dead_letters": frozenset({"dead_letters.sql:lock_partitions_of_dead_letters"}),
    # Copied by the catalogue, by a flush for videos that it has seen first, and nowhere else.
    "catalogue.sql:upsert_videos": frozenset({"partitions.sql:lock_partitions_here"}) | FLUSH | COPY,
    "catalogue.sql:advance_catalogue_cursor": frozenset({"partitions.sql:lock_partitions_here"}),
    "log_losses.sql:close_log_losses": frozenset({"log_losses.sql:lock_partitions_to_close"}),
    "log_losses.sql:insert_rest_of_loss": frozenset({"log_losses.sql:lock_partitions_to_close"}),
    "log_sessions.sql:insert_log_losses": FLUSH | frozenset({"partitions.sql:pass_over_lost"}),
    "moves.sql:limit_raw_claims": COPY,
    "copying.py:write_block": COPY,
    "copying.py:delete_pages": MOVER,
    "moves.py:_set_columns": COPY,
    # A day holds rows of every partition: all of their rows are locked.
    "raw_days.py:drop_raw_day": frozenset({"partitions.sql:lock_every_row"}),
    # The first row that a shard has of a partition; one that is there is left alone.
    "partitions.sql:adopt_partitions": OF_ITSELF,
}
"""Every statement that writes rows of a partition; one of its guards has run before it, in the same transaction."""

WHATEVER_STATE = {"partitions.sql:adopt_partitions"} | {
    f"log_sessions.sql:{name}" for name in ("adopt_log_session", "adopt_log_session_of_free_rows", "raise_log_term")
}
"""Changes no row that is there, or only which session's entries a row takes, which compares terms."""

LEFT_OUT = ("devtools/bench/", "viewcounter/catalogue/local_copy.py")
"""Benchmarks write to temporary clusters; the local copy of the catalogue is an SQLite file."""
GUARD_ARGUMENT = "guard"
"""A function may get the guard as an argument: then the argument of each caller is checked."""


@cache
def read_code() -> Code:
    return Code.read(left_out=LEFT_OUT)


def test_every_statement_that_writes_rows_of_a_partition_is_named_with_its_guard():
    tables = find_partition_tables()
    assert {"partition_state", "event_minute", "event_hour", "raw_event", "correction"} <= tables
    writing = {name for name, text in read_statements().items() if find_written(text) & (tables | {ANY_TABLE})}
    assert writing | find_composed(read_code()) == GUARDS.keys()


def test_a_statement_that_guards_itself_compares_epoch_and_state_or_a_movers_token():
    statements = read_statements()
    for name, guards in GUARDS.items():
        if guards is OF_ITSELF and name not in WHATEVER_STATE:
            conditions = re.split(r"\bWHERE\b", statements[name], maxsplit=1)[1]
            is_by_epoch = re.search(r"\bepoch\b", statements[name]) and re.search(r"\bstate\b", conditions)
            assert is_by_epoch or "move_token = %(token)s" in conditions, name
    assert "ON CONFLICT (partition) DO NOTHING" in statements["partitions.sql:adopt_partitions"]


def test_unlogged_tables_are_used_in_leases_and_trims_alone_and_never_by_a_read():
    """A standby cannot read them."""
    unlogged = {"worker", "watermark_request", "trim_mark"}
    scripts = "".join(script.read_text() for script in SQL.glob("0*.sql"))
    assert set(re.findall(r"^CREATE UNLOGGED TABLE (\w+)", scripts, re.MULTILINE)) == unlogged
    using = {name: text for name, text in read_statements().items() if unlogged & set(find_used(text))}
    assert {name.split(":")[0] for name in using} == {"leases.sql", "trim_marks.sql"}
    assert all(find_written(text) for text in using.values())


def find_used(text: str) -> list[str]:
    return re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE) (\w+)", text)


def test_a_guard_locks_the_partitions_row():
    statements = read_statements()
    for guard in frozenset().union(*GUARDS.values()) - OF_ITSELF:
        locks = re.search(r"\bFOR (SHARE|UPDATE|NO KEY UPDATE)\b", statements[guard])
        assert "partition_state" in statements[guard], guard
        assert locks or GUARDS.get(guard) is OF_ITSELF, guard


def test_every_transaction_that_writes_rows_of_a_partition_runs_their_guard_first():
    assert [line for block in read_code().find_blocks() for line in find_unguarded(read_code(), block)] == []


def test_every_writing_statement_is_found_in_a_transaction():
    """Otherwise this test could not see who runs it."""
    code = read_code()
    reached = frozenset().union(*(code.reach(b.module, b.body, b.within) for b in code.find_blocks()))
    assert GUARDS.keys() - reached == set()


def test_every_caller_that_hands_over_a_guard_hands_over_one_that_looks():
    assert find_empty_guards(read_code()) == []


LATE = """
from viewcounter.moves.cleanup import remove_rows
from viewcounter.storage.retention import delete_ids
from viewcounter.maintenance.rollup import lock_owned

def forget(cluster, partition):
    with cluster.transaction(partition) as connection:
        {first}
        {second}

def clean(work):
    remove_rows(work, work.open_source, guard={guard})
"""
LOCK = "lock_owned(connection, partition, epoch=1)"
DELETE = "delete_ids(connection, partition, guard=None, limit=1)"


@pytest.mark.parametrize(
    ("first", "second", "is_found"), [(LOCK, DELETE, False), (DELETE, LOCK, True), ("pass", DELETE, True)]
)
def test_a_transaction_without_its_guard_is_found(first, second, is_found):
    code = extend(LATE.format(first=first, second=second, guard="lambda _: None"))
    lines = [line for block in code.find_blocks() if block.module == "late" for line in find_unguarded(code, block)]
    assert lines == (["late.forget, line 7: retention.sql:delete_ids"] if is_found else [])


def test_a_guard_that_does_not_look_is_found():
    assert find_empty_guards(extend(LATE.format(first=LOCK, second=DELETE, guard="lambda _: None"))) == [
        "late, line 12"
    ]


def extend(source: str) -> Code:
    return Code(read_code().modules | {"late": build_module("late", source)})


def find_unguarded(code: Code, block: Block) -> list[str]:
    """Writes of one transaction that may run before any of their guards."""
    has_run: set[str] = set()
    found = []
    for statement in block.body:
        runs = code.reach(block.module, (statement,), block.within)
        has_run |= runs
        if calls_argument(block.within, statement, GUARD_ARGUMENT):
            has_run |= MOVER  # what callers hand over is looked at by `find_empty_guards`
        for name in sorted(runs & GUARDS.keys()):
            if GUARDS[name] is not OF_ITSELF and not GUARDS[name] & has_run:
                found.append(f"{block}: {name}")
    return found


def find_empty_guards(code: Code) -> list[str]:
    """Calls that pass a guard which checks nothing."""
    return [
        f"{module}, line {line}"
        for module, line, given in code.find_given(GUARD_ARGUMENT)
        if not code.reach(module, (given,)) & MOVER
    ]
