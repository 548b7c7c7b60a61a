"""The base classes of pydantic models for bodies, query strings and responses, and the types of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Generic, Self, TypeAlias, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from api.http.body import build_unknown_field_fault, decode_value, replace_unstorable_escapes, split_fields
from engine.store.connection import RawJson
from engine.values.uuid_text import parse_uuid

T = TypeVar("T")
MetaT = TypeVar("MetaT")

#: A parameter that may be left out, and is then None. The OpenAPI document does not offer null: query strings and
#: headers have none.
Omittable: TypeAlias = T | SkipJsonSchema[None]


def _read_id(value: Any) -> str:
    text = parse_uuid(value)
    if text is None:
        raise ValueError("it is not a UUID")
    return text


def _read_time(value: Any) -> datetime:
    time = _parse_time(value) if isinstance(value, str) else None
    if time is None or time.tzinfo is None:
        raise ValueError("it is not a time with its offset, such as `2026-01-31T12:00:00Z`")
    return time


def _parse_time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _read_whole_number(value: Any) -> int:
    """Return a number without a fraction as an int, since JSON does not distinguish 10.0 from 10."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise ValueError("it is not a whole number")
    return int(value)


class _Undecoded:
    """Marks a field of a body whose JSON text is stored as sent."""


_ID_SCHEMA: Final = {"type": "string", "format": "uuid"}
Id = Annotated[str, BeforeValidator(_read_id), WithJsonSchema(_ID_SCHEMA)]
#: A header with a UUID. `api.auth` reads it, and raises Fault 400 if it is not a UUID.
HeaderId = Annotated[str, WithJsonSchema(_ID_SCHEMA)]
Time = Annotated[AwareDatetime, BeforeValidator(_read_time), WithJsonSchema({"type": "string", "format": "date-time"})]
#: Stands after the bounds of an int; before them, the OpenAPI document would lack the bounds.
WHOLE_NUMBER: Final = BeforeValidator(_read_whole_number)
Count = Annotated[int, Field(ge=0)]
#: Any JSON, undecoded; None if it was left out.
Document = Annotated[RawJson | None, PlainValidator(lambda text: text), WithJsonSchema({}), _Undecoded()]


class Body(BaseModel):
    """The base class of request bodies: unknown fields are refused, and fields of type `Document` are not decoded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    _replaced: int = PrivateAttr(default=0)

    @property
    def replaced(self) -> int:
        """The number of escapes that were replaced by U+FFFD since Postgres cannot store them."""
        return self._replaced

    @model_validator(mode="wrap")
    @classmethod
    def decode(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Decode the fields of a body, which FastAPI passes as bytes. Raises Fault 422 for unknown or bad fields."""
        if not isinstance(value, bytes):
            _refuse_unknown(cls, value)
            return handler(value)
        raw, replaced = replace_unstorable_escapes(value)
        texts = split_fields(raw, cls.model_fields)
        body = handler({name: _decode_field(cls, name, bytes(text)) for name, text in texts.items()})
        body._replaced = replaced
        return body


def _decode_field(model: type[Body], name: str, text: bytes) -> Any:
    is_document = any(isinstance(mark, _Undecoded) for mark in model.model_fields[name].metadata)
    return RawJson(text) if is_document else decode_value(name, text)


class Parameters(BaseModel):
    """The base class of query strings and of agents' arguments. Unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def refuse_unknown(cls, value: Any) -> Any:
        """Return the raw values unchanged. Raises Fault 422 for a name that is no field of the model."""
        _refuse_unknown(cls, value)
        return value


class OrganisationParameters(Parameters):
    """The parameters of endpoints that read the rows of one organisation."""

    org_id: Annotated[Omittable[Id], Field(description="For super-admins: the organisation.")] = None


def _refuse_unknown(model: type[BaseModel], value: Any) -> None:
    known = tuple(model.model_fields)
    if isinstance(value, Mapping) and (unknown := [name for name in value if name not in known]):
        raise build_unknown_field_fault(unknown, known)


class Data(BaseModel, Generic[T]):
    """A successful answer."""

    data: T


class DataWithMeta(BaseModel, Generic[T, MetaT]):
    """A successful answer, with facts about the data."""

    data: T
    meta: MetaT


class Page(BaseModel):
    """The requested part of a list."""

    limit: int
    offset: int
