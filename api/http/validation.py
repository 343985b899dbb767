"""The rules for fields and query parameters, and how a violation is described to the client."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from inspect import isclass
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, WithJsonSchema
from starlette.requests import Request

from sendoff.endpoints.fields import Text as Text
from sendoff.errors import Invalid
from sendoff.errors import unknown_name as unknown_name
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
        raise Invalid(described, field=_follow(model, problems[0]["loc"])[0] or None) from None


def check_query(request: Request) -> None:
    """Raise Invalid for a query parameter that the matched route does not take."""
    if request.scope["query_string"]:
        dependant = getattr(request.scope.get("route"), "dependant", None)
        known = set() if dependant is None else _query_names(dependant)
        for name in request.query_params:
            if name not in known:
                raise unknown_name(name, known, kind="query parameter")


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
    path = _follow(model, parts)[0]
    match problem["type"]:
        case "extra_forbidden":
            inside, known = _follow(model, parts[:-1])
            return unknown_name(str(parts[-1]), known, path=inside).message
        case "missing":
            return f"`{path}` is missing; add it."
        case "union_tag_not_found" | "union_tag_invalid":
            possible = str(problem["ctx"].get("expected_tags", "")).replace("'", "") or _tags_at(model, parts)
            return f"`{path}.type` must be one of {possible}."
        case _:
            text = str(problem["msg"]).removeprefix("Value error, ")
            return f"`{path}`: {text}." if path else f"{text}."


def _follow(model: type[BaseModel] | None, parts: Sequence[Any]) -> tuple[str, Collection[str]]:
    """A path in the words of the client, without the tags by which kinds of an object differ, and the names there."""
    path = ""
    kinds = [] if model is None else [model]
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        tagged = [kind for kind in kinds if part in _tags_of(kind)]
        if len(kinds) > 1 and tagged:
            kinds = tagged
            continue
        path += f".{part}" if path else str(part)
        kinds = [found for kind in kinds for found in _models_in(_field_named(kind, part))]
    return path, [name for kind in kinds for name in names_of(kind)]


def names_of(model: type[BaseModel]) -> list[str]:
    """The fields of a model by the names that clients give them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _field_named(model: type[BaseModel], name: Any) -> Any:
    """The annotation of a field, by the name that clients give it."""
    return next((one.annotation for key, one in model.model_fields.items() if name in (key, one.alias)), None)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation such as `list[Model] | None` is about: several if an object may be of kinds."""
    if isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


def _tags_of(model: type[BaseModel]) -> tuple[Any, ...]:
    """The values of a kind's `type`."""
    field = model.model_fields.get("type")
    return () if field is None else get_args(field.annotation)


def _tags_at(model: type[BaseModel] | None, parts: Sequence[Any]) -> str:
    kinds = [] if model is None else _models_in(_field_named(model, parts[-1]))
    return ", ".join(tag for kind in kinds for tag in _tags_of(kind))


def _query_names(dependant: Any) -> set[str]:
    """The query parameters that a route and its dependencies take, by their former names (FORMER_NAMES) as well."""
    names: set[str] = set()
    for parameter in dependant.query_params:
        models = _models_in(parameter.field_info.annotation)
        for model in models[:1]:
            names |= {*names_of(model), *getattr(model, "FORMER_NAMES", ())}
        if not models:
            names.add(parameter.alias)
    for inner in dependant.dependencies:
        names |= _query_names(inner)
    return names
