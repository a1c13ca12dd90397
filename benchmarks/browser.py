"""A page in headless Chromium, spoken to over two pipes: what a reader would see, click and be told on the console.

The DevTools protocol runs over file descriptors 3 (to the browser) and 4 (from it), one JSON document after the other,
each ended by a zero byte: no port is opened and no library is needed. The browser resolves no host name.

Source: https://chromedevtools.github.io/devtools-protocol, and `--remote-debugging-pipe` of Chromium.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--hide-scrollbars",
)  # fmt: skip
DRAWN = "document.documentElement?.dataset.charts !== undefined"
"""True once a report has drawn all of its charts: it says so itself, with their number."""


_START = (
    "import os, sys; to, back, *words = sys.argv[1:];"
    "os.dup2(int(to), 3); os.dup2(int(back), 4); os.execv(words[0], words)"
)


class Browser:
    """One page; `told` are the errors and warnings of its console, `asked` the addresses that it wanted."""

    def __init__(self, process: "subprocess.Popen[bytes]", to: int, back: int) -> None:
        self._process, self._to, self._back = process, to, back
        self._rest, self._count = b"", 0
        self.told: list[str] = []
        self.asked: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    _session = None

    def call(self, method: str, timeout: float = 120.0, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its result; TimeoutError or RuntimeError if there is none."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout
        while True:
            answer = self._read(end, method)
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._note(answer)

    def open(self, page: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open the page and return; it may still be drawing."""
        self.resize(width, height)
        self.media(dark=dark)
        self.told.clear()
        self.asked.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())

    def resize(self, width: int, height: int) -> None:
        """The width is what the page gets; a window itself cannot be narrower than 500."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def media(self, *, dark: bool = False, kind: str = "") -> None:
        """Light or dark; `kind` print is how it goes to paper."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=kind, features=[scheme])

    def value(self, expression: str, timeout: float = 120.0) -> Any:
        """What the JavaScript expression is worth in the page; a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate", timeout, expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression: str, timeout: float = 120.0) -> float:
        """Seconds until the expression is true; TimeoutError if it stays false."""
        start = time.monotonic()
        while not self.value(f"Boolean({expression})"):
            if time.monotonic() - start > timeout:
                raise TimeoutError(f"not true after {timeout:g} s: {expression}")
            time.sleep(0.02)
        return time.monotonic() - start

    def click(self, x: float, y: float) -> None:
        """The left button at this place of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def place(self, expression: str) -> tuple[float, float]:
        """The middle of the element, scrolled into view."""
        found = self.value(
            f"(() => {{ const e = {expression}; e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return float(found[0]), float(found[1])

    def picture(self, whole: bool = True) -> bytes:
        """A PNG of the window or of the whole page."""
        shot = self.call(
            "Page.captureScreenshot", captureBeyondViewport=whole, **(self._whole() if whole else {})
        )
        return base64.b64decode(shot["data"])

    def paper(self) -> bytes:
        """The page as PDF."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def _whole(self) -> dict[str, Any]:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def _read(self, end: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(self._back, 1 << 20) if ready else b""
            if not piece:
                why = "the browser is gone" if ready else "no answer in time"
                raise TimeoutError(f"{method}: {why}")
            self._rest += piece
        text, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(text))

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.told.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.told.append(f"{params['type']}: {[one.get('value') for one in params['args']]}")
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.told.append(str(params["entry"]["text"]))
            case "Network.requestWillBeSent":
                self.asked.append(str(params["request"]["url"]))


def _pipe() -> tuple[int, int]:
    """Both ends, with numbers that are neither 3 nor 4."""
    moved = []
    for end in os.pipe():
        moved.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 50))
        os.close(end)
    return moved[0], moved[1]


@contextmanager
def browser(flags: Sequence[str] = ()) -> Iterator[Browser]:
    """A browser with a profile of its own, ended and removed behind the block."""
    if CHROMIUM is None:
        raise FileNotFoundError("no chromium, chromium-browser or google-chrome on this machine")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        ours_in, to = _pipe()
        back, ours_out = _pipe()
        words = [CHROMIUM, *FLAGS, *flags, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", _START, str(ours_in), str(ours_out), *words],
            pass_fds=(ours_in, ours_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(ours_in)
        os.close(ours_out)
        try:
            yield Browser(process, to, back)
        finally:
            os.close(to)  # the browser ends when nobody speaks to it
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(back)
