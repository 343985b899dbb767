"""Every event that the code logs, found in its source, and what each means for an operator."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

_LOGGER = re.compile(r"_log|log|logger|structlog\.get_logger\(.*\)")
_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}

MEANINGS: Mapping[str, str] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
"""What happened, what follows from it, and what to do, by the event's name."""


@dataclass
class LogEvent:
    """An event of the log: the levels and fields of all places that log it."""

    name: str
    levels: set[str] = field(default_factory=set)
    fields: dict[str, None] = field(default_factory=dict)


@cache
def find_events() -> dict[str, LogEvent]:
    """The events that `sendoff`, `api` and `worker` log, by name in alphabetical order."""
    found: dict[str, LogEvent] = {}
    for folder in ("sendoff", "api", "worker"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name, level, fields in _calls_of(ast.parse(path.read_text())):
                event = found.setdefault(name, LogEvent(name))
                event.levels.add(level)
                event.fields |= dict.fromkeys(fields)
    return dict(sorted(found.items()))


def _calls_of(tree: ast.AST) -> Iterator[tuple[str, str, list[str]]]:
    """The name, level and fields of each call of a logger."""
    known = _known_mappings(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=logger, attr=level),
                args=[ast.Constant(value=str(name))],
                keywords=keywords,
            ) if level in _LEVELS and _LOGGER.fullmatch(ast.unparse(logger)):
                yield name, _LEVELS[level], [field for one in keywords for field in _fields_of(one, known)]


def _fields_of(keyword: ast.keyword, known: Mapping[str, list[str]]) -> list[str]:
    """The name of a keyword argument; of `**told` or `**told(…)` the keys of the mapping that is called so."""
    if keyword.arg is not None:
        return [keyword.arg]
    source = keyword.value.func if isinstance(keyword.value, ast.Call) else keyword.value
    return known.get(ast.unparse(source), [])


def _known_mappings(tree: ast.AST) -> dict[str, list[str]]:
    """The keys of mappings that a module writes out, by the variable, or by the function that returns it."""
    known: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict(keys=keys)):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict(keys=keys)):
                pass
            case ast.FunctionDef(name=name, body=[*_, ast.Return(value=ast.Dict(keys=keys))]):
                pass
            case _:
                continue
        known[name] = [str(key.value) for key in keys if isinstance(key, ast.Constant)]
    return known


def unexplained() -> list[str]:
    """Events without a meaning here; each would be a line that operators cannot look up."""
    return [name for name in find_events() if name not in MEANINGS]
