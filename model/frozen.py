"""The base of all settings: immutable, checked, and with neutral values left out of keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

Condition = Mapping[str, tuple[Any, ...]]
"""Dotted names of fields, each with the values of which the field must have one."""


@dataclass(frozen=True)
class Neutral:
    """Marks a field that was added after the first version, as part of its annotation.

    At its neutral value the field is left out of keys, seeds and comparisons, so that a new option
    that is off changes no key, no random draw and no run's identity.

    Attributes:
        value: the value at which the option is off; it must be the field's default.
    """

    value: Any


@dataclass(frozen=True)
class When:
    """Marks a field that exists only when another field of its class has one of the values.

    `thaw_every: Annotated[int, When("unfreezing", ("gradual",))] = 1`. A field that does not
    exist has its default, and is left out of keys, files and comparisons.

    Attributes:
        field: the other field's name.
        values: the values for which this field exists.
    """

    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class OneOf:
    """Marks a field that must hold one of these values, like a `Literal`.

    Attributes:
        names: at least one, such as the keys of a table.
    """

    names: Collection[str | int]

    def __get_pydantic_core_schema__(
        self, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """The pydantic schema of the field."""
        del source, handler
        return core_schema.literal_schema(list(self.names))


class Frozen(BaseModel):
    """Base of the immutable settings; refuses unknown names, wrong types and non-finite values."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)
    _conditioned: ClassVar[tuple[str, ...]] = ()
    """Names of the fields with a `When`."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse marks that would be wrong or have no effect.

        Raises:
            TypeError: a default is not neutral, although a file without the field means the
                default; a group has a `When`; or two `When` of a field name the same other field.
        """
        super().__pydantic_init_subclass__(**kwargs)
        cls._conditioned = tuple(name for name, field in cls.model_fields.items() if _whens(field))
        for name, field in cls.model_fields.items():
            whens = [when.field for when in _whens(field)]
            if whens and _is_group(field):
                raise TypeError(f"{cls.__name__}.{name}: is a group; mark its fields with When")
            if len(set(whens)) < len(whens):
                raise TypeError(f"{cls.__name__}.{name}: has two When of the same field")
            for mark in field.metadata:
                if isinstance(mark, Neutral) and mark.value != field.default:
                    raise TypeError(
                        f"{cls.__name__}.{name}: default {field.default!r} must be its neutral"
                        f" value, {mark.value!r}"
                    )

    @model_validator(mode="after")
    def _holds_what_exists(self) -> Self:
        for name in self._conditioned:
            field = type(self).model_fields[name]
            if self._exists(field) or getattr(self, name) == field.default:
                continue
            rules = [f"{m.field} is {' or '.join(map(repr, m.values))}" for m in _whens(field)]
            raise ValueError(f"{name} exists only when {' and '.join(rules)}")
        return self

    def _exists(self, field: FieldInfo) -> bool:
        fields = type(self).model_fields
        return all(
            getattr(self, when.field) in when.values and self._exists(fields[when.field])
            for when in _whens(field)
        )

    def existing(self) -> dict[str, Any]:
        """The fields that exist, with their values, nested."""
        found: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if self._exists(field):
                value = getattr(self, name)
                found[name] = value.existing() if isinstance(value, Frozen) else value
        return found

    @classmethod
    def conditions(cls, prefix: str = "") -> dict[str, Condition]:
        """By dotted name, the conditions of fields that exist only when others have some value."""
        found: dict[str, Condition] = {}
        for name, field in cls.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Frozen):
                found |= field.annotation.conditions(f"{prefix}{name}.")
            if whens := _whens(field):
                found[prefix + name] = {prefix + when.field: when.values for when in whens}
        return found

    @classmethod
    def neutrals(cls, prefix: str = "") -> dict[str, Any]:
        """The neutral values of the fields that have one, by dotted name."""
        found: dict[str, Any] = {}
        for name, field in cls.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Frozen):
                found |= field.annotation.neutrals(f"{prefix}{name}.")
            for mark in (mark for mark in field.metadata if isinstance(mark, Neutral)):
                found[prefix + name] = mark.value
        return found

    def content(self) -> dict[str, Any]:
        """The fields that keys, seeds and identities contain: those that are not neutral, nested.

        Fields without `Neutral` are always included. An empty group is left out.
        """
        found: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Frozen):
                value = value.content()
                is_absent = not value
            else:
                marks = [mark for mark in field.metadata if isinstance(mark, Neutral)]
                is_absent = any(mark.value == value for mark in marks) or not self._exists(field)
            if not is_absent:
                found[name] = value
        return found


def _is_group(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Frozen)


def _whens(field: FieldInfo) -> list[When]:
    return [mark for mark in field.metadata if isinstance(mark, When)]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to one level of dotted names."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
