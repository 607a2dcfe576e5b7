"""Code samples of every operation, made of its examples: curl, Python and JavaScript. Each runs as it stands, with the
address of the service and a key in the environment; a test runs them.
"""
# ruff: noqa: ARG001 (drf-spectacular gives its hooks more than they need)

import json
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

Document = dict[str, Any]

URL_VARIABLE = "VIEWCOUNTER_URL"
KEY_VARIABLE = "VIEWCOUNTER_KEY"
_JSON = "application/json"
_LEFT_OUT = frozenset({"askBeforePostEvents", "streamVideoCounts"})
"""Sent by browsers only; without an end."""


class _Sample(NamedTuple):
    """`target`: path and query. `body`: indented JSON, or None."""

    method: str
    target: str
    body: str | None
    has_key: bool


def add_code_samples(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """drf-spectacular's postprocessing hook, after the one that adds examples."""
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            if operation["operationId"] not in _LEFT_OUT:
                operation["x-codeSamples"] = _list_samples(_build_sample(path, method, operation))
    return result


def _build_sample(path: str, method: str, operation: Document) -> _Sample:
    query = {}
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", quote(str(parameter["example"]), safe=""))
        elif parameter.get("required"):
            query[name] = parameter["example"]
    content = operation.get("requestBody", {}).get("content", {}).get(_JSON, {})
    bodies = (
        [content["example"]] if "example" in content else [e["value"] for e in content.get("examples", {}).values()]
    )
    return _Sample(
        method=method.upper(),
        target=f"{path}?{urlencode(query)}" if query else path,
        body=json.dumps(bodies[0], indent=2, ensure_ascii=False) if bodies else None,
        has_key=bool(operation["security"]),
    )


def _list_samples(sample: _Sample) -> list[Document]:
    return [
        {"lang": "Shell", "label": "curl", "source": _write_curl(sample)},
        {"lang": "Python", "label": "Python", "source": _write_python(sample)},
        {"lang": "JavaScript", "label": "JavaScript", "source": _write_javascript(sample)},
    ]


def _write_curl(sample: _Sample) -> str:
    parts = [f'curl --fail-with-body "${URL_VARIABLE}{sample.target}"']
    if sample.method != "GET":
        parts.append(f"--request {sample.method}")
    if sample.has_key:
        parts.append(f'--header "Authorization: Bearer ${KEY_VARIABLE}"')
    if sample.body is not None:
        escaped = sample.body.replace("'", "'\\''")
        parts += [f"--header 'Content-Type: {_JSON}'", f"--data '{escaped}'"]
    return " \\\n  ".join(parts) + "\n"


def _write_python(sample: _Sample) -> str:
    lines = ["import os", "", "import requests", "", f"response = requests.{sample.method.lower()}("]
    lines.append(f'    os.environ["{URL_VARIABLE}"] + {json.dumps(sample.target)},')
    if sample.has_key:
        lines.append(f'    headers={{"Authorization": f"Bearer {{os.environ[\'{KEY_VARIABLE}\']}}"}},')
    if sample.body is not None:
        lines.append(f"    json={_write_literal(json.loads(sample.body))},")
    lines += ["    timeout=10,", ")", "response.raise_for_status()", "print(response.text)"]
    return "\n".join(lines) + "\n"


def _write_literal(value: Any, indent: int = 4) -> str:
    """JSON as a literal of Python, in its line breaks."""
    space = " " * indent
    match value:
        case dict():
            parts = ((json.dumps(name), _write_literal(part, indent + 4)) for name, part in value.items())
            return "{\n" + "".join(f"{space}    {name}: {part},\n" for name, part in parts) + space + "}"
        case list():
            return "[\n" + "".join(f"{space}    {_write_literal(part, indent + 4)},\n" for part in value) + space + "]"
        case str():
            return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _write_javascript(sample: _Sample) -> str:
    lines = [f"const response = await fetch(process.env.{URL_VARIABLE} + {json.dumps(sample.target)}, {{"]
    lines.append(f'  method: "{sample.method}",')
    headers = [f"Authorization: `Bearer ${{process.env.{KEY_VARIABLE}}}`"] if sample.has_key else []
    if sample.body is not None:
        headers.append(f'"Content-Type": "{_JSON}"')
    if headers:
        lines.append(f"  headers: {{ {', '.join(headers)} }},")
    if sample.body is not None:
        lines.append(f"  body: JSON.stringify({sample.body.replace(chr(10), chr(10) + '  ')}),")
    lines += ["});", "if (!response.ok) throw new Error(await response.text());", "console.log(await response.text());"]
    return "\n".join(lines) + "\n"
