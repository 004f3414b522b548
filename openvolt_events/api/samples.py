"""Each call as one would write it: with curl, in Python and in JavaScript, made from its recorded example.

The address and the keys come from the environment, by the names that `var/demo.env` has.
"""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openvolt_events.api.examples import CALLS

KEYS = {"application": "OPENVOLT_API_KEY", "platform": "OPENVOLT_PLATFORM_KEY"}
INDENT = " " * 4


@dataclass(frozen=True)
class Sample:
    """One request: what is sent where, and the variable that has the key."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    key: str


def show_samples(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """As `x-codeSamples`, which documentation tools know."""
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            if found := sample(method.upper(), path, CALLS.get(operation["operationId"], [])):
                operation["x-codeSamples"] = list(written(found))
    return result


def sample(method: str, path: str, examples: list[dict[str, Any]]) -> Sample | None:
    """Of the first example that went well."""
    good = [one["request"] for one in examples if one["status"] < 300]
    if not good:
        return None
    request = good[0]
    address = path.format(**request["path"]) + request["query"]
    return Sample(method, address, request["headers"], request["body"], KEYS[request["key"]])


def written(sample: Sample) -> Iterator[dict[str, str]]:
    languages: list[tuple[str, str, Callable[[Sample], str]]] = [
        ("Shell", "curl", curl),
        ("Python", "Python", python),
        ("JavaScript", "JavaScript", javascript),
    ]
    for lang, label, write in languages:
        yield {"lang": lang, "label": label, "source": write(sample)}


def curl(sample: Sample) -> str:
    lines = [
        f'curl --request {sample.method} "$OPENVOLT_URL{sample.path}"',
        f'--header "x-api-key: ${sample.key}"',
    ]
    lines += [f"--header {shlex.quote(f'{name}: {value}')}" for name, value in sample.headers.items()]
    if sample.body is not None:
        text = json.dumps(sample.body, ensure_ascii=False, indent=2)
        lines += ["--header 'Content-Type: application/json'", f"--data {shlex.quote(text)}"]
    return " \\\n  ".join(lines)


def python(sample: Sample) -> str:
    headers = "".join(f", {json_text(name)}: {json_text(value)}" for name, value in sample.headers.items())
    body = f"{INDENT}json={python_literal(sample.body, INDENT)},\n" if sample.body is not None else ""
    return (
        "import os\n\nimport requests\n\n"
        f"answer = requests.{sample.method.lower()}(\n"
        f'{INDENT}os.environ["OPENVOLT_URL"] + {json.dumps(sample.path)},\n'
        f'{INDENT}headers={{"x-api-key": os.environ["{sample.key}"]{headers}}},\n'
        f"{body}{INDENT}timeout=10,\n)\n"
        "answer.raise_for_status()\n"
        "print(answer.text)\n"
    )


def python_literal(value: Any, indent: str = "") -> str:
    """The value as Python writes it, over several lines where JSON would be."""
    deeper = indent + INDENT
    if isinstance(value, dict) and value:
        items = [f"{json_text(name)}: {python_literal(one, deeper)}" for name, one in value.items()]
        return "{\n" + "".join(f"{deeper}{item},\n" for item in items) + indent + "}"
    if isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        items = [python_literal(one, deeper) for one in value]
        return "[\n" + "".join(f"{deeper}{item},\n" for item in items) + indent + "]"
    if isinstance(value, list):
        return "[" + ", ".join(python_literal(one) for one in value) + "]"
    return json_text(value) if isinstance(value, str) else repr(value)


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def javascript(sample: Sample) -> str:
    more = {**sample.headers, **({"content-type": "application/json"} if sample.body is not None else {})}
    headers = "".join(f", {json_text(name)}: {json_text(value)}" for name, value in more.items())
    text = json.dumps(sample.body, ensure_ascii=False, indent=2).replace("\n", "\n  ")
    body = f"  body: JSON.stringify({text}),\n" if sample.body is not None else ""
    return (
        f"const answer = await fetch(process.env.OPENVOLT_URL + {json_text(sample.path)}, {{\n"
        f'  method: "{sample.method}",\n'
        f'  headers: {{ "x-api-key": process.env.{sample.key}{headers} }},\n'
        f"{body}}});\n"
        "if (!answer.ok) throw new Error(await answer.text());\n"
        "console.log(await answer.text());\n"
    )
