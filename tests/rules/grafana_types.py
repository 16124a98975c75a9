"""Hold a dashboard's JSON to the types of Grafana 11.6, as grafana-foundation-sdk publishes them.

The SDK itself reads whatever it is given: a key that it does not know is dropped, a value of the wrong type is kept,
and links and transformations are not read at all. But its classes say which type each field has, so here JSON and class
are gone through side by side, down to what the plugin of each panel and query has of its own.
Not typed there, and so not held to anything here: options of transformations and of the matchers of overrides.
A fault is a text with the path to it.
"""

import enum
import re
import types
import typing
from collections.abc import Iterator
from functools import cache
from types import NoneType
from typing import Any, Final, Literal, Union

from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.cog.runtime import UnknownDataquery, panelcfg_config
from grafana_foundation_sdk.models.dashboard import Dashboard, FieldConfig, Panel, RowPanel

UNIONS: Final = (Union, types.UnionType)
OF_NUMBERS: Final = (int, float)

register_default_plugins()


def faults_of(dashboard: Any) -> list[str]:
    """Return what Grafana's types do not allow, or would not keep."""
    found = list(_faults("dashboard", dashboard, Dashboard))
    return found or list(_faults_of_overrides(Dashboard.from_json(dashboard).panels or []))


def _faults(path: str, value: Any, hint: Any, made: Any = None) -> Iterator[str]:
    """Yield the faults of a value that should be as the hint says.

    `made` is what the SDK has made of it within something larger, if anything: only there it knows the kind of a panel
    or of a query, and so the class.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(made, "to_json"):
        yield from _faults_of_object(path, value, made)
    elif hasattr(hint, "from_json"):
        try:
            made = hint.from_json(value)
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            yield f"{path}: no {hint.__name__}: {fault}"
        else:
            yield from _faults_of_object(path, value, made)
    elif origin in UNIONS:
        yield from min((list(_faults(path, value, one, made)) for one in inner), key=len)
    elif origin in (list, dict) and isinstance(value, origin):
        for place, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _faults(f"{path}[{place}]", one, inner[-1], made[place] if made else None)
    elif not _is(value, hint):
        yield f"{path}: {value!r} is no {hint}"


def _faults_of_object(path: str, value: Any, made: Any) -> Iterator[str]:
    kind: Any = type(made)
    if isinstance(made, UnknownDataquery):
        yield f"{path}: no kind of query"
    elif isinstance(made, Panel) and panelcfg_config(made.type_val) is None:
        yield f"{path}.type: no kind of panel: {made.type_val!r}"
    elif not isinstance(value, dict):
        yield f"{path}: {value!r} is no {kind.__name__}"
    else:
        written, fields = made.to_json(), _fields(kind)
        for key, one in value.items():
            if key in written:
                name, hint = fields[_plain(key)]
                yield from _faults(f"{path}.{key}", one, hint, getattr(made, name))
            else:
                yield f"{path}.{key}: {kind.__name__} has no such key"


def _is(value: Any, hint: Any) -> bool:
    if hint in (Any, object):
        return True
    if typing.get_origin(hint) is Literal:
        return value in typing.get_args(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in [member.value for member in hint]
    if hint in OF_NUMBERS:
        return isinstance(value, int if hint is int else OF_NUMBERS) and not isinstance(value, bool)
    return isinstance(value, typing.get_origin(hint) or hint)


def _faults_of_overrides(panels: list[Panel | RowPanel]) -> Iterator[str]:
    """Yield the faults of what is set for single fields, where the SDK allows any value, as if it were set for all.

    Such a property is a key of the configuration of fields, as `unit`, or of the plugin's part, as `custom.width`.
    """
    for panel in panels:
        if isinstance(panel, RowPanel):
            yield from _faults_of_overrides([*panel.panels])
        elif panel.field_config is not None:
            plugin = panelcfg_config(panel.type_val)
            custom = plugin.field_config_from_json_hook if plugin else None
            kinds = {"": FieldConfig, "custom": type(custom({})) if custom else NoneType}
            for override in panel.field_config.overrides:
                for one in override.properties:
                    group, _, key = one.id_val.rpartition(".")
                    path = f"{panel.title}: {override.matcher.options}: {one.id_val}"
                    yield from _faults(path, {key: one.value}, kinds.get(group, NoneType))


@cache
def _fields(kind: type) -> dict[str, tuple[str, Any]]:
    """Return name and hint of each field by its key in JSON; they differ in case, and in `_val` for reserved words."""
    return {_plain(name.removesuffix("_val")): (name, hint) for name, hint in typing.get_type_hints(kind).items()}


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
