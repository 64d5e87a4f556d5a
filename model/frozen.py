"""The base of all settings: immutable, checked, and keyed so that what is neutral is absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class Neutral:
    """Marks a field that was added after the first version, as part of its annotation.

    At its neutral value the field is left out of everything that is keyed, seeded or compared, so
    that a new option, while it is off, changes no key, no draw and no run's identity.

    Attributes:
        value: at which the option is off; must be the field's default.
    """

    value: Any


class Frozen(BaseModel):
    """Base of the immutable settings: refuses unknown names, non-finite and mistyped values."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a default that is not neutral: what is stored without the field means that."""
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, Neutral) and mark.value != field.default:
                    raise TypeError(
                        f"{cls.__name__}.{name}: default {field.default!r} must be its neutral"
                        f" value, {mark.value!r}"
                    )

    def content(self) -> dict[str, Any]:
        """What keys, seeds and identities are made of: the fields that are not neutral, nested.

        Fields without a `Neutral` mark are always in it. A group with nothing in it is left out.
        """
        found: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Frozen):
                value = value.content()
                is_absent = not value
            else:
                marks = [mark for mark in field.metadata if isinstance(mark, Neutral)]
                is_absent = any(mark.value == value for mark in marks)
            if not is_absent:
                found[name] = value
        return found


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to one level of dotted names."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
