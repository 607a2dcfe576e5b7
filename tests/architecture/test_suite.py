"""Rules for the tests themselves."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


@cache
def walk() -> list[tuple[str, ast.AST]]:
    """Every syntax node of every test module that a rule below concerns, with its location."""
    return [
        (f"{path.relative_to(TESTS.parent)}:{node.lineno}", node)
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom | ast.Call | ast.Attribute | ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def name_called(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def test_no_test_module_is_imported_by_another():
    imports = [
        place
        for place, node in walk()
        if isinstance(node, ast.ImportFrom)
        and any(part.startswith("test_") for part in f"{node.module}.{'.'.join(a.name for a in node.names)}".split("."))
    ]
    assert imports == [], "move what is shared to a module named for what it gives"


def test_there_is_one_way_to_wait():
    own = [
        place
        for place, node in walk()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name in {"poll", "eventually", "wait_until", "wait_while", "wait_until_async"}
        and not place.startswith("tests/waiting.py:")
    ]
    assert own == [], "use tests/waiting.py"


def test_processes_of_tests_are_started_where_they_are_ended_too():
    started = [
        place
        for place, node in walk()
        if place.startswith(("tests/contracts/", "tests/integration/", "tests/static/", "tests/system/"))
        and isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"subprocess.run", "subprocess.Popen", "os.fork", "os.system"}
    ]
    assert started == [], "use tests/processes.py: what it starts dies with its test, and its limit fits the machine"


def test_no_unit_test_sleeps():
    sleeps = [
        place
        for place, node in walk()
        if place.startswith("tests/unit/")
        and isinstance(node, ast.Call)
        and name_called(node) == "sleep"
        and not (len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
    ]
    assert sleeps == [], "hand the component a tests.clock.Clock, or use tests.waiting"


PUBLIC_BY_CUSTOM = {"_meta", "_replace", "_exit"}
"""Of Django's models, of named tuples, of os."""
NOT_TO_BE_HAD_OTHERWISE = {"_labelnames"}
"""Of a metric of prometheus_client."""


def test_no_test_reaches_into_what_is_private():
    assert [f"{place}: {name}" for place, node in walk() for name in name_private(node)] == []


def name_private(node: ast.AST) -> Iterator[str]:
    """Private names of others that `node` reads, sets, patches or imports."""
    allowed = PUBLIC_BY_CUSTOM | NOT_TO_BE_HAD_OTHERWISE
    if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}):
        names = [node.attr]
    elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("tests"):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.Call) and name_called(node) in {"getattr", "setattr", "delattr"}:
        names = [str(argument.value) for argument in node.args[1:2] if isinstance(argument, ast.Constant)]
    else:
        names = []
    yield from (name for name in names if name.startswith("_") and not name.startswith("__") and name not in allowed)


NAME_MAX_CHARACTERS = 80


def test_the_name_of_a_test_is_one_short_promise():
    long = [
        f"{place}: {node.name}"
        for place, node in walk()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and len(node.name) > NAME_MAX_CHARACTERS
    ]
    assert long == [], "a name that needs more promises two things: make two tests of it, or say the one that matters"
