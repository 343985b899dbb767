"""Options that many commands share: which installation they work on, and how they print."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from sendoff.cli.terminal.installation import Installation, LocalInstallation, RemoteInstallation
from sendoff.cli.terminal.output import Output, OutputFormat
from sendoff.processes.data_directory import DEFAULT

_PANEL = "Installation"

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="DIR",
        envvar="SENDOFF_DATA",
        help="The directory of `sendoff up`; settings such as SENDOFF_DATABASE_URL override it.",
    ),
]
DEFAULT_DATA = DEFAULT

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

LimitOption = Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many to show at most.")]
Before = Annotated[
    str | None, typer.Option(metavar="CURSOR", help="Go on below this one: the `next_cursor` of the page before.")
]
OrganizationOption = Annotated[str | None, typer.Option("--org", metavar="ID", help="Of this organization only.")]
EndpointOption = Annotated[str | None, typer.Option("--endpoint", metavar="ID", help="To this endpoint only.")]
Deliveries = Annotated[
    list[str] | None,
    typer.Option("--delivery", metavar="ID", help="These finished deliveries instead, dead or delivered; repeatable."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

_INSTALLATION: dict[str, tuple[Any, Any]] = {
    "installation_data": (
        Annotated[
            Path | None,
            typer.Option(
                "--data",
                metavar="DIR",
                help="The directory of `sendoff up`, if it holds a database; else the one of SENDOFF_DATABASE_URL, of "
                f"SENDOFF_DATA or of {DEFAULT}.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "installation_url": (
        Annotated[
            str | None,
            typer.Option(
                "--url", metavar="URL", help="The API of another machine. Also as SENDOFF_URL.", rich_help_panel=_PANEL
            ),
        ],
        None,
    ),
    "installation_key": (
        Annotated[
            str | None,
            typer.Option(
                "--key",
                metavar="KEY",
                help="An API key for it. Other users see arguments: better in the environment or a profile. "
                "Also as SENDOFF_KEY.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "installation_profile": (
        Annotated[
            str | None,
            typer.Option(
                "--profile",
                metavar="NAME",
                help="URL and key by their name; see `sendoff profiles`. Also as SENDOFF_PROFILE.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
}
_EVENT_DATA: dict[str, tuple[Any, Any]] = {
    "installation_data": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--data",
                metavar="JSON|@FILE",
                help="The event's `data`, an object. What is neither is the directory of `sendoff up`.",
            ),
        ],
        None,
    ),
}
_URL_FILTER: dict[str, tuple[Any, Any]] = {
    "installation_url": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--url",
                metavar="TEXT",
                help="Whose URL contains this. With --key or SENDOFF_KEY the first one is the API of another machine.",
            ),
        ],
        None,
    ),
}
_BEGINNINGS = ("{", "[", "@", '"')

_JSON: dict[str, tuple[Any, Any]] = {"as_json": (AsJson, False)}
_LIST: dict[str, tuple[Any, Any]] = {
    **_JSON,
    "wide": (
        Annotated[bool, typer.Option("--wide", help="Every column and whole ids, however wide the terminal is.")],
        False,
    ),
    "output": (
        Annotated[OutputFormat, typer.Option("--output", "-o", help="How the list is printed.")],
        OutputFormat.TABLE,
    ),
}


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that make the parameters `on`, an Installation, and `out`, an Output, and pass these."""
    return _with_options(function, _INSTALLATION | _JSON)


def list_command(function: Callable[..., None]) -> Callable[..., None]:
    """`command` for lists, which have more formats."""
    return _with_options(function, _INSTALLATION | _LIST)


def event_command(function: Callable[..., None]) -> Callable[..., None]:
    """`command` for one that takes `content`, the `data` of an event or None: it is what `--data` gives as JSON."""
    return _with_options(function, _INSTALLATION | _EVENT_DATA | _JSON)


def url_list_command(function: Callable[..., None]) -> Callable[..., None]:
    """`list_command` for one with a filter `url`, a text or None: it is `--url`, unless a key makes that an API's."""
    return _with_options(function, _INSTALLATION | _URL_FILTER | _LIST)


