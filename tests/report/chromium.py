"""Debian's Chromium without a window, driven over a pipe by its DevTools protocol."""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOUND = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ABSENT = "needs Chromium, which this machine does not have"
LOADED = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Tab:
    """One page. `events` holds all that was reported since it was opened: requests, logs, exceptions."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = reading, writing
        self.rest = b""
        self.count = 0
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result; events that come before it are kept."""
        self.count += 1
        message: dict[str, Any] = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = os.read(self.reading, 1 << 20)
            assert part, "Chromium is gone"
            self.rest += part
        text, self.rest = self.rest.split(b"\0", 1)
        return dict(json.loads(text))

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a file in a window of this size and colour scheme, and wait until it is loaded."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        while not any(e["method"] == "Page.loadEventFired" for e in self.events):
            self.events.append(self._message())

    def value(self, expression: str) -> Any:
        """Return what an expression of JavaScript is worth."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed
            )

    def names(self, method: str) -> list[dict[str, Any]]:
        """Return the parameters of the events of one kind since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=self._whole())["data"]
        path.write_bytes(base64.b64decode(data))

    def view(self, path: Path) -> None:
        """Write what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _whole(self) -> dict[str, float]:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}


@contextlib.contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """Yield a tab of a browser of its own, which is closed afterwards."""
    assert FOUND
    from_us, to_us = os.pipe(), os.pipe()
    # Chromium reads commands from descriptor 3 and answers on 4; ours move out of their way.
    ours = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (*from_us, *to_us)]
    for fd in (*from_us, *to_us):
        os.close(fd)
    reading, writing = ours[2], ours[1]

    def connect() -> None:
        os.dup2(ours[0], 3)
        os.dup2(ours[3], 4)

    command = [
        FOUND,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
    ]
    process = subprocess.Popen(command, preexec_fn=connect, pass_fds=(3, 4), stderr=subprocess.DEVNULL)
    os.close(ours[0])
    os.close(ours[3])
    try:
        yield Tab(reading, writing)
    finally:
        os.close(writing)
        os.close(reading)
        process.terminate()
        process.wait(timeout=20)


def unfold(tab: Tab, section: str) -> None:
    """Open a section and wait until what it draws when it comes to sight is drawn."""
    tab.value(f"$('{section}').querySelector('.fold').open = true")
    settle(tab)


def settle(tab: Tab) -> None:
    """Wait for two frames, because the table draws in the next one."""
    tab.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
