"""docs/api.html, the page that shows docs/openapi.json: one file with its style, no script, and nothing from any other host.

`python -m docs` (`make docs`) writes it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from docs import openapi

STYLE = """
:root { color-scheme: light dark; --fg: #1b1f24; --dim: #57606a; --bg: #fff; --box: #f6f8fa; --line: #d0d7de; --link: #0a53be; }
@media (prefers-color-scheme: dark) {
  :root { --fg: #e6edf3; --dim: #9ea7b3; --bg: #0d1117; --box: #161b22; --line: #3d444d; --link: #79b8ff; }
}
* { box-sizing: border-box; }
body { margin: 0; color: var(--fg); background: var(--bg); font: 1rem/1.55 system-ui, sans-serif; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, pre:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
header, main, footer { max-width: 62rem; margin: 0 auto; padding: 1rem; }
nav { max-width: 62rem; margin: 0 auto; padding: 0 1rem; }
nav ul { columns: 20rem; padding-left: 1.2rem; }
section { border-top: 1px solid var(--line); margin-top: 2rem; }
code, pre { font: .875rem/1.5 ui-monospace, monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--box); border: 1px solid var(--line); padding: .75rem; overflow: auto; max-height: 30rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .6rem .4rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--bg); padding: .5rem; }
.dim { color: var(--dim); }
""".strip()

# The limits of a value, in words.
LIMITS = {"minimum": "at least {:,}", "maximum": "at most {:,}", "maxLength": "at most {:,} characters"}


def text() -> str:
    """Return the text of the page."""
    return "\n".join(_page(openapi.document())) + "\n"


def _page(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(info['title'])}: the API</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>"
    yield '<a class="skip" href="#main">Skip to the calls</a>'
    yield f"<header>\n<h1>{escape(info['title'])}: the API</h1>\n{_prose(info['description'])}"
    yield '<p>Made from <a href="openapi.json">openapi.json</a> (OpenAPI 3.1). The prose is <a href="api.md">api.md</a>.</p>'
    yield "</header>"
    calls = [(path, method, call) for path, methods in document["paths"].items() for method, call in methods.items()]
    components = document["components"]
    yield '<nav aria-label="Calls and schemas">\n<h2>Calls</h2>\n<ul>'
    for path, method, call in calls:
        yield f'<li><a href="#{call["operationId"]}">{escape(call["summary"])}</a> <code>{method.upper()} {escape(path)}</code></li>'
    yield "</ul>\n<h2>Schemas</h2>\n<ul>"
    yield from (f"<li>{_link(name)}</li>" for name in components["schemas"])
    yield '</ul>\n</nav>\n<main id="main">'
    for path, method, call in calls:
        yield from _call(path, method, call, components)
    yield from _gateway(components)
    for name, schema in components["schemas"].items():
        yield from _schema(name, schema)
    yield "</main>\n<footer><p>Written by <code>make docs</code>; don't edit it by hand.</p></footer>\n</body>\n</html>"


def _call(path: str, method: str, call: dict[str, Any], components: dict[str, Any]) -> Iterator[str]:
    id_ = call["operationId"]
    yield f'<section aria-labelledby="{id_}">\n<h2 id="{id_}">{escape(call["summary"])}</h2>'
    yield f"<p><code>{method.upper()} {escape(path)}</code> <span class=dim>operation <code>{id_}</code></span></p>"
    yield _prose(call["description"])
    if call["parameters"]:
        parameters = [components["parameters"][each["$ref"].rpartition("/")[2]] for each in call["parameters"]]
        yield "<h3>Parameters</h3>"
        rows = [
            (_code(each["name"]), each["in"], _type(each["schema"]), _inline(each["description"]))
            for each in parameters
        ]
        yield from _table(("name", "in", "type", "meaning"), rows)
    if "requestBody" in call:
        needed = "needed" if call["requestBody"]["required"] else "may be left out"
        yield f"<h3>Body <span class=dim>{needed}</span></h3>"
        yield from _content(call["requestBody"]["content"]["application/json"], f"of a body of {id_}")
    for status, response in call["responses"].items():
        name = response.get("$ref", "").rpartition("/")[2]
        if not name.startswith("gateway_"):
            yield from _answer(status, components["responses"].get(name, response), components, f"of {status} of {id_}")
    yield '<p>Or <a href="#gateway">API Gateway itself refuses it</a>.</p>\n</section>'


def _answer(status: str, response: dict[str, Any], components: dict[str, Any], of: str) -> Iterator[str]:
    yield f"<h3>{status}</h3>\n{_prose(response['description'])}"
    for header in response.get("headers", {}):
        yield f"<p>Header <code>{header}</code>: {_inline(components['headers'][header]['description'])}</p>"
    yield from _content(response["content"]["application/json"], of)


def _gateway(components: dict[str, Any]) -> Iterator[str]:
    yield '<section aria-labelledby="gateway">\n<h2 id="gateway">What API Gateway itself answers</h2>'
    for name, response in components["responses"].items():
        if name.startswith("gateway_"):
            status = name.removeprefix("gateway_")
            yield from _answer(status, response, components, f"of {status} by the gateway")
    yield "</section>"


def _content(content: dict[str, Any], of: str) -> Iterator[str]:
    yield f"<p>{_type(content['schema'])}</p>"
    examples = [each["value"] for each in content.get("examples", {}).values()] or [content.get("example")]
    for example in filter(None, examples):
        shown = escape(json.dumps(example, indent=2, ensure_ascii=False), quote=False)
        yield f'<details><summary>Example</summary>\n<pre tabindex="0" role="region" aria-label="Example {of}">{shown}</pre></details>'


def _schema(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f'<section aria-labelledby="schema-{name}">\n<h2 id="schema-{name}">{name}</h2>'
    yield _prose(schema.get("description", ""))
    if "properties" not in schema:
        yield f"<p>{_type(schema)}</p>"
    else:
        needed = schema.get("required", [])
        rows = [
            (_code(field), _type(each), "always" if field in needed else "", _inline(each.get("description", "")))
            for field, each in schema["properties"].items()
        ]
        yield from _table(("field", "type", "there", "meaning"), rows)
    yield "</section>"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    yield f"<table>\n<thead><tr>{cells}</tr></thead>\n<tbody>"
    for first, *others in rows:
        yield f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'
    yield "</tbody>\n</table>"


def _type(schema: dict[str, Any]) -> str:
    """Return a schema in a few words, with links to those that it is made of."""
    match schema:
        case {"$ref": ref}:
            return _link(ref.rpartition("/")[2])
        case {"anyOf": options}:
            return " or ".join(map(_type, options))
        case {"const": value}:
            return _code(json.dumps(value))
        case {"enum": values}:
            return " ".join(_code(json.dumps(value)) for value in values)
        case {"items": items}:
            return f"array of {_type(items)}"
        case {"properties": fields}:
            return f"object: {', '.join(f'{_code(name)} {_type(each)}' for name, each in fields.items())}"
        case {"additionalProperties": dict() as values}:
            return f"object of any keys, each {_type(values)}"
    kind = schema.get("type", "any")
    words = " or ".join(kind) if isinstance(kind, list) else kind
    limits = [says.format(schema[name]) for name, says in LIMITS.items() if name in schema]
    shown = [schema["format"]] if "format" in schema else []
    default = [f"default {json.dumps(schema['default'])}"] if schema.get("default") not in (None, "") else []
    return escape(", ".join([words, *shown, *limits, *default]))


def _link(name: str) -> str:
    return f'<a href="#schema-{name}">{name}</a>'


def _code(text: str) -> str:
    return f"<code>{escape(text, quote=False)}</code>"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _prose(text: str) -> str:
    return "\n".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n") if part)
