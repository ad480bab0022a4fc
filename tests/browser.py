"""A browser for the tests of pages: Chromium without a window and without a network, or a reason to skip."""

import os
import shutil
import time

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

#: Sizes of a window: wide, and of a phone.
WIDE, PHONE = (1400, 1000), (390, 800)
#: JavaScript that scrolls to the figure of a source, because hidden figures are not drawn, and returns its data.
_DATA = """
const [name, done] = arguments;
const owner = Bokeh.documents[0].roots().find((root) => root.renderers.some((one) => one.data_source.name === name));
const { data_source } = owner.renderers.find((one) => one.data_source.name === name);
document.getElementById(`figure-${owner.name.replaceAll(" ", "-")}`).scrollIntoView({ block: "center" });
const plain = (v) => typeof v === "number" && !Number.isFinite(v) ? String(v) : v.shape ? Array.from(v) : v;
const read = () => done(Object.fromEntries(Object.entries(data_source.data).map(([key, values]) =>
  [key, Array.from(values, plain)])));
requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(read, 50)));
"""


class Browser:
    """A window of the browser."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, address, size=WIDE, dark=False):
        """Open a page and wait until it is drawn."""
        self.driver.get_log("browser")
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        self.driver.get(str(address) if "://" in str(address) else address.as_uri())
        self.wait(lambda: self.run("return document.documentElement.dataset.ready") == "yes")

    def wait(self, condition, seconds=60):
        """Wait for a condition; report the errors of the page if it does not hold in time."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.driver.get_log("browser")
            time.sleep(0.02)

    def run(self, code, *arguments):
        """Run JavaScript and return its result."""
        return self.driver.execute_script(code, *arguments)

    def find(self, name):
        """Return the element with an id."""
        return self.driver.find_element(By.ID, name)

    def text(self, name):
        """Return the text of an element, also if it is out of sight."""
        return self.find(name).get_property("textContent")

    def choose(self, name, value):
        """Set the value of a control as a user does."""
        code = """const control = document.getElementById(arguments[0]); control.value = arguments[1];
        for (const kind of ["input", "change"]) control.dispatchEvent(new Event(kind));"""
        self.run(code, name, value)

    def data(self, name):
        """Return the columns of a source of a figure."""
        return self.driver.execute_async_script(_DATA, name)

    def errors(self):
        """Return the errors in the console.

        Bokeh 3.10 warns that it destroys labels of an axis twice if they change twice before they are drawn.
        """
        entries = [entry for entry in self.driver.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}]
        return [entry for entry in entries if "TextView" not in entry["message"] or "destroyed" not in entry["message"]]


def start_browser():
    """Start Chromium. In continuous integration a missing browser is a failure."""
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        assert not os.environ.get("CI"), "Chromium or its driver is missing"
        pytest.skip("needs chromium and chromedriver (on Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
