"""One headless Chromium: opens pages, reads what is drawn, counts what goes wrong."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVERS = ("chromedriver",)

ALLOWED = (
    (r"/favicon\.ico", "a page without an icon; Chromium asks for one by itself"),
    (r"fonts\.(googleapis|gstatic)\.com", "TensorBoard's web fonts: there is no network"),
)
"""Console entries that are not errors of a page: a pattern, and why."""

# Pages are drawn by web components, whose insides innerText and querySelectorAll do not see.
_DEEP = """
const found = [];
const walk = root => {
  for (const node of root.querySelectorAll('*')) {
    if (node.matches(arguments[0])) found.push(node);
    if (node.shadowRoot) walk(node.shadowRoot);
  }
};
walk(document);
const visible = found.filter(n => n.getClientRects().length > 0);
"""


def program(variable: str, names: Sequence[str]) -> str | None:
    """The path of a program: what the variable says, else the first name that is on PATH."""
    given = os.environ.get(variable)
    return given or next(filter(None, map(shutil.which, names)), None)


def missing() -> str:
    """Why no browser can be had, and what to install; empty when one can."""
    lacking = [
        f"{names[0]} (or name it in {variable})"
        for variable, names in (
            ("SHIFTSEARCH_CHROMIUM", BROWSERS),
            ("SHIFTSEARCH_CHROMEDRIVER", DRIVERS),
        )
        if program(variable, names) is None
    ]
    if not lacking:
        return ""
    return f"not on PATH: {', '.join(lacking)}; Debian has both in: chromium chromium-driver"


class Browser:
    """A Chromium of its own profile, without network.

    Args:
        profile: an empty folder.
        shots: where screenshots go.
    """

    def __init__(self, profile: Path, shots: Path) -> None:
        options = ChromeOptions()
        options.binary_location = program("SHIFTSEARCH_CHROMIUM", BROWSERS) or ""
        for flag in (
            "headless",
            "no-sandbox",
            "disable-gpu",
            "disable-quic",
            "disable-dev-shm-usage",
            "no-first-run",
            "disable-background-networking",
            "disable-component-update",
            "disable-sync",
            "hide-scrollbars",
            "force-color-profile=srgb",
            f"user-data-dir={profile}",
            # Every name but this machine's own is unknown at once, instead of after a time-out.
            "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
        ):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        # With both paths given, selenium looks for no driver, and downloads none.
        service = Service(executable_path=program("SHIFTSEARCH_CHROMEDRIVER", DRIVERS))
        self.driver = Chrome(options=options, service=service)
        self.driver.set_page_load_timeout(60)
        self._shots = shots

    def open(self, url: str, *, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """A page in a window of so many CSS pixels; what the console said before is forgotten."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.resize(width, height)
        self.driver.get(url)

    def resize(self, width: int, height: int) -> None:
        """The window, in CSS pixels, as narrow as a telephone if need be."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def texts(self, selector: str) -> list[str]:
        """Of every visible element that matches, inside web components too, its text."""
        script = _DEEP + "return visible.map(n => n.innerText.trim());"
        return list(self.run(script, selector))

    def elements(self, selector: str) -> list[Any]:
        """Every visible element that matches, inside web components too."""
        return list(self.run(_DEEP + "return visible;", selector))

    def images(self) -> list[tuple[int, int]]:
        """Natural width and height of every visible image; 0 where it did not load."""
        script = _DEEP + "return visible.map(n => [n.naturalWidth, n.naturalHeight]);"
        return [tuple(size) for size in self.run(script, "img")]

    def shot(self, name: str) -> Path:
        """A picture of the window."""
        path = self._shots / f"{name}.png"
        self.driver.save_screenshot(str(path))
        return path

    def errors(self) -> list[str]:
        """Errors in the console since the page was opened, without the allowed ones."""
        said = [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]
        return [m for m in said if not any(re.search(pattern, m) for pattern, _ in ALLOWED)]

    def quit(self) -> None:
        """End the browser and its driver."""
        self.driver.quit()
