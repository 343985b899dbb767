"""What every field is held to, and how its violation is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from sendoff.endpoints.fields import Text as Text
from sendoff.errors import Invalid
from sendoff.ids import is_uuid

Model = TypeVar("Model", bound=BaseModel)

_MOST_TOLD = 3


def _uuid(text: str) -> str:
    if not is_uuid(text):
        raise ValueError("Must be a UUID such as 0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11")
    return text.lower()


UuidText = Annotated[str, AfterValidator(_uuid)]
"""A UUID in canonical spelling."""


class RequestBody(BaseModel):
    """A request body whose unknown fields are ignored; types are not guessed."""

    model_config = ConfigDict(strict=True, extra="ignore")


def validate(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """The body as `model`. Raises Invalid, which names the fields and what is wrong with them."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise Invalid(describe_problems(problems), field=_place(problems[0]["loc"]) or None) from None


def describe_problems(problems: Iterable[Mapping[str, Any]], *, skip: int = 0) -> str:
    """The first few problems that pydantic found, as one text; `skip` leaves out the first parts of each place."""
    told = [_describe(problem, skip) for problem in problems]
    more = f" And {len(told) - _MOST_TOLD} more." if len(told) > _MOST_TOLD else ""
    return " ".join(told[:_MOST_TOLD]) + more


def _describe(problem: Mapping[str, Any], skip: int) -> str:
    place = _place(problem["loc"][skip:])
    match problem["type"]:
        case "extra_forbidden":
            return f"`{place}` is not known here; check its spelling or leave it out."
        case "missing":
            return f"`{place}` is missing."
        case _:
            text = str(problem["msg"]).removeprefix("Value error, ")
            return f"`{place}`: {text}." if place else f"{text}."


def _place(parts: Iterable[Any]) -> str:
    place = ""
    for part in parts:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    return place
