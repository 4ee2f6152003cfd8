"""A headless Chromium without a network, which tests drive as a user would."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def browsing(width: int = 1280, height: int = 720) -> Iterator[Any]:
    """Yield a browser that is offline; skip where there is no Chromium or driver."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "hide-scrollbars",
    )
    for flag in flags:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # a driver that is named is not looked for in the network
    page = webdriver.Chrome(options=options, service=Service(driver))
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        page.execute_cdp_cmd("Network.enable", {})
        off = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        page.execute_cdp_cmd("Network.emulateNetworkConditions", off)
        yield page
    finally:
        page.quit()


class ReportPage:
    """A report in a browser."""

    def __init__(self, page: Any, path: Path):
        self.page = page
        page.get(path.as_uri())
        self.wait("return document.body.dataset.thumbnails")

    def wait(self, script: str, seconds: float = 20) -> Any:
        """Wait until a script returns something."""
        end = time.monotonic() + seconds
        while not (found := self.page.execute_script(script)):
            assert time.monotonic() < end, f"{script}: {self.page.get_log('browser')}"
            time.sleep(0.02)
        return found

    def change(self, action: Any) -> None:
        """Do something, and wait until the page shows its result."""
        before = self.page.execute_script("return document.body.dataset.ready")
        action()
        self.wait(f"return document.body.dataset.ready !== '{before}'")

    def click_layer(self, name: str) -> None:
        """Choose a layer by its button."""
        self.change(self.page.find_element("css selector", f'[data-layer="{name}"]').click)

    def slide(self, id: str, value: object) -> None:
        """Move a slider, type a number, or choose from a list."""
        script = (
            "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        self.change(lambda: self.page.execute_script(script, id, str(value)))

    def click_pixel(self, row: int, column: int) -> None:
        """Click on the middle of a pixel of the result."""
        from selenium.webdriver import ActionChains

        script = (
            "const f = report.facts, p = Math.floor(arguments[0] / f.stride) * f.shape[1]"
            " + Math.floor(arguments[1] / f.stride); const b = map.box.getBoundingClientRect();"
            "const m = map.middle(p); return [m[0] - b.width / 2, m[1] - b.height / 2]"
        )
        at = [round(v) for v in self.page.execute_script(script, row, column)]
        box = self.page.find_element("id", "map")
        ActionChains(self.page).move_to_element_with_offset(box, *at).click().perform()
        shown = self.wait("return document.getElementById('pixel').dataset.pixel")
        self.wait(f"return document.getElementById('pixel').dataset.shown === '{shown}'")

    @property
    def errors(self) -> list[str]:
        """Return what the browser reports as an error."""
        found = self.page.get_log("browser")
        return [entry["message"] for entry in found if entry["level"] == "SEVERE"]

    @property
    def pixel(self) -> tuple[int, int]:
        """Row and column of the chosen pixel, in the result."""
        row, column = self.page.find_element("id", "pixel").get_attribute("data-pixel").split(",")
        return int(row), int(column)

    def cells(self, css: str) -> dict[str, str]:
        """Return a column of the table of the chosen pixel, by time."""
        script = (
            "return Object.fromEntries([...document.querySelectorAll('#values tbody tr')].map("
            "r => [r.dataset.time, (r.querySelector(arguments[0]) || {}).textContent || '']))"
        )
        return dict(self.page.execute_script(script, css))

    def plane(self) -> Any:
        """Return the numbers of the left layer, (y, x)."""
        import numpy as np

        script = "return Array.from(app.values(), x => Number.isNaN(x) ? null : x)"
        values = self.page.execute_script(script)
        shape = self.page.execute_script("return report.facts.shape")
        return np.array(values, dtype=float).reshape(shape)
