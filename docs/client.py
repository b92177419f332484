"""This is what the client carries of the catalogue: client/deployment_tracker/catalogue.json, for `tracker types` and the brake's platforms.

`python -m docs` (`make docs`) writes it, since the client imports nothing of the layer.
"""

import json
from typing import Any

from tracker.model.catalogue import CATALOGUE, Entry, Form


def catalogue() -> str:
    """The whole file."""
    found = {
        "platforms": list(dict.fromkeys(type_.platform for type_ in CATALOGUE.values())),
        "types": {name: _type(type_) for name, type_ in CATALOGUE.items()},
    }
    return json.dumps(found, indent=1) + "\n"


def _type(type_: Entry) -> dict[str, Any]:
    return {
        "platform": type_.platform,
        "summary": type_.summary,
        "is_served": type_.module is not None,
        "region": type_.region.example if type_.region else None,
        "needs_region": type_.needs_region,
        "ids": _forms(type_.ids),
        "needs_one_of": type_.needs_one_of,
        "metadata": _forms(type_.metadata),
        "needs_metadata": type_.needs_metadata,
        "mark": {"by": type_.marked_by, "key": type_.mark_key} if type_.marked_by else None,
    }


def _forms(forms: dict[str, Form]) -> dict[str, Any]:
    return {key: {"example": form.example, "many": form.many, "kind": form.kind} for key, form in forms.items()}
