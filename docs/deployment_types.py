"""The page docs/deployment-types.md, and README's table of types, from the code: the catalogue, each type's `NOTES`, and its test.

`python -m docs` (`make docs`) writes both.
"""

from collections.abc import Iterator
from importlib import import_module

from tests.conformance.matrix import targets
from tests.conformance.target import FAULTS, Evidence
from tracker.cleanup.core.contract import OperatorNotes
from tracker.model.catalogue import CATALOGUE, COMMON, Entry, Form
from tracker.model.marks import NAME_DIGITS, NAME_PREFIX

EVIDENCE: dict[Evidence, str] = {
    "real": "the real thing",
    "engine": "real software of the same sort (QEMU for Cloud Hypervisor) behind a stand-in of the API",
    "emulator": "a stand-in that behaves as the real thing was seen to: others' (moto), mended where it is kinder, or ours",
    "contract": "a stand-in of ours, each request and answer of which is checked against the provider's API description",
}
HEAD = """\
# Deployment types

Written by `make docs` from the code; don't edit it by hand. `make matrix` tries every type below with every fault that its kind of place can have.

Every type may have `metadata.account` (compared with what the credential itself says), `metadata.credential` (a secret whose name
begins as the parameter SecretsPrefix says), and `metadata.delete_dependents` (`all`: volumes and addresses that were only found go, too). An
id that allows several takes a list. What a record may name of secrets, key files, files, endpoints, hosts and roles is bounded by the parameters `Allowed...`.
"""


def page() -> str:
    """The whole page."""
    return (
        "\n".join([HEAD, *overview(), *(line for name in served() for line in section(name, CATALOGUE[name]))]) + "\n"
    )


def served() -> list[str]:
    """Types that a file cleans up."""
    return [name for name, type_ in CATALOGUE.items() if type_.module]


def overview() -> Iterator[str]:
    """One line for each type, and what the words for evidence mean."""
    yield "| type | platform | what goes | tried against |"
    yield "|---|---|---|---|"
    for name in served():
        type_ = CATALOGUE[name]
        yield f"| [{name}](#{name.lower()}) | `{type_.platform}` | {type_.summary} | {', '.join(evidence(name))} |"
    yield ""
    for word, meaning in EVIDENCE.items():
        yield f"- *{word}*: {meaning}."
    lacking = [name for name, type_ in CATALOGUE.items() if not type_.module]
    if lacking:
        yield ""
        yield f"Known, and refused at registration since no file cleans them up yet: {', '.join(lacking)}."


def summary() -> Iterator[str]:
    """README's table: one line for each type."""
    yield "| type | what goes |"
    yield "|---|---|"
    yield from (f"| `{name}` | {CATALOGUE[name].summary} |" for name in served())


def section(name: str, type_: Entry) -> Iterator[str]:
    """All that there is to say of one type."""
    facts: OperatorNotes = import_module(f"tracker.cleanup.providers.{type_.module}").NOTES
    yield f"\n## {name}\n"
    yield f"{type_.summary}."
    yield "\n| field | form | |"
    yield "|---|---|---|"
    if type_.region:
        yield f"| `region` | `{type_.region.example}` | {'needed' if type_.needs_region else ''} |"
    for key, form in type_.ids.items():
        yield f"| `resource_ids.{key}` | {_form(form)} | {_needed(key, type_.needs_one_of)} |"
    for key, form in type_.metadata.items():
        if key not in COMMON or form is not COMMON[key]:
            yield f"| `metadata.{key}` | {_form(form)} | {_needed(key, type_.needs_metadata)} |"
    yield ""
    yield f"- **Mark**: {_mark(type_)}."
    yield f"- **Credentials**: {facts.credentials}"
    yield f"- **Permissions**: {'; '.join(facts.permissions)}."
    yield f"- **Order**: {'; then '.join(facts.order)}."
    yield f"- **Gone** is: {facts.gone}"
    yield f"- **Takes**: {facts.duration}"
    yield f"- **Limits**: {facts.limits}"
    yield f"- **Sources**: {facts.sources}"
    yield f"- **Evidence**: {', '.join(evidence(name))}."
    for target in targets():
        reasons = target.reasons()
        if target.deployment_type == name and not target.is_real and reasons:
            yield f"- **Can't be** ({len(reasons)} of {len(FAULTS)} faults):"
            for reason in dict.fromkeys(reasons.values()):
                faults = ", ".join(f"*{fault}*" for fault, why in reasons.items() if why == reason)
                yield f"  - {faults}: {reason}"


def evidence(name: str) -> list[str]:
    """The kinds of places that it was tried in."""
    return list(dict.fromkeys(target.evidence for target in targets() if target.deployment_type == name))


def _mark(type_: Entry) -> str:
    if type_.marked_by is None:
        return "none, and so nothing is found by one"
    if type_.marked_by == "name":
        return f"a name that begins with `{NAME_PREFIX}` and the first {NAME_DIGITS} hex digits of the generation"
    if type_.mark_key.endswith(":"):
        return f"the {type_.marked_by} `{type_.mark_key}<generation>`"
    return f"the {type_.marked_by} `{type_.mark_key}`, whose value is the generation"


def _form(form: Form) -> str:
    also = [*(["several"] if form.many else []), *([f"among the allowed {form.guard}s"] if form.guard else [])]
    return f"`{form.example}`" + (f" ({', '.join(also)})" if also else "")


def _needed(key: str, groups: tuple[tuple[str, ...], ...]) -> str:
    group = next((group for group in groups if key in group), ())
    return "needed" if len(group) == 1 else f"one of {', '.join(group)}" if group else ""
