"""Reads docs/asyncapi.yaml and docs/openapi.yaml, and checks JSON against their schemas, strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

DOCS: Final = Path(__file__).parents[3] / "docs"
_URI: Final = "urn:document"


class Document:
    """One of the two documents.

    The schemas are closed here: a field that the document does not name is a fault, though clients must ignore it.
    """

    def __init__(self, name: str) -> None:
        self.content: dict[str, Any] = yaml.safe_load((DOCS / name).read_text(encoding="utf-8"))
        closed = _closed(self.content)
        resource = DRAFT202012.create_resource(closed)
        self._registry: Registry[Any] = Registry().with_resource(_URI, resource)

    def resolve(self, item: dict[str, Any]) -> dict[str, Any]:
        """Returns what an item with a `$ref` within the document refers to; any other item as it is."""
        return item if "$ref" not in item else self.at(item["$ref"])

    def at(self, pointer: str) -> dict[str, Any]:
        """Returns the item at `#/a/b`."""
        found: Any = self.content
        for level in pointer.removeprefix("#/").split("/"):
            found = found[level.replace("~1", "/").replace("~0", "~")]
        return self.resolve(found)

    def faults(self, pointer: str, value: object) -> list[str]:
        """Returns what is wrong with a value for the schema at `#/a/b`; an empty list if nothing is."""
        validator = Draft202012Validator(
            {"$ref": f"{_URI}{pointer}"},
            registry=self._registry,
            format_checker=Draft202012Validator.FORMAT_CHECKER,
        )
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def _closed(item: Any) -> Any:
    """Returns a copy whose schemas allow the properties they name and no others."""
    if isinstance(item, list):
        return [_closed(each) for each in item]
    if not isinstance(item, dict):
        return item
    copy = {name: _closed(each) for name, each in item.items()}
    if "allOf" in copy:
        # the parts of an `allOf` see the same object: only the whole can be closed
        for part in copy["allOf"]:
            part.pop("unevaluatedProperties", None)
        copy["unevaluatedProperties"] = False
    elif isinstance(copy.get("properties"), dict) and "additionalProperties" not in copy:
        copy["unevaluatedProperties"] = False
    return copy
