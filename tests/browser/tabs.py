"""What browser tests share: tabs that note what a policy forbids, checks of accessibility, pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.api.api_fixture import ApiFixture

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1.min.js"
PICTURES = Path(__file__).parents[2] / "build" / "pictures"

_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
});
document.addEventListener("click", (event) => {
  if (event.detail) sessionStorage.clicks = Number(sessionStorage.clicks ?? 0) + 1;  // not those that Enter makes
}, true);
"""


@cache
def _axe() -> str:
    return AXE.read_text()


@dataclass
class Tab:
    """A tab of its own session, which must never run anything but our scripts."""

    page: Page
    base_url: str
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.problems.append(f"script failed: {error}"))
        self.page.on("dialog", self._on_dialog)
        self.confirmed: list[str] = []

    def _note(self, kind: str, text: str) -> None:
        if kind == "error" and "status of 4" not in text:  # pages of errors, which some tests ask for
            self.problems.append(f"console: {text}")

    async def _on_dialog(self, dialog: Any) -> None:
        if dialog.type == "confirm":
            self.confirmed.append(dialog.message)
            await dialog.accept()
        else:
            self.problems.append(f"{dialog.type}: {dialog.message}")
            await dialog.dismiss()

    async def open(self, path: str) -> None:
        await self.page.goto(self.base_url + path)

    async def check(self) -> None:
        """No script failed, none that is not ours ran, and the policy had nothing to forbid."""
        self.problems += await self.page.evaluate("window.violations")
        assert self.problems == [], self.page.url

    async def clicks(self) -> int:
        """How often the mouse was clicked in this tab, over all pages of the site."""
        return int(await self.page.evaluate("Number(sessionStorage.clicks ?? 0)"))

    async def inaccessible(self) -> list[str]:
        """What axe finds that is serious or critical: everything in light colours, and the contrast in dark ones."""
        await self.page.evaluate(_axe())
        found = await self._run_axe(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"])
        await self.page.emulate_media(color_scheme="dark")
        found += await self._run_axe(["color-contrast"])
        await self.page.emulate_media(color_scheme="light")
        return found

    async def _run_axe(self, rules: list[str]) -> list[str]:
        # Only what is wrong is reported, and no style sheet is fetched again for rules that are not among these.
        options = {"runOnly": rules, "resultTypes": ["violations"], "preload": False, "iframes": False}
        report = await self.page.evaluate("options => axe.run(document, options)", options)
        return [
            f"{self.page.url}: {one['id']}: {node['html'][:160]}: {node['failureSummary'][:300]}"
            for one in report["violations"]
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"][:3]
        ]

    async def picture(self, name: str) -> Path:
        """A picture of the page, kept in `build/pictures`."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        await self.page.screenshot(path=path)
        return path


@dataclass
class Site:
    """An API on a socket, and a browser."""

    api: ApiFixture
    base_url: str
    browser: Browser

    async def tab(self, *, width: int = 1280, scripts: bool = True) -> Tab:
        """A tab without cookies."""
        context = await self.browser.new_context(
            viewport={"width": width, "height": 800},
            java_script_enabled=scripts,
        )
        context.set_default_timeout(10_000)
        await context.add_init_script(_NOTE_VIOLATIONS)
        return Tab(await context.new_page(), self.base_url)

    async def log_in(self, tab: Tab, key: str | None = None) -> None:
        """Into the dashboard, as people do."""
        await tab.open("/dashboard/login")
        await tab.page.get_by_label("API key").fill(key or self.api.key)
        await tab.page.get_by_role("button", name="Log in").click()
        await tab.page.wait_for_url("**/dashboard")
