"""The fields of a model as options of a command.

What was typed and what was left to the default stay apart, so that a recipe or preset can stand between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

F = TypeVar("F", bound=Callable[..., Any])


def field_options(model: type[BaseModel], only: str = "") -> Callable[[F], F]:
    """Adds an option to a command for each field of the model, or for these; the help says the default of the field."""

    def decorate(command: F) -> F:
        for name, info in reversed(model.model_fields.items()):
            if only and name not in only.split():
                continue
            yes = flag(name, info)
            both = f"{yes}/--no-{yes.removeprefix('--')}" if info.annotation is bool else yes
            command = click.option(both, name, **_form(info))(command)
        return command

    return decorate


def typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed, without what was left to the default."""
    return {name: value for name, value in values.items() if value not in (None, ())}


def flag(name: str, info: FieldInfo) -> str:
    """The option of a field: `--max-s` for `max_s`, unless the field names another."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    return str(extra.get("flag", f"--{name.replace('_', '-')}"))


def _form(info: FieldInfo) -> dict[str, Any]:
    kinds = [kind for kind in get_args(info.annotation) or (info.annotation,) if kind is not type(None)]
    several = next((kind for kind in (info.annotation, *kinds) if get_origin(kind) is tuple), None)
    default = ", ".join(map(str, info.default)) if isinstance(info.default, tuple) else info.default
    shown = "" if default is None or default == "" else f"  [default: {default}]"
    form: dict[str, Any] = {"help": f"{info.description}{shown}", "default": None}
    if info.annotation is bool:
        return form
    if several is not None:
        item = get_args(several)[0]
        return form | {"multiple": True, "type": click.Choice(get_args(item)) if get_origin(item) is Literal else str}
    if get_origin(info.annotation) is Literal:
        return form | {"type": click.Choice([str(kind) for kind in kinds])}
    return form | {"type": kinds[0]}
