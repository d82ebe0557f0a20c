"""The JSON Schemas of what people write, for editors and for checks without Setpoint.

``setpoint schema`` prints them and ``proto/schemas/`` keeps them; a test holds the two together. A schema knows shapes
alone: names that lead nowhere, circles and what is not supported yet are found by ``setpoint validate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from setpoint.contracts.resource.compile import json_schemas

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TITLES: Final = {
    "resource": "A Setpoint resource: one document of a file under resources/",
    "project": "The settings of a Setpoint project: setpoint.yaml",
}


def documents() -> Mapping[str, Mapping[str, Any]]:
    """Return the schemas by name: ``resource`` (one document) and ``project`` (the settings)."""
    return {
        name: {"$schema": _DIALECT, "$id": f"https://setpoint.dev/schemas/{name}.json"}
        | dict(found)
        | {"title": _TITLES[name]}
        for name, found in json_schemas().items()
    }
