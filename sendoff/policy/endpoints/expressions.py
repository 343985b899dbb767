"""Filters and transforms: CEL expressions over an event, checked when they are saved and bounded in what they cost.

The library evaluates an expression in one go, which nothing can interrupt. So that no expression holds up others:

- Macros do not nest, and the body of a macro reads nothing but its own variable: the cost grows with the event's data,
  not with its square. Two nested macros over a list of a thousand values took 8.7 s.
- `Expression.reads` bounds how often the data is read, chains of macros included, and what has more than the limit is
  refused. `steps` multiplies it by the number of values in an event; many steps are not evaluated on the event loop.
- Patterns are literals and run in linear time, by RE2; the library would compile it once for each value, up to 54 ms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal

import cel
import msgspec
import orjson
import re2

from sendoff.clock import iso

Purpose = Literal["filter", "transform"]

MAX_CHARACTERS: dict[Purpose, int] = {"filter": 1_000, "transform": 4_000}
"""Characters of an expression (Sendoff contract, section 4). Compiling one takes 4 ms at 4,000 characters."""

MAX_READS: dict[Purpose, int] = {"filter": 64, "transform": 256}
"""How often an expression may read the data. At MAX_VALUES, 64 reads take up to 0.1 s of a sandbox process."""

MAX_VALUES = 10_000
"""Values in the data of an event that expressions can read; in larger data every expression fails. At 1.6 us a value,
making them available takes 16 ms."""

MAX_RESULT_BYTES = 262_144
"""Bytes of the JSON that a transform gives; as many as a publisher may send (Sendoff contract, section 1)."""

VARIABLES = ("data", "id", "occurred_at", "type")

_MAX_PATTERN_BYTES = 1 << 16  # RE2's memory for one pattern: it compiles within 0.4 ms, or is refused
_CACHED = 1_024  # compiled expressions or patterns in a process, at about 20 KB each at most
_DEEPEST = 64
_STEPS_TO_OPEN_A_VALUE = 4
_BYTES_OF_A_STEP = 64  # text is copied and searched at more than 64 bytes in the time of a step

_BOOL_FUNCTIONS = ("all", "exists", "exists_one", "has", "contains", "endsWith", "matches", "startsWith")
_LIST_MACROS = ("filter", "map")
_MACROS = ("all", "exists", "exists_one", *_LIST_MACROS)
_VALUE_FUNCTIONS = {
    "bytes": "bytes",
    "double": "a number",
    "duration": "a duration",
    "filter": "a list",
    "int": "a number",
    "map": "a list",
    "size": "a number",
    "string": "a string",
    "timestamp": "a timestamp",
    "type": "a type",
    "uint": "a number",
} | dict.fromkeys(
    (
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
    ),
    "a number",
)
_FUNCTIONS = (*_BOOL_FUNCTIONS, *_VALUE_FUNCTIONS, "dyn")
_RELATIONS = ("||", "&&", "==", "!=", "<", "<=", ">", ">=", "in")
_TYPE_NAMES = ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint")
_WORD_VALUES = {"true": "a bool", "false": "a bool", "null": "null"}

_TOKEN = re.compile(
    r"""(?P<blank>[\s]+|//[^\n]*)
    |(?P<string>[rRbB]{0,2}(?:\"{3}(?:[^\\]|\\.)*?\"{3}|'{3}(?:[^\\]|\\.)*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<number>(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)[uU]?)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<operator>\|\||&&|==|!=|<=|>=|.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_OPERATORS = frozenset(("||", "&&", "==", "!=", "<=", ">=", *"()[]{}.,?:+-*/%<>=!&|`"))
_SYNTAX_ERROR = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")
_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")


class ExpressionRefused(ValueError):
    """The expression cannot be saved; the message continues a sentence that begins with the field's name."""


class ExpressionFailed(Exception):
    """The expression has no value for this event; the message says why, and holds nothing of the event's data."""


@dataclass(frozen=True, slots=True)
class ExpressionInput:
    """The parts of an event that expressions read; `data` is JSON text."""

    id: str
    type: str
    occurred_at: datetime
    data: bytes

    @property
    def most_values(self) -> int:
        """An upper bound of the number of values in `data`, found without parsing it."""
        return 1 + self.data.count(b",") + self.data.count(b"[") + self.data.count(b"{")

    @property
    def steps_a_read(self) -> int:
        """What reading all of `data` costs an expression at most, in steps of up to 0.4 us."""
        return self.most_values + len(self.data) // _BYTES_OF_A_STEP

    @property
    def steps_to_open(self) -> int:
        """What making the data available to expressions costs at most, in steps of up to 0.4 us."""
        return _STEPS_TO_OPEN_A_VALUE * self.most_values + len(self.data) // _BYTES_OF_A_STEP


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A compiled expression."""

    program: cel.Program
    reads: int
    """How often it reads the data at most."""
    tokens: int
    """Its own length, literals included."""


@lru_cache(maxsize=_CACHED)
def compile_expression(source: str, purpose: Purpose) -> Expression:
    """Compile an expression and check its bounds. Raises ExpressionRefused."""
    if len(source) > MAX_CHARACTERS[purpose]:
        raise ExpressionRefused(f"has {len(source):,} characters; at most {MAX_CHARACTERS[purpose]:,} are possible")
    tokens = _tokenize(source)
    _compile(source)
    significant = [token for token in tokens if token.kind != "blank"]
    reads = _check_tokens(significant)
    if reads > MAX_READS[purpose]:
        raise ExpressionRefused(
            f"reads the data up to {reads:,} times, macros multiplied; at most {MAX_READS[purpose]} are possible: "
            "use fewer macros, and name their variables less often"
        )
    _check_result(significant, purpose)
    return Expression(_compile("".join(_spelled(tokens))), reads, len(significant))


class Expressions(msgspec.Struct, frozen=True):
    """An endpoint's pair of expressions: it gets events that match the filter, with data that the transform makes."""

    filter: str | None = None
    transform: str | None = None


class Evaluated(msgspec.Struct, frozen=True):
    """What a pair gives for an event."""

    matches: bool = True
    data: str | None = None
    """The JSON text that the transform made; None without one."""
    error: str | None = None
    """Why the filter or, if it `matches`, the transform failed."""


_MATCHED, _NOT_MATCHED = Evaluated(), Evaluated(matches=False)


@dataclass(frozen=True, slots=True, eq=False)
class CompiledExpressions:
    """Both expressions, compiled, or why one is refused: an earlier release may have let it be saved."""

    filter: Expression | ExpressionRefused | None
    transform: Expression | ExpressionRefused | None

    reads: int
    """How often both together read the data at most."""
    own_steps: int
    """What their own length costs beside."""

    def steps(self, steps_a_read: int) -> int:
        """The most that evaluating both costs, in steps of up to 0.4 us; `steps_a_read` for reading the event once."""
        return self.reads * steps_a_read + self.own_steps

    def evaluate(self, event: EvaluationContext) -> Evaluated:
        """Whether the filter matches and what the transform makes of the data; a failure is returned as an error."""
        matches = False
        try:
            matches = self.filter is None or evaluate_filter(_usable(self.filter), event)
            if matches and self.transform is not None:
                return Evaluated(data=evaluate_transform(_usable(self.transform), event).decode())
        except ExpressionFailed as error:
            return Evaluated(matches, error=str(error))
        return _MATCHED if matches else _NOT_MATCHED


@lru_cache(maxsize=_CACHED)
def compile_expressions(pair: Expressions) -> CompiledExpressions:
    """Compile both expressions."""
    both = (_compiled(pair.filter, "filter"), _compiled(pair.transform, "transform"))
    usable = [one for one in both if isinstance(one, Expression)]
    return CompiledExpressions(*both, sum(one.reads for one in usable), sum(one.reads * one.tokens for one in usable))


def _compiled(source: str | None, purpose: Purpose) -> Expression | ExpressionRefused | None:
    try:
        return None if source is None else compile_expression(source, purpose)
    except ExpressionRefused as error:
        return error


def _usable(compiled: Expression | ExpressionRefused) -> Expression:
    if isinstance(compiled, ExpressionRefused):
        raise ExpressionFailed(f"it {compiled}")
    return compiled


def evaluate_expressions(pair: Expressions, event: EvaluationContext) -> Evaluated:
    """Compile a pair and evaluate it."""
    return compile_expressions(pair).evaluate(event)


def evaluate_filter(expression: Expression, event: EvaluationContext) -> bool:
    """Whether the filter matches the event. Raises ExpressionFailed."""
    value = event.evaluate(expression)
    if not isinstance(value, bool):
        raise ExpressionFailed(f"it gives {_kind_of_value(value)} for this event instead of a bool")
    return value


def evaluate_transform(expression: Expression, event: EvaluationContext) -> bytes:
    """The JSON text of the object that the transform gives for this event. Raises ExpressionFailed."""
    value = event.evaluate(expression)
    if not isinstance(value, dict):
        raise ExpressionFailed(f"it gives {_kind_of_value(value)} for this event instead of a map")
    text = orjson.dumps(_as_json(value), option=orjson.OPT_SORT_KEYS)
    if len(text) > MAX_RESULT_BYTES:
        raise ExpressionFailed(
            f"it gives {len(text):,} bytes for this event; at most {MAX_RESULT_BYTES:,} are possible"
        )
    return text


class EvaluationContext:
    """An event, made available to expressions: its data is parsed once, for all of them."""

    def __init__(self, source: ExpressionInput) -> None:
        self._source = source
        self._context: cel.Context | ExpressionFailed | None = None

    def evaluate(self, expression: Expression) -> Any:
        """The value of the expression. Raises ExpressionFailed."""
        if self._context is None:
            self._context = self._open()
        if isinstance(self._context, ExpressionFailed):
            raise self._context
        try:
            return expression.program.execute(self._context)
        except KeyError as error:
            raise ExpressionFailed(f"the event has no {error.args[0]!r}") from None
        except (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError) as error:
            raise ExpressionFailed(str(error).partition(". ")[0][:200]) from None

    def _open(self) -> cel.Context | ExpressionFailed:
        source = self._source
        if source.most_values > MAX_VALUES:
            return ExpressionFailed(f"the event's data has more than {MAX_VALUES:,} values, which is the limit")
        try:
            data = orjson.loads(source.data)
        except orjson.JSONDecodeError:
            return ExpressionFailed("the event's data has text that is not valid Unicode")
        if _is_deeper(data, _DEEPEST):
            return ExpressionFailed(f"the event's data has more than {_DEEPEST} levels, which is the limit")
        variables = {"data": data, "id": source.id, "type": source.type, "occurred_at": source.occurred_at}
        return cel.Context(variables=variables, functions={_MATCHES: _matches})


_MATCHES = "matches_"
"""What `x.matches(pattern)` is compiled as: the library's own function of that name cannot be replaced."""


def _matches(text: object, pattern: str) -> bool | None:
    """Null for a value that is not text: the library would write an error that is raised here to standard error."""
    return _pattern(pattern).search(text) is not None if isinstance(text, str) else None


@lru_cache(maxsize=_CACHED)
def _pattern(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = _MAX_PATTERN_BYTES
    options.log_errors = False
    return re2.compile(pattern, options)


def _compile(source: str) -> cel.Program:
    try:
        return cel.compile(source)
    except ValueError as error:
        found = _SYNTAX_ERROR.search(str(error))
        if found is None:
            raise ExpressionRefused("does not compile") from None
        line, column, message = found.groups()
        place = f"character {column}" if line == "1" else f"line {line}, character {column}"
        raise ExpressionRefused(f"does not compile at {place}: {message.partition(' expecting')[0][:200]}") from None


def _spelled(tokens: Sequence[_Token]) -> Iterator[str]:
    return (_MATCHES if token.kind == "word" and token.text == "matches" else token.text for token in tokens)


@dataclass(slots=True)
class _Macro:
    """A macro whose body is being read."""

    depth: int
    """How many brackets are open within which it stands."""
    variable: str
    uses: int = -1  # where it is named first, it is not read


def _tokenize(source: str) -> list[_Token]:
    """The expression's tokens. Raises ExpressionRefused for what none can begin with.

    The library goes on after such characters, and takes 0.1 s for 4,000 of them.
    """
    tokens: list[_Token] = []
    for found in _TOKEN.finditer(source):
        token = _Token(str(found.lastgroup), found[0], found.start() + 1)
        if token.kind == "operator" and token.text not in _OPERATORS:
            problem = "a string begins that does not end" if token.text in "\"'" else f"{token.text!r} means nothing"
            raise ExpressionRefused(f"does not compile at character {token.at}: {problem}")
        tokens.append(token)
    return tokens


def _check_tokens(tokens: Sequence[_Token]) -> int:
    """How often the expression reads the data at most. Raises ExpressionRefused for what is unknown or unbounded."""
    depth, reads, multiple = 0, 0, 1
    macro: _Macro | None = None
    for index, token in enumerate(tokens):
        if token.text in _OPENING:
            depth += 1
        elif token.text in _CLOSING:
            depth -= 1
            if macro is not None and depth == macro.depth:
                multiple *= 1 + macro.uses
                macro = None
        elif token.kind == "word" and _text(tokens, index + 1) == "(":
            _check_function(tokens, index)
            if token.text in _MACROS:
                if macro is not None:
                    raise ExpressionRefused(
                        f"uses {token.text} at character {token.at} inside another macro; macros cannot be nested"
                    )
                macro = _Macro(depth, _text(tokens, index + 2))
        elif token.kind == "word" and not _is_member(tokens, index):
            if macro is not None and token.text == macro.variable:
                macro.uses += 1
            else:
                reads += _check_variable(token, macro, is_rooted=_text(tokens, index - 1) == ".")
    return max(1, reads) * multiple


def _check_function(tokens: Sequence[_Token], index: int) -> None:
    token = tokens[index]
    if token.text not in _FUNCTIONS or (token.text in _MACROS and not _is_member(tokens, index)):
        raise ExpressionRefused(f"uses an unknown function at character {token.at}: {_nearest(token.text, _FUNCTIONS)}")
    if token.text == "matches":
        _check_pattern(tokens, index)


def _is_member(tokens: Sequence[_Token], index: int) -> bool:
    """Whether the word is a part of what stands before it; after a dot alone, it is a variable."""
    if index < 2 or tokens[index - 1].text != ".":
        return False
    operand = tokens[index - 2]
    return operand.text in _CLOSING or (operand.kind in ("word", "string", "number") and operand.text != "in")


def _check_pattern(tokens: Sequence[_Token], index: int) -> None:
    """The last argument of `matches` must be a literal that RE2 can compile within its memory."""
    at = tokens[index].at
    is_alone = _is_member(tokens, index) and _text(tokens, index + 3) == ")"
    literal = tokens[index + 2] if is_alone else None
    if literal is None or literal.kind != "string":
        raise ExpressionRefused(f"uses matches at character {at} without a pattern in quotes; write x.matches('...')")
    pattern = _compile(literal.text).execute()
    try:
        if not isinstance(pattern, str):
            raise ExpressionRefused(f"has a pattern of bytes at character {literal.at}; write it without the b")
        _pattern(pattern)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]
        raise ExpressionRefused(
            f"has a pattern that cannot be used at character {literal.at}: {reason[:200]}"
        ) from None


def _check_variable(token: _Token, macro: _Macro | None, *, is_rooted: bool) -> int:
    """1 if the word reads the data. Raises ExpressionRefused if it is unknown, or out of reach of the macro's body.

    A name after a dot with nothing before it (`is_rooted`) is one that the library does not know.
    """
    if token.text in (*_WORD_VALUES, *_TYPE_NAMES, "in"):
        return 0
    if token.text not in VARIABLES or is_rooted:
        raise ExpressionRefused(f"uses an unknown name at character {token.at}: {_nearest(token.text, VARIABLES)}")
    if token.text != "data":
        return 0
    if macro is not None:
        raise ExpressionRefused(
            f"reads `data` at character {token.at} inside a macro, whose cost would grow with the square of the data; "
            f"a macro's body can read its own variable ({macro.variable}), `id`, `type` and `occurred_at`"
        )
    return 1


def _check_result(tokens: Sequence[_Token], purpose: Purpose) -> None:
    kind = _kind(tokens)
    wanted = {"filter": "a bool", "transform": "a map"}[purpose]
    if kind is not None and kind != wanted:
        raise ExpressionRefused(f"always gives {kind}; it must give {wanted}")


def _kind(tokens: Sequence[_Token]) -> str | None:
    """What kind of value the expression gives, as far as its outermost operator tells; None if that depends on data."""
    if not tokens:
        return None
    outer = list(_outermost(tokens))
    texts = [tokens[index].text for index in outer if tokens[index].kind != "string"]
    if "?" in texts:
        question = next(index for index in outer if tokens[index].text == "?")
        colon = _matching_colon(tokens, outer, question)
        kinds = {_kind(tokens[question + 1 : colon]), _kind(tokens[colon + 1 :])}
        return kinds.pop() if len(kinds) == 1 else None
    if any(relation in texts for relation in _RELATIONS) or texts[:1] == ["!"]:
        return "a bool"
    if any(text in ("+", "*", "/", "%", "-") for text in texts):
        return "a number, a string or a list"
    return _kind_of_operand(tokens, outer)


def _kind_of_operand(tokens: Sequence[_Token], outer: Sequence[int]) -> str | None:
    first, last = tokens[0], tokens[-1]
    if len(tokens) == 1:
        return {"string": "a string", "number": "a number"}.get(first.kind, _WORD_VALUES.get(first.text))
    is_one_bracket = first.text in _OPENING and list(outer) == [0, len(tokens) - 1]
    if is_one_bracket:
        return {"(": _kind(tokens[1:-1]), "[": "a list", "{": "a map"}[first.text]
    if last.text == ")":
        name = tokens[outer[-2] - 1].text
        return "a bool" if name in _BOOL_FUNCTIONS else _VALUE_FUNCTIONS.get(name)
    return None


def _outermost(tokens: Sequence[_Token]) -> Iterator[int]:
    """The indexes of the tokens that stand in no bracket, the outermost brackets themselves included."""
    depth = 0
    for index, token in enumerate(tokens):
        depth -= token.text in _CLOSING
        if depth == 0:
            yield index
        depth += token.text in _OPENING


def _matching_colon(tokens: Sequence[_Token], outer: Iterable[int], question: int) -> int:
    open_questions = 0
    for index in outer:
        if index > question and tokens[index].text in ("?", ":"):
            if tokens[index].text == ":" and not open_questions:
                return index
            open_questions += 1 if tokens[index].text == "?" else -1
    raise ExpressionRefused("does not compile: a `?` has no `:`")


def _text(tokens: Sequence[_Token], index: int) -> str:
    return tokens[index].text if 0 <= index < len(tokens) and tokens[index].kind != "string" else ""


def _nearest(name: str, known: Iterable[str]) -> str:
    shown = name[:40]
    near = get_close_matches(shown, list(known), n=1)
    return f"{shown}; did you mean {near[0]}?" if near else f"{shown}; there are {', '.join(known)}"


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list) or not value:
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in inner)


def _as_json(value: Any) -> Any:
    """The value with only what JSON has; times are spelled as in the contracts, durations as in protobuf's JSON."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ExpressionFailed("it gives a map with keys that are not strings, which JSON cannot hold")
        return {key: _as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(one) for one in value]
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and value - value == 0:  # neither infinite nor NaN
        return value
    raise ExpressionFailed(f"it gives {_kind_of_value(value)}, which JSON cannot hold")


def _kind_of_value(value: Any) -> str:
    kinds = {bool: "a bool", dict: "a map", list: "a list", str: "a string", type(None): "null", bytes: "bytes"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else "a value of another kind")
