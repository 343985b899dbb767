"""How the demo speaks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from sendoff.clock import Clock


class Narrator:
    """Chapters, and what happens in them with the seconds since the start."""

    def __init__(self, clock: Clock) -> None:
        self._console = Console(highlight=False)
        self._clock = clock
        self._started = clock.monotonic()
        self._chapters = 0

    def chapter(self, title: str) -> None:
        self._chapters += 1
        self._console.print(f"\n[bold]{self._chapters}. {escape(title)}[/bold]")

    def say(self, text: str) -> None:
        """Something that is about to happen, or needs a word."""
        self._console.print(f"   {escape(text)}", soft_wrap=True)

    def happened(self, text: str) -> None:
        """Something that happened and was checked."""
        self._console.print(f"   [green]✓[/green] [dim]{self._seconds():5.1f} s[/dim]  {escape(text)}", soft_wrap=True)

    def failed_as_planned(self, text: str) -> None:
        """A failure that belongs to the story."""
        self._console.print(
            f"   [yellow]✗[/yellow] [dim]{self._seconds():5.1f} s[/dim]  {escape(text)}", soft_wrap=True
        )

    def fail(self, text: str) -> None:
        self._console.print(f"\n[bold red]The demo failed:[/bold red] {escape(text)}", soft_wrap=True)

    def finish(self) -> None:
        self._console.print(f"\n[bold green]All of it happened, in {self._seconds():.0f} s.[/bold green]")

    @contextmanager
    def progress(self, total: int) -> Iterator[RowProgress]:
        """A bar for `total` rows."""
        columns = (TextColumn("     "), BarColumn(40), MofNCompleteColumn(), TextColumn("rows, {task.description}"))
        with Progress(*columns, console=self._console) as bar:
            yield RowProgress(bar, bar.add_task("queued", total=None, start=False), total)

    def _seconds(self) -> float:
        return self._clock.monotonic() - self._started


class RowProgress:
    """A bar without a measure until the end: the API reports an upload's status, not its rows."""

    def __init__(self, bar: Progress, task: TaskID, total: int) -> None:
        self._bar = bar
        self._task = task
        self._total = total

    def show(self, status: str, done: int) -> None:
        """The upload's status, and how many rows are known to be done."""
        total = self._total if done else None
        self._bar.update(self._task, description=status.replace("_", " "), completed=done, total=total)
