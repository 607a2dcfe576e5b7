"""What holds for the tests themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def walk(folder: Path = TESTS) -> Iterator[tuple[str, ast.AST]]:
    """Every node of every module below `folder`, with its place."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            yield f"{path.relative_to(TESTS.parent)}:{getattr(node, 'lineno', 0)}", node


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
