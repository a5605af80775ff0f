"""The pages in a real browser: headless Chromium, driven through its debugging pipe."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time

import pytest
from tests.cli.test_kill import command, prepare

from onfly.report import build_campaign_report, build_report
from onfly.report.compare import build_comparison
from onfly.schemas.model import ErrorStatistics
from onfly.testing.models import toy_model

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (path := shutil.which(name))
    ),
    None,
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]


class Browser:
    """As much of the DevTools protocol as is needed: messages are JSON between zero bytes."""

    def __init__(self, profile, width=1280, height=900):
        to_child, self.write_end = os.pipe()
        self.read_end, from_child = os.pipe()
        # out of the way of 3 and 4, which the browser wants
        pipes = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (to_child, from_child)]

        def connect():
            os.dup2(pipes[0], 3)
            os.dup2(pipes[1], 4)

        self.process = subprocess.Popen(
            [
                CHROMIUM,
                "--headless=new",
                "--no-sandbox",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--no-first-run",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                "--remote-debugging-pipe",
            ],
            preexec_fn=connect,
            pass_fds=(3, 4),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (to_child, from_child, *pipes):
            os.close(fd)
        self.buffer, self.number, self.events = b"", 0, []
        self.session, self.page = None, "about:blank"
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.write_end)
        os.close(self.read_end)

    def _receive(self, deadline):
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.read_end], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self.read_end, 1 << 20)
            if not part:
                raise ConnectionError("the browser has ended")
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, timeout=240, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def show(self, path):
        """Open a page, unless it is the one that is open."""
        if self.page != f"file://{path}":
            self.open(path)

    def open(self, path):
        self.events.clear()
        self.page = f"file://{path}"
        self.call("Page.navigate", url=self.page)
        self.wait_until(self.page)

    def wait_until(self, url, timeout=240):
        """Wait until a page is there with all its scripts run."""
        deadline = time.monotonic() + timeout
        script = "document.readyState === 'complete' ? location.href : ''"
        while True:
            # between two pages there may be no context to run the script in
            with contextlib.suppress(AssertionError):
                if self.run(script) == url:
                    return
            assert time.monotonic() < deadline, f"{url} was not loaded"
            time.sleep(0.1)

    def run(self, script):
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def complaints(self):
        """Console messages of warning or worse, uncaught errors, and failed loads."""
        found = []
        for event in self.events:
            parameters = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled":
                if parameters["type"] in ("error", "assert"):
                    found.append(str(parameters["args"]))
            elif event["method"] == "Log.entryAdded":
                if parameters["entry"]["level"] == "error":
                    found.append(parameters["entry"]["text"])
            elif event["method"] == "Network.loadingFailed":
                found.append(str(parameters))
        return found

    def requests(self):
        """Everything loaded besides the page itself and data in it."""
        urls = [
            e["params"]["request"]["url"]
            for e in self.events
            if e["method"] == "Network.requestWillBeSent"
        ]
        return [u for u in urls if u != self.page and not u.startswith(("data:", "blob:"))]

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


# Number of coloured pixels (neither grey nor white) of a figure: axes, texts and grids are grey,
# data are not.
COLOURED = """
(async (key) => {
  const drawn = document.querySelector(`[data-figure="${key}"] :is(svg, canvas)`);
  const canvas = document.createElement("canvas");
  canvas.width = 800; canvas.height = 500;
  const context = canvas.getContext("2d");
  let image = drawn;
  if (drawn.tagName !== "CANVAS") {
    const copy = drawn.cloneNode(true);
    copy.setAttribute("width", 800); copy.setAttribute("height", 500);
    image = new Image();
    const text = new XMLSerializer().serializeToString(copy);
    await new Promise((done) => {
      image.onload = done;
      image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
    });
  }
  context.drawImage(image, 0, 0, 800, 500);
  const data = context.getImageData(0, 0, 800, 500).data;
  let count = 0;
  for (let i = 0; i < data.length; i += 4) {
    const high = Math.max(data[i], data[i + 1], data[i + 2]);
    const low = Math.min(data[i], data[i + 1], data[i + 2]);
    if (data[i + 3] > 100 && high - low > 40) count += 1;
  }
  return count;
})("KEY")
"""
KEYS = """
Array.from(document.querySelectorAll("[data-figure]")).map((e) => {
  const drawn = e.querySelector("svg, canvas");
  return [e.dataset.figure, drawn !== null, drawn ? drawn.getBoundingClientRect().width : 0];
})
"""


@pytest.fixture(scope="module")
def page(finished_run, tmp_path_factory):
    return build_report(finished_run, tmp_path_factory.mktemp("page") / "report.html", png=False)


def _check_figures(browser, at_least, only=None):
    figures = browser.run(KEYS)
    assert len(figures) >= at_least
    for key, drawn, width in figures:
        if only is not None and key != only:
            continue
        assert drawn, key
        assert width > 250, key
        assert browser.run(COLOURED.replace("KEY", key)) > 150, key
    return {key for key, _, _ in figures}


def test_report_of_a_finished_run(browser, page, tmp_path):
    browser.open(page)
    keys = _check_figures(browser, 14)
    assert {
        "comparison",
        "labels",
        "energy-errors",
        "coverage",
        "likelihood",
        "md",
        "structure",
    } <= keys
    assert browser.complaints() == []
    assert browser.requests() == []
    assert browser.run("document.title").startswith("Ca8Zr8HS24")
    # nothing sticks out to the side
    assert browser.run("document.documentElement.scrollWidth - window.innerWidth") <= 0
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 50_000


def test_slider_and_table_work(browser, page):
    browser.show(page)
    moved = browser.run("""
    (() => {
      const view = document.getElementById("structure");
      const canvas = view.querySelector("canvas"), slider = view.querySelector("input");
      const pictures = [canvas.toDataURL()], title = view.querySelector("output").textContent;
      slider.value = 0;
      slider.dispatchEvent(new Event("input"));
      pictures.push(canvas.toDataURL());
      const move = {buttons: 1, movementX: 40, movementY: 10};
      const event = new PointerEvent("pointermove", move);
      canvas.dispatchEvent(event);
      pictures.push(canvas.toDataURL());
      view.querySelector("input[type=checkbox]").click();
      pictures.push(canvas.toDataURL());
      return [title, view.querySelector("output").textContent, new Set(pictures).size];
    })()
    """)
    assert moved == ["last frame of the MD", "label 0 · first structures · 0 ps", 4]
    errors = browser.run("""
    (() => {
      document.getElementById("label-table").open = true;
      const table = document.querySelector("#label-table table");
      table.tHead.rows[0].cells[4].click();
      return Array.from(table.tBodies[0].rows).map((row) => row.cells[4].textContent);
    })()
    """)
    values = [float(text) for text in errors if text != "–"]
    assert values == sorted(values)
    assert errors[-1] == "–"  # the first label has no prediction
    assert len(values) == len(errors) - 1
    assert browser.complaints() == []


@pytest.mark.slow
def test_report_that_a_run_wrote(browser, tmp_path):
    """As the demo does, with a model that takes milliseconds."""
    home = prepare(tmp_path / "home", "resident")
    done = command(home, "never", "run", "run.yaml", "--run-id", "r", "--quiet", report=True)
    assert done.returncode == 0, done.stderr
    browser.open(home / "artifacts" / "runs" / "r" / "report.html")
    keys = _check_figures(browser, 12)
    assert {"labels", "energy-errors", "lambda", "z-scores", "md", "doubt", "chains"} <= keys
    assert browser.run("document.title").startswith("Cu · r")
    assert browser.run("document.querySelectorAll('#label-table tbody tr').length") > 3
    assert browser.run("document.documentElement.scrollWidth - window.innerWidth") <= 0
    # on a desk's screen the small table is seen without scrolling
    cut = "(() => { const e = document.querySelector('.scroll:has(#quality)');"
    assert browser.run(cut + "return e ? e.scrollWidth - e.clientWidth : 0; })()") <= 1
    assert browser.complaints() == []
    assert browser.requests() == []


def test_report_of_a_running_molecule_on_a_phone(browser, write_run):
    run = {"phase": "explore", "audits": False, "molecule": True}
    page = build_report(write_run(n_steps=200, **run), png=False)
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=400,
        height=800,
        deviceScaleFactor=1,
        mobile=True,
    )
    try:
        browser.open(page)
        _check_figures(browser, 10)
        assert browser.complaints() == []
        assert browser.requests() == []
        assert browser.run("document.documentElement.scrollWidth") <= 400
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_campaign_sorts_filters_and_links(browser, write_run, tmp_path):
    names = list("abcd")
    folders = [
        write_run(run_id="a", n_steps=60),
        write_run(run_id="b", n_steps=300, molecule=True, phase="explore"),
        write_run(run_id="c", n_steps=120, audits=False),
        write_run(run_id="d", n_steps=40, phase="stopped", stop_reason="limit"),
    ]
    browser.open(build_campaign_report(folders, tmp_path / "campaign.html"))
    assert browser.run("document.documentElement.scrollWidth - window.innerWidth") <= 0
    order = """
    (() => {
      const table = document.getElementById("runs");
      const heads = Array.from(table.tHead.rows[0].cells);
      heads.find((head) => head.textContent === "NAME").click();
      return Array.from(table.tBodies[0].rows).map((row) => row.cells[1].textContent);
    })()
    """
    assert browser.run(order.replace("NAME", "Run")) == names
    assert browser.run(order.replace("NAME", "Run")) == names[::-1]
    assert browser.run(order.replace("NAME", "Time (ps)")) == ["d", "a", "b", "c"]
    # rows without audits stay at the end in both directions
    for _ in range(2):
        assert browser.run(order.replace("NAME", "Audits good"))[-1] == "c"
    shown = """
    (() => {
      const input = document.getElementById("filter");
      input.value = "TEXT";
      input.dispatchEvent(new Event("input"));
      const rows = Array.from(document.getElementById("runs").tBodies[0].rows);
      return rows.filter((row) => !row.hidden).map((row) => row.cells[1].textContent);
    })()
    """
    assert browser.run(shown.replace("TEXT", "stopped")) == ["d"]
    assert len(browser.run(shown.replace("TEXT", ""))) == len(names)
    assert browser.run(shown.replace("TEXT", "running")) == ["b"]
    links = browser.run("Array.from(document.querySelectorAll('#runs a')).map((a) => a.href)")
    assert sorted(links) == [f"file://{folder / 'report.html'}" for folder in folders]
    assert all((folder / "report.html").is_file() for folder in folders)
    assert browser.complaints() == []
    assert browser.requests() == []
    browser.events.clear()
    browser.run("document.querySelector('#runs tbody tr:not([hidden]) a').click()")
    browser.wait_until(f"file://{folders[1] / 'report.html'}")
    assert browser.run("document.querySelectorAll('.plot svg').length") >= 10
    assert browser.complaints() == []


def _narrow(browser, width=400):
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=800,
        deviceScaleFactor=1,
        mobile=True,
    )


def test_comparison_of_models_on_a_desk_and_a_phone(browser, tmp_path):
    known = {"n_labels": 40, "n_waits": 9, "coverage_interval": (0.75, 0.99)}
    errors = {"rmse": 0.02, "foundation_rmse": 0.2, "force_rmse": 0.04}
    models = [
        toy_model(
            tmp_path / "artifacts",
            f"CuAu-0123456789a{number}",
            state=state,
            audits=ErrorStatistics(n=20, foundation_force_rmse=0.16, **errors),
            **known,
        )
        for number, state in enumerate(("ready", "needs more audits", "not accurate enough"))
    ]
    page = build_comparison(models, {"state": ["a", "b", "b"]}, tmp_path / "c.html", png=False)
    browser.open(page)
    _check_figures(browser, 4)
    _narrow(browser)
    try:
        browser.open(page)
        _check_figures(browser, 4)
        assert browser.run("document.documentElement.scrollWidth") <= 400
        # every badge stays within its tile
        inside = browser.run("""
        Array.from(document.querySelectorAll(".tile .badge")).every((badge) =>
          badge.getBoundingClientRect().right <= badge.parentElement.getBoundingClientRect().right)
        """)
        assert inside
        assert browser.complaints() == []
        assert browser.requests() == []
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_campaign_on_a_phone_and_on_paper(browser, write_run, tmp_path):
    folders = [write_run(run_id=name, n_steps=60) for name in "ab"]
    page = build_campaign_report(folders, tmp_path / "campaign.html")
    _narrow(browser)
    try:
        browser.open(page)
        assert browser.run("document.documentElement.scrollWidth") <= 400
        assert browser.complaints() == []
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        hint = "getComputedStyle(document.querySelector('.subtitle .on-screen')).display"
        assert browser.run(hint) == "none", "nobody clicks on paper"
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")


def test_the_page_prints_with_its_tables_open(browser, page):
    browser.show(page)
    pdf = base64.b64decode(browser.call("Page.printToPDF", printBackground=True)["data"])
    assert pdf.startswith(b"%PDF")
    assert 3 <= pdf.count(b"/Type /Page\n") <= 12
    assert browser.complaints() == []


def test_the_checks_can_fail(browser, page):
    browser.show(page)
    browser.run("""document.querySelectorAll('[data-figure="drift"] svg path').forEach(
      (e) => e.remove())""")
    with pytest.raises(AssertionError, match="drift"):
        _check_figures(browser, 14, only="drift")
    browser.run("console.error('seen')")
    assert any("seen" in text for text in browser.complaints())
    browser.run("fetch('http://127.0.0.1:9/x').catch(() => 0)")
    assert browser.requests() == ["http://127.0.0.1:9/x"]