def _with_options(function: Callable[..., None], added: dict[str, tuple[Any, Any]]) -> Callable[..., None]:
    hints = get_type_hints(function, include_extras=True)
    skipped = {"on", "out"}
    skipped |= {"content"} if added["installation_data"] is _EVENT_DATA["installation_data"] else set()
    skipped |= {"url"} if added["installation_url"] is _URL_FILTER["installation_url"] else set()
    own = [
        one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for one in inspect.signature(function).parameters.values()
        if one.name not in skipped
    ]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in added.items()
    ]

    @functools.wraps(function)
    def run(**given: Any) -> None:
        options = {name: given.pop(name) for name in added}
        if added["installation_data"] is _EVENT_DATA["installation_data"]:
            given["content"], options["installation_data"] = _read_event_data(options["installation_data"] or [])
        if added["installation_url"] is _URL_FILTER["installation_url"]:
            has_key = bool(options["installation_key"] or os.environ.get("SENDOFF_KEY"))
            given["url"], options["installation_url"] = _read_urls(options["installation_url"] or [], has_key=has_key)
        on = _choose_installation(*(options[name] for name in _INSTALLATION))
        function(on=on, out=_choose_output(options), **given)

    run.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*own, *more)}
    return run


def _choose_installation(data: Path | None, url: str | None, key: str | None, profile: str | None) -> Installation:
    """A flag wins over the environment; without any, SENDOFF_URL, then SENDOFF_PROFILE, then the database."""
    named = [option for option, given in (("--data", data), ("--url", url), ("--profile", profile)) if given]
    if len(named) > 1:
        raise typer.BadParameter(f"{named[0]} names another installation; give one of them", param_hint=named[1])
    if data is not None:
        return LocalInstallation(data, is_flag=True)
    environment = os.environ
    if profile is None:
        url = url or environment.get("SENDOFF_URL")
    if url is None:
        profile = profile or environment.get("SENDOFF_PROFILE")
    if url:
        return _api(url, key or environment.get("SENDOFF_KEY"))
    if profile:
        from sendoff.cli.terminal.profiles import find_profile

        return RemoteInstallation(find_profile(profile))
    if key:
        raise typer.BadParameter("it needs the API's --url, or SENDOFF_URL", param_hint="--key")
    return LocalInstallation(Path(environment.get("SENDOFF_DATA") or DEFAULT))


def _api(url: str, key: str | None) -> RemoteInstallation:
    from sendoff.cli.terminal.remote import Remote

    if not key:
        raise typer.BadParameter("an API needs a key; give it in SENDOFF_KEY, or with --key", param_hint="--key")
    return RemoteInstallation(Remote.at(url, key))


def _read_event_data(given: list[str]) -> tuple[dict[str, Any] | None, Path | None]:
    """The event's data and the directory: JSON and @FILE are the former, anything else is the latter."""
    contents = [one for one in given if one.lstrip().startswith(_BEGINNINGS)]
    directories = [Path(one) for one in given if one not in contents]
    if len(contents) > 1 or len(directories) > 1:
        raise typer.BadParameter("give the event's data once, and the directory once", param_hint="--data")
    return (_parse(contents[0]) if contents else None), (directories[0] if directories else None)


def _read_urls(given: list[str], *, has_key: bool) -> tuple[str | None, str | None]:
    """The text to look for in URLs, and the URL of the API: with a key, the first one is the latter."""
    apis, texts = (given[:1], given[1:]) if has_key and not os.environ.get("SENDOFF_URL") else ([], given)
    if len(texts) > 1:
        raise typer.BadParameter("give one text to look for", param_hint="--url")
    return (texts[0] if texts else None), (apis[0] if apis else None)


def _parse(text: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(text[1:]).read_bytes() if text.startswith("@") else text)
    except OSError as error:
        raise typer.BadParameter(f"{text[1:]} cannot be read ({error.strerror})", param_hint="--data") from None
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"it is not JSON: {error}", param_hint="--data") from None
    if not isinstance(found, dict):
        raise typer.BadParameter('an event\'s data is an object, such as {"n": 1}', param_hint="--data")
    return found


def _choose_output(options: dict[str, Any]) -> Output:
    chosen = options.get("output", OutputFormat.TABLE)
    if options["as_json"]:
        return Output(OutputFormat.JSON)
    return Output(OutputFormat.WIDE if options.get("wide") and chosen is OutputFormat.TABLE else chosen)
