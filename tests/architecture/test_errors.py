"""A caller in another package learns from the type of an exception whether to try again."""

import ast
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("clusterproxy", "commandline", "configservice", "runtime", "shardproxy", "viewcounter")
NESTED = ("configservice", "viewcounter")
"""Their folders are packages of their own."""
MARKERS = frozenset({"Retryable", "Permanent"})

WITHOUT_MARKER = {"StateConflict": "an answer of the framework of the API: 409"}
"""Exceptions that cross a package without a marker, with the reason. The list may only shrink."""


class Definition(NamedTuple):
    path: Path
    bases: tuple[str, ...]


@cache
def list_modules() -> list[tuple[Path, ast.Module]]:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts]
    return [(path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))) for path in sorted(paths)]


def get_package(path: Path) -> tuple[str, ...]:
    return path.parts[:2] if path.parts[0] in NESTED and len(path.parts) > 2 else path.parts[:1]


def get_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


@cache
def read_exceptions() -> dict[str, Definition]:
    """The product's exception classes by name, which each has for itself."""
    classes = {}
    for path, module in list_modules():
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                classes[node.name, path] = Definition(path, tuple(map(get_name, node.bases)))
    by_name = {name: found for (name, _), found in classes.items()}

    def is_exception(bases: tuple[str, ...], above: frozenset[str] = frozenset()) -> bool:
        """`above`: names that were followed already; a class may extend one of its own name from elsewhere."""
        return any(
            base in ("Exception", "BaseException")
            or base.endswith(("Error", "Exception"))
            or (base in by_name and base not in above and is_exception(by_name[base].bases, above | {base}))
            for base in bases
        )

    found = {key: found for key, found in classes.items() if is_exception(found.bases)}
    doubled = [name for name, count in Counter(name for name, _ in found).items() if count > 1]
    assert doubled == [], "two exceptions have one name"
    return {name: definition for (name, _), definition in found.items()}


def find_markers(name: str) -> set[str]:
    """Those that an exception inherits. CallerOnly is Retryable."""
    if name == "CallerOnly":
        return {"Retryable"}
    if name in MARKERS:
        return {name}
    definition = read_exceptions().get(name)
    return set() if definition is None else {m for base in definition.bases for m in find_markers(base)}


@cache
def find_crossing() -> set[str]:
    """Exceptions of an errors.py, and those that another package imports; without bases that nobody raises."""
    exceptions = read_exceptions()
    crossing = {name for name, definition in exceptions.items() if definition.path.name == "errors.py"}
    raised = set()
    for path, module in list_modules():
        for node in ast.walk(module):
            if isinstance(node, ast.ImportFrom):
                names = {alias.name for alias in node.names} & exceptions.keys()
                crossing |= {name for name in names if get_package(exceptions[name].path) != get_package(path)}
            elif isinstance(node, ast.Call):
                raised.add(get_name(node.func))
            elif isinstance(node, ast.Raise) and node.exc is not None:
                raised.add(get_name(node.exc))
    bases = {base for definition in exceptions.values() for base in definition.bases}
    return {name for name in crossing if name in raised or name not in bases}


def test_exceptions_that_cross_a_package_are_retryable_or_permanent_or_excused():
    assert len(find_crossing()) > 80
    assert {name for name in find_crossing() if not find_markers(name)} == WITHOUT_MARKER.keys()


def test_no_exception_is_both_retryable_and_permanent():
    assert [name for name in read_exceptions() if find_markers(name) == MARKERS] == []
