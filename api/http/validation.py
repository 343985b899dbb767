"""The rules for fields and query parameters, and how a violation is described to the client."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from inspect import isclass
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, WithJsonSchema
from starlette.requests import Request

from sendoff.endpoints.fields import Text as Text
from sendoff.errors import Invalid
from sendoff.ids import is_uuid

Model = TypeVar("Model", bound=BaseModel)

_MOST_DESCRIBED = 3


def _uuid(text: str) -> str:
    if not is_uuid(text):
        raise ValueError("Must be a UUID such as 0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11")
    return text.lower()


UuidText = Annotated[str, AfterValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
"""A UUID in canonical spelling."""


class RequestBody(BaseModel):
    """A request body. Types are not guessed; an unknown field is refused, since it may be a known one misspelled."""

    model_config = ConfigDict(strict=True, extra="forbid")


def validate(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """The body as `model`. Raises Invalid, which names the fields and what is wrong with them."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        # An unknown field first: misspelled, it explains why another one is missing.
        found = error.errors(include_url=False, include_input=False)
        problems = sorted(found, key=lambda problem: problem["type"] != "extra_forbidden")
        described = describe_problems(problems, model=model)
        raise Invalid(described, field=_path_text(problems[0]["loc"]) or None) from None


def check_query(request: Request) -> None:
    """Raise Invalid for a query parameter that the matched route does not take."""
    if request.scope["query_string"]:
        dependant = getattr(request.scope.get("route"), "dependant", None)
        known = set() if dependant is None else _query_names(dependant)
        for name in request.query_params:
            if name not in known:
                raise unknown_name(name, known, kind="query parameter")


def unknown_name(name: str, known: Collection[str], *, path: str = "", kind: str = "field") -> Invalid:
    """The error for a field or parameter that is not among the `known` ones; it names the nearest of them."""
    field = f"{path}.{name[:100]}" if path else name[:100]
    return Invalid(f"`{field}` is not a known {kind}; {_remedy(name, known, kind)}.", field=field)


def describe_problems(
    problems: Iterable[Mapping[str, Any]], *, model: type[BaseModel] | None = None, skip: int = 0
) -> str:
    """The first few problems that pydantic found in `model`, as one text.

    `skip` leaves out the first parts of each path.
    """
    described = [_describe(problem, model, skip) for problem in problems]
    more = f" And {len(described) - _MOST_DESCRIBED} more." if len(described) > _MOST_DESCRIBED else ""
    return " ".join(described[:_MOST_DESCRIBED]) + more


def _describe(problem: Mapping[str, Any], model: type[BaseModel] | None, skip: int) -> str:
    parts = problem["loc"][skip:]
    path = _path_text(parts)
    match problem["type"]:
        case "extra_forbidden":
            known = _fields_at(model, parts[:-1]) if model else ()
            return unknown_name(str(parts[-1]), known, path=_path_text(parts[:-1])).message
        case "missing":
            return f"`{path}` is missing; add it."
        case _:
            text = str(problem["msg"]).removeprefix("Value error, ")
            return f"`{path}`: {text}." if path else f"{text}."


def _remedy(name: str, known: Collection[str], kind: str) -> str:
    if not known:
        return f"this call takes no {kind}s, leave it out"
    nearest = get_close_matches(name[:100].lower(), known, n=1)
    return f"the nearest one is `{nearest[0]}`" if nearest else f"known are {', '.join(sorted(known))}"


def _fields_at(model: type[BaseModel], parts: Sequence[Any]) -> Collection[str]:
    """The names of the sibling fields of the one at a path of the model."""
    for part in parts:
        if isinstance(part, int) or part not in model.model_fields:
            continue
        inner = _model_in(model.model_fields[part].annotation)
        if inner is None:
            return ()
        model = inner
    return model.model_fields.keys()


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as `list[Model] | None` is about."""
    if isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)


def _query_names(dependant: Any) -> set[str]:
    """The query parameters that a route and its dependencies take."""
    names: set[str] = set()
    for parameter in dependant.query_params:
        model = _model_in(parameter.field_info.annotation)
        names |= {parameter.alias} if model is None else model.model_fields.keys()
    for inner in dependant.dependencies:
        names |= _query_names(inner)
    return names


def _path_text(parts: Iterable[Any]) -> str:
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path
