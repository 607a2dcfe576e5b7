"""Which statements the transactions of the code can run, found by reading it.

By names: a function may call everything that it mentions, be it a function, a method of the module, a constant with
functions, or the name of a statement of a file that its module loads. So the result is an upper bound, except for
functions passed as arguments.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "viewcounter"
SQL = PACKAGE / "storage/sql"

_STATEMENT = re.compile(r"^-- name: (\w+) \(\w+\)$", re.MULTILINE)
_WRITE = re.compile(
    r"\b(?:INSERT INTO|(?<!DO )(?<!FOR )(?<!KEY )UPDATE|DELETE FROM|TRUNCATE|MERGE INTO|DROP TABLE)"
    r" (?:ONLY |TABLE |IF EXISTS )?(\{\}|\w+)"
    r"|\bCOPY (\{\}|\w+) \(.*?\)\s+FROM\b",
    re.DOTALL,
)
_TABLE = re.compile(
    r"^CREATE TABLE (\w+) \((?!LIKE)(.*?)^\)|^CREATE TABLE (\w+) \(LIKE (\w+)", re.MULTILINE | re.DOTALL
)
_OPENS = re.compile(r"(^|_)transaction$|^open_(source|target)$")
ANY_TABLE = "{}"
"""The table of a composed statement."""


@cache
def find_partition_tables() -> frozenset[str]:
    """Tables with a column `partition`."""
    tables: set[str] = set()
    for path in sorted(SQL.glob("0*.sql")):
        for name, columns, copy, original in _TABLE.findall(path.read_text()):
            if re.search(r"^\s+partition smallint", columns, re.MULTILINE):
                tables.add(name)
            elif copy and original in tables:
                tables.add(copy)
    return frozenset(tables)


def find_written(text: str) -> set[str]:
    """Tables that a text in SQL writes to, or ANY_TABLE."""
    return {table or copied for table, copied in _WRITE.findall(text)}


@cache
def read_statements() -> dict[str, str]:
    """By `file:name`, without comments."""
    statements = {}
    for path in SQL.glob("*.sql"):
        parts = _STATEMENT.split(path.read_text())
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
            statements[f"{path.name}:{name}"] = "\n".join(lines).strip()
    return statements


@dataclass
class Module:
    """One module of the package, by its dotted name."""

    name: str
    tree: ast.Module
    statements: dict[str, str] = field(default_factory=dict)
    """Names of statements that it loads, with their files."""

    @cached_property
    def functions(self) -> dict[str, list[ast.AST]]:
        """Functions and methods by their bare name."""
        found: dict[str, list[ast.AST]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.setdefault(node.name, []).append(node)
        return found

    @cached_property
    def constants(self) -> dict[str, ast.AST]:
        found: dict[str, ast.AST] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name):
                        found[target.id] = node.value
        return found

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Names imported by `from module import name`, by their local name."""
        return {
            alias.asname or alias.name: (node.module, alias.name)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }


@dataclass(frozen=True)
class Block:
    """The body of a `with` that opens a transaction on a shard, in its function."""

    module: str
    function: str
    line: int
    body: tuple[ast.stmt, ...]
    within: ast.AST

    def __str__(self) -> str:
        return f"{self.module}.{self.function}, line {self.line}"


