"""A headless Chromium that uses the page as a visitor does."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
WAIT = 60.0  # seconds; the machine may be busy

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
    "--window-size=1280,900",
)  # fmt: skip


class Visitor:
    """One browser with a session of its own on every `open`."""

    def __init__(self, url: str, downloads: Path):
        """Start Chromium; see `visiting`."""
        webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in _FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)}
        )
        self._url = url
        self._downloads = downloads

    def open(self) -> "Visitor":
        """Load the page: a new session."""
        self.driver.get(self._url)
        self.until(lambda: self.all(".drop input"))
        return self

    def until(self, condition, seconds: float = WAIT):
        """Wait for something true, and return it."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.wait import WebDriverWait

        wait = WebDriverWait(
            self.driver, seconds, 0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        return wait.until(lambda _: condition())

    def all(self, selector: str) -> list:
        """Elements that a CSS selector finds."""
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        """Of the first such element; empty if there is none."""
        found = self.all(selector)
        return found[0].text if found else ""

    def upload(self, path: Path) -> None:
        """Choose a file in the drop zone."""
        self.all(".drop input")[0].send_keys(str(path))

    def said(self) -> str:
        """The line above the drawing."""
        return self.text("#say")

    def wait_for(self, words: str) -> str:
        """Wait until the line above the drawing has these words."""
        self.until(lambda: words in self.said())
        return self.said()

    def rows(self) -> list[str]:
        """Names and scores in the table."""
        return [" ".join(row.text.split()) for row in self.all("#table tbody tr")]

    def keys(self, selector: str, *keys: str) -> None:
        """Type keys into an element."""
        self.all(selector)[0].send_keys(*keys)

    def download(self, button: str) -> Path:
        """Press a button and wait for its file."""
        before = set(self._downloads.iterdir())
        found = [one for one in self.all("#downloads button") if one.text == button]
        found[0].click()

        def arrived():
            new = set(self._downloads.iterdir()) - before
            return new and not any(path.suffix == ".crdownload" for path in new) and new

        (path,) = self.until(arrived)
        return path

    def hosts(self) -> set[str]:
        """Hosts that the browser asked for anything since the last call, if only in vain."""
        found = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.add(urlsplit(message["params"]["request"]["url"]).netloc)
            elif message["method"] == "Network.webSocketCreated":
                found.add(urlsplit(message["params"]["url"]).netloc)
        return found - {""}  # of data: and blob:

    def complaints(self) -> list[str]:
        """What stands in the browser's console as an error."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE"
        ]


@contextlib.contextmanager
def visiting(url: str, downloads: Path) -> Iterator[Visitor]:
    """A visitor, whose browser is closed in the end; skips where there is no browser."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("no Chromium: apt-get install chromium chromium-driver")
    downloads.mkdir(exist_ok=True)
    visitor = Visitor(url, downloads)
    try:
        yield visitor
    finally:
        visitor.driver.quit()
