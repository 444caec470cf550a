"""Whether a schema may follow another: what a reader or a writer of the older one would notice. Pure.

A newer schema follows an older one when every record that was valid stays valid, and says the same: nothing required
is added, nothing is removed, renamed, retyped, or bounded more narrowly. Adding optional fields, values of a closed set
and whole alternatives is free. See `docs/contracts.md`.
"""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_SAME = ("pattern", "format", "multipleOf", "uniqueItems")
_FREE_DEFAULTS = frozenset({"schema_version"})
"""Fields whose default follows the writer's version."""


def breaks(old: Schema, new: Schema) -> list[str]:
    """What a newer schema breaks, as `path: what`; empty when it may follow.

    Args:
        old, new: self-contained schemas (draft 2020-12) with their `$defs`, as in `docs/schemas/`.
    """
    return list(_breaks(_Side(old, old), _Side(new, new), "$"))


class _Side:
    """A schema and the document that its references lead into."""

    def __init__(self, root: Schema, schema: Schema) -> None:
        while "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rpartition("/")[2]] | {
                key: value for key, value in schema.items() if key != "$ref"
            }
        self.root, self.schema = root, schema

    def at(self, schema: Schema) -> "_Side":
        return _Side(self.root, schema)

    @property
    def alternatives(self) -> list["_Side"]:
        """Of a union its members; anything else is its only alternative. Bounds beside a union stay with it."""
        listed = self.schema.get("anyOf") or self.schema.get("oneOf")
        if listed and "properties" not in self.schema:
            return [found for each in listed for found in self.at(each).alternatives]
        return [self]

    @property
    def types(self) -> set[str]:
        said = self.schema.get("type")
        found = set(said if isinstance(said, list) else [said] if said else [])
        return found | ({"integer"} if "number" in found else set())

    @property
    def values(self) -> list[Any] | None:
        """The closed set of values, None where it is open."""
        return [self.schema["const"]] if "const" in self.schema else self.schema.get("enum")


def _breaks(old: _Side, new: _Side, path: str) -> Iterator[str]:
    candidates = new.alternatives
    for each in old.alternatives:
        found = [list(_one_breaks(each, other, path)) for other in candidates]
        if not any(not broken for broken in found):
            yield from min(found, key=len)


def _one_breaks(old: _Side, new: _Side, path: str) -> Iterator[str]:
    if new.types and not old.types <= new.types:
        yield f"{path}: {_listed(old.types)} became {_listed(new.types)}"
        return
    if new.types and not old.types and old.values is None:
        yield f"{path}: anything became {_listed(new.types)}"
        return
    yield from _values(old, new, path)
    yield from _bounds(old.schema, new.schema, path)
    yield from _fields(old, new, path)
    yield from _parts(old, new, path)


def _values(old: _Side, new: _Side, path: str) -> Iterator[str]:
    if new.values is None:
        return
    if old.values is None:
        yield f"{path}: any value became one of {new.values}"
        return
    yield from (f"{path}: {value!r} is no value any more" for value in old.values if value not in new.values)


def _bounds(old: Schema, new: Schema, path: str) -> Iterator[str]:
    for name in _LOWER:
        if name in new and new[name] > old.get(name, float("-inf")):
            yield f"{path}: {name} {old.get(name)} became {new[name]}"
    for name in _UPPER:
        if name in new and new[name] < old.get(name, float("inf")):
            yield f"{path}: {name} {old.get(name)} became {new[name]}"
    for name in _SAME:
        if name in new and new[name] != old.get(name):
            yield f"{path}: {name} {old.get(name)!r} became {new[name]!r}"


def _fields(old: _Side, new: _Side, path: str) -> Iterator[str]:
    was, now = old.schema.get("properties", {}), new.schema.get("properties", {})
    required = set(new.schema.get("required", ())) - set(old.schema.get("required", ()))
    yield from (f"{path}.{name}: required" for name in sorted(required))
    for name, schema in was.items():
        if name not in now:
            yield f"{path}.{name}: removed"
            continue
        yield from _breaks(old.at(schema), new.at(now[name]), f"{path}.{name}")
        before, after = schema.get("default"), now[name].get("default")
        if name not in _FREE_DEFAULTS and "default" in schema and before != after:
            yield f"{path}.{name}: absent meant {before!r} and means {after!r}"
    if new.schema.get("additionalProperties") is False and old.schema.get("additionalProperties") is not False:
        yield f"{path}: unknown fields are refused"


def _parts(old: _Side, new: _Side, path: str) -> Iterator[str]:
    for name in ("items", "additionalProperties", "propertyNames"):
        was, now = old.schema.get(name), new.schema.get(name)
        if isinstance(now, dict):
            yield from _breaks(old.at(was if isinstance(was, dict) else {}), new.at(now), f"{path}[{name}]")
    for at, (was, now) in enumerate(
        zip(old.schema.get("prefixItems", ()), new.schema.get("prefixItems", ()), strict=False)
    ):
        yield from _breaks(old.at(was), new.at(now), f"{path}[{at}]")
    if len(old.schema.get("prefixItems", ())) != len(new.schema.get("prefixItems", ())):
        yield f"{path}: another number of items"


def _listed(types: set[str]) -> str:
    return "/".join(sorted(types)) or "anything"
