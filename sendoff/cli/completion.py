"""`sendoff completion`: scripts that complete commands and options, made from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

Words = dict[str, list[str]]
"""What may follow, by the words before."""


class Shell(StrEnum):
    """A shell that has completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="For which shell.")]) -> None:
    """Print a completion script. It holds every command and option, so that completing starts no program.

    bash: `source <(sendoff completion bash)` in ~/.bashrc. zsh: the same in ~/.zshrc, after `compinit`.
    fish: `sendoff completion fish > ~/.config/fish/completions/sendoff.fish`.
    """
    words = dict(_words())
    typer.echo(_fish(words) if shell is Shell.FISH else _bash(words, for_zsh=shell is Shell.ZSH))


def _words() -> Iterator[tuple[str, list[str]]]:
    from sendoff.cli.main import app
    from sendoff.cli.terminal.commands import Commands

    group: Any = app.info.cls
    assert issubclass(group, Commands)  # noqa: S101 - the program is such a group
    shown = [command for command in group.table if not command.hidden]
    yield "", [*(command.name for command in shown), "--help", "--version"]
    for command in shown:
        yield from _walk(command.name, command.load())


def _walk(name: str, command: Any) -> Iterator[tuple[str, list[str]]]:
    options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
    if not isinstance(command, TyperGroup):
        yield name, [*options, "--help"]
        return
    yield name, [*command.commands, "--help"]
    for child, found in command.commands.items():
        yield from _walk(f"{name} {child}", found)


def _bash(words: Words, *, for_zsh: bool) -> str:
    cases = "\n".join(f'    "{before}") found="{" ".join(after)}" ;;' for before, after in words.items())
    return f"""{"autoload -U +X bashcompinit && bashcompinit" if for_zsh else "# bash"}
_sendoff() {{
  local found="" before="" word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in
      -*) break ;;
      *) before="${{before:+$before }}$word" ;;
    esac
  done
  while :; do
    case "$before" in
{cases}
    esac
    [ -n "$found" ] || [ -z "$before" ] && break
    case "$before" in *" "*) before="${{before% *}}" ;; *) before="" ;; esac
  done
  COMPREPLY=($(compgen -W "$found" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _sendoff sendoff"""


def _fish(words: Words) -> str:
    lines = ["complete -c sendoff -f"]
    for before, after in words.items():
        seen = " and ".join(f"__fish_seen_subcommand_from {word}" for word in before.split())
        condition = f"-n '{seen.replace(' and ', '; and ')}'" if before else "-n __fish_use_subcommand"
        names = " ".join(word for word in after if not word.startswith("-"))
        lines += [f"complete -c sendoff {condition} -a '{names}'"] if names else []
        lines += [f"complete -c sendoff {condition} -l {word[2:]}" for word in after if word.startswith("--")]
    return "\n".join(lines)
