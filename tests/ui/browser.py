"""Debian's Chromium, headless, and what the pages of Airflow have in common."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

SECONDS = 90
SWITCHES = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,887"]

T = TypeVar("T")


class Browser:
    """A window of 1,280 pixels that shows the pages of one server.

    :param url: of the server.
    :param pictures: folder that takes the pictures.
    """

    def __init__(self, url: str, pictures: Path) -> None:
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if chromium is None or driver is None:
            raise SystemExit("Needs Debian's packages chromium and chromium-driver (apt-get install them)")
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for switch in SWITCHES:
            options.add_argument(switch)
        environment = {
            name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
        }
        self.driver = webdriver.Chrome(options, Service(driver, env=environment))
        self._url = url
        self._pictures = pictures
        pictures.mkdir(parents=True, exist_ok=True)
        #: The text and the markup of every page that was looked at.
        self.seen: list[str] = []

    def open(self, path: str, *texts: str) -> str:
        """Open a page, and wait until it shows some texts."""
        self.driver.get(self._url + path)
        return self.reads(*texts)

    def reads(self, *texts: str) -> str:
        """Wait until the page shows some texts, and give all that it shows."""

        def shown() -> str | None:
            text = self.driver.find_element(By.TAG_NAME, "body").text
            return text if all(each in text for each in texts) else None

        text = self.wait(shown, f"the page shows {texts}")
        self.seen += [text, self.driver.page_source]
        return text

    def find(self, css: str) -> WebElement:
        """Wait for an element."""
        found = self.wait(lambda: self.driver.find_elements(By.CSS_SELECTOR, css), css)
        return found[0]

    def click(self, css: str, text: str = "") -> None:
        """Click on the first element with a text."""

        def clicked() -> bool:
            for element in self.driver.find_elements(By.CSS_SELECTOR, css):
                if text in element.text and element.is_displayed():
                    element.click()
                    return True
            return False

        self.wait(clicked, f"{css} with {text!r} can be clicked")

    def fields(self) -> dict[str, WebElement]:
        """Give the fields of a dialogue by their names."""
        inputs = self.driver.find_elements(By.CSS_SELECTOR, "[role=dialog] input")
        return {name: each for each in inputs if (name := each.get_attribute("name"))}

    def picture(self, name: str) -> None:
        """Keep a picture of the page as it is."""
        self.driver.save_screenshot(str(self._pictures / f"{name}.png"))

    def wait(self, condition: Callable[[], T | None], what: str) -> T:
        """Wait for a condition, over elements that are drawn anew too."""
        waiting = WebDriverWait(self.driver, SECONDS, ignored_exceptions=[WebDriverException])
        return waiting.until(lambda _: condition(), what)

    def close(self) -> None:
        self.driver.quit()
