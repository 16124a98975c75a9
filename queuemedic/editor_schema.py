"""Describe the configuration as a JSON schema (draft 2020-12), so that editors complete and check it.

Made from the same models that check it. `system` decides which keys a queue has; every other key is refused.
A schema checks a file before its variables are filled in: where no text would be right, one with `${NAME}` is.
"""

import copy
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from exporter.options import show_duration
from healers.options import HostOptions, LedgerOptions

from .config_file.model import QUEUE_NAME, ListenAddress, WebOptions
from .systems import SystemOptions

DRAFT = "https://json-schema.org/draft/2020-12/schema"
FROM_VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"}
NOTES = ("title", "description", "default", "examples")
NARROW = frozenset({"pattern", "enum", "const", "minLength", "maxLength"})


def editor_schema(systems: Mapping[str, SystemOptions]) -> JsonSchemaValue:
    """Return the schema of a configuration that may use `systems`."""
    models: list[type[BaseModel]] = [WebOptions, LedgerOptions, HostOptions]
    models += dict.fromkeys(model for system in systems.values() for model in (system.queue, system.healing))
    references, schema = models_json_schema([(model, "validation") for model in models], schema_generator=_AsWritten)
    definitions = {name: _with_variables(definition) for name, definition in schema["$defs"].items()}
    link = {model: reference["$ref"] for (model, _), reference in references.items()}
    for name, system in systems.items():
        queue = definitions[link[system.queue].rpartition("/")[2]]
        definitions[f"queue.{name}"] = _queue(queue, name, link[system.healing])
    for model in {system.queue for system in systems.values()}:
        definitions.pop(link[model].rpartition("/")[2])
    definitions["queue"] = {
        "type": "object",
        "required": ["system"],
        "properties": {"system": {"enum": sorted(systems), "description": "what kind of job table this is"}},
        "allOf": [_if_system(name) for name in sorted(systems)],
    }
    return {
        "$schema": DRAFT,
        "title": "Queuemedic",
        "type": "object",
        "additionalProperties": False,
        "required": ["queues"],
        "properties": {
            "web": _or_nothing(link[WebOptions]),
            "ledger": {"anyOf": [{"type": "string"}, {"$ref": link[LedgerOptions]}, {"type": "null"}]},
            "queues": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                "patternProperties": {f"^{QUEUE_NAME}$": {"$ref": "#/$defs/queue"}},
            },
            "hosts": {
                "type": ["object", "null"],
                "propertyNames": {"minLength": 1},
                "additionalProperties": _or_nothing(link[HostOptions]),
            },
        },
        "$defs": definitions,
    }


class _AsWritten(GenerateJsonSchema):
    """Shows a default as a person would write it, and no titles: the keys say the same."""

    def encode_default(self, dft: object) -> Any:
        if isinstance(dft, timedelta):
            return show_duration(dft)
        return str(dft) if isinstance(dft, ListenAddress) else super().encode_default(dft)

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False


def _queue(options: JsonSchemaValue, system: str, healing: str) -> JsonSchemaValue:
    """Return the schema of one system's queues: its options, and the keys that every queue has beside them."""
    queue = copy.deepcopy(options)
    queue["properties"] = {"system": {"const": system}, **queue.get("properties", {}), "healing": _or_nothing(healing)}
    queue["required"] = ["system", *queue.get("required", ())]
    return queue


def _if_system(name: str) -> JsonSchemaValue:
    chosen = {"properties": {"system": {"const": name}}, "required": ["system"]}
    return {"if": chosen, "then": {"$ref": f"#/$defs/queue.{name}"}}


def _or_nothing(reference: str) -> JsonSchemaValue:
    return {"anyOf": [{"$ref": reference}, {"type": "null"}]}


def _with_variables(schema: Any) -> Any:
    """Allow `${NAME}` wherever not every text is right already."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") in ("integer", "number", "boolean") or NARROW & schema.keys():
        notes = {key: schema[key] for key in NOTES if key in schema}
        return {"anyOf": [{key: part for key, part in schema.items() if key not in notes}, FROM_VARIABLE], **notes}
    return {key: _part_with_variables(key, part) for key, part in schema.items()}


def _part_with_variables(key: str, part: Any) -> Any:
    match key:
        case "properties" | "patternProperties":
            return {name: _with_variables(schema) for name, schema in part.items()}
        case "anyOf" | "oneOf" | "allOf" | "prefixItems":
            return [_with_variables(schema) for schema in part]
        case "items" | "additionalProperties":
            return _with_variables(part)
    return part