class Code:
    """The modules of a package and their call graph."""

    def __init__(self, modules: dict[str, Module]) -> None:
        self.modules = modules

    @classmethod
    def read(cls, *, left_out: tuple[str, ...] = ()) -> "Code":
        modules = {}
        for path in PACKAGE.rglob("*.py"):
            place = str(path.relative_to(ROOT))
            if not place.startswith(left_out):
                name = place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                modules[name] = build_module(name, path.read_text())
        return cls(modules)

    def find_blocks(self) -> Iterator[Block]:
        for module in self.modules.values():
            for functions in module.functions.values():
                for function in functions:
                    yield from _find_blocks(module, function)

    def reach(self, module: str, nodes: tuple[ast.AST, ...], within: ast.AST | None = None) -> frozenset[str]:
        """Statements that these nodes may run: `file:name`, and `module.py:function` of those composed in code."""
        found: set[str] = set()
        seen: set[ast.AST] = set()
        waiting = [(self.modules[module], node, within) for node in nodes]
        while waiting:
            here, node, function = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            names, texts = _read_mentioned(node)
            found |= {here.statements[text] for text in texts & here.statements.keys()}
            for name in names:
                waiting += self._resolve(here, name, function)
            if isinstance(node, ast.FunctionDef) and _writes_composed(node):
                found.add(f"{here.name.rsplit('.', 1)[-1]}.py:{node.name}")
        return frozenset(found)

    def find_given(self, argument: str) -> Iterator[tuple[str, int, ast.AST]]:
        """Values of this argument in calls of functions that call it: module, line, expression."""
        callees = {
            name
            for module in self.modules.values()
            for name, functions in module.functions.items()
            if any(calls_argument(function, function, argument) for function in functions)
        }
        for module in self.modules.values():
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Call) and callees.intersection(_get_mentioned(node.func)):
                    for keyword in node.keywords:
                        if keyword.arg == argument:
                            yield module.name, node.lineno, keyword.value

    def _resolve(
        self, module: Module, name: str, function: ast.AST | None
    ) -> list[tuple[Module, ast.AST, ast.AST | None]]:
        """The possible values of a name; those of a local variable by its assignments."""
        found: list[tuple[Module, ast.AST, ast.AST | None]] = []
        for value in _find_values(function, name):
            found.append((module, value, None))
        found += [(module, node, node) for node in module.functions.get(name, [])]
        if name in module.constants:
            found.append((module, module.constants[name], None))
        if name in module.classes:
            found.append((module, module.classes[name], None))
        if name in module.imports:
            source, original = module.imports[name]
            if source in self.modules:
                found += self._resolve(self.modules[source], original, None)
        return found


def build_module(name: str, source: str) -> Module:
    tree = ast.parse(source)
    statements: dict[str, str] = {}
    every = read_statements()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load_queries":
            file = node.args[0].value  # type: ignore[attr-defined]
            statements |= {key.split(":")[1]: key for key in every if key.startswith(f"{file}:")}
    return Module(name, tree, statements)


def find_composed(code: Code) -> set[str]:
    """Functions that write by a statement which they compose."""
    return {
        f"{module.name.rsplit('.', 1)[-1]}.py:{name}"
        for module in code.modules.values()
        for name, functions in module.functions.items()
        if any(_writes_composed(function) for function in functions)
    }


def calls_argument(function: ast.AST, node: ast.AST, argument: str) -> bool:
    """Whether the node calls this argument of the function."""
    given = function.args.args + function.args.kwonlyargs  # type: ignore[attr-defined]
    return any(one.arg == argument for one in given) and any(
        isinstance(call, ast.Call) and getattr(call.func, "id", "") == argument for call in ast.walk(node)
    )


def _find_blocks(module: Module, function: ast.AST) -> Iterator[Block]:
    for node in ast.walk(function):
        if isinstance(node, ast.With) and any(_opens_transaction(item.context_expr) for item in node.items):
            yield Block(module.name, function.name, node.lineno, tuple(node.body), function)  # type: ignore[attr-defined]


def _opens_transaction(expression: ast.expr) -> bool:
    """Excludes savepoints, `connection.transaction()`."""
    if not isinstance(expression, ast.Call):
        return False
    called = expression.func
    if isinstance(called, ast.Attribute):
        owner = called.value
        is_savepoint = isinstance(owner, ast.Name | ast.Attribute) and getattr(owner, "id", "") == "connection"
        return bool(_OPENS.search(called.attr)) and not is_savepoint
    return isinstance(called, ast.Name) and bool(_OPENS.search(called.id))


@cache
def _read_mentioned(node: ast.AST) -> tuple[frozenset[str], frozenset[str]]:
    """Names and strings in the node."""
    names: set[str] = set()
    texts: set[str] = set()
    for child in ast.walk(node):
        names.update(_get_mentioned(child))
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            texts.add(child.value)
    return frozenset(names), frozenset(texts)


def _get_mentioned(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [node.attr]
    return []


@cache
def _find_values(function: ast.AST | None, name: str) -> list[ast.AST]:
    """Values of a local variable: of its assignments, or of its loop."""
    if function is None:
        return []
    values: list[ast.AST] = []
    for node in ast.walk(function):
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name) and node.target.id == name:
            values.append(node.iter)
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            values.append(node.value)
    return values


@cache
def _writes_composed(function: ast.AST) -> bool:
    tables = find_partition_tables() | {ANY_TABLE}
    return any(find_written(text) & tables for text in _read_mentioned(function)[1])
