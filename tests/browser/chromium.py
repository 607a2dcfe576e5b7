"""A real Chromium, driven by its DevTools protocol over two pipes: JSON messages, each ended by a NUL byte."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pace import limit
from tests.waiting import wait_until

SETTING = "VIEWCOUNTER_TEST_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
ANSWER_SECONDS = 60.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
)


def find_chromium() -> list[str]:
    """The command line of the setting, else of the program on PATH. Skips the test, loudly, where there is none."""
    if configured := shlex.split(os.environ.get(SETTING, "")):
        return configured
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return [found]
    reason = (
        f"no Chromium here: THE SCRIPT FOR WEB PAGES IS NOT CHECKED IN A BROWSER. Install one, or name it in {SETTING}"
    )
    warnings.warn(reason, stacklevel=2)
    pytest.skip(reason)


class Chromium:
    """Started and ended as a context, and used by one thread."""

    def __init__(self, command: list[str], *, profile: Path) -> None:
        self._command = [*command, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._tabs: dict[str, Tab] = {}
        self._answers: dict[int, dict[str, Any]] = {}
        self._last_id = 0
        self._lock = threading.Lock()
        """Held while a command is numbered and written."""

    def __enter__(self) -> "Chromium":
        (read_here, write_there), (read_there, write_here) = os.pipe(), os.pipe()
        # Chromium reads from its descriptor 3 and writes to 4.
        redirect = f'exec "$@" 3<&{read_there} 4>&{write_there}'
        self._process = subprocess.Popen(
            ["bash", "-c", redirect, "chromium", *self._command],
            pass_fds=(read_there, write_there),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_there)
        os.close(write_there)
        self._commands = os.fdopen(write_here, "wb", buffering=0)
        self._messages = os.fdopen(read_here, "rb")
        self._reader = threading.Thread(target=self._read_messages, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(limit(ANSWER_SECONDS))
        self._commands.close()
        self._messages.close()

    def open(self, url: str) -> "Tab":
        target_id = self.call("Target.createTarget", url="about:blank")["targetId"]
        session_id = self.call("Target.attachToTarget", targetId=target_id, flatten=True)["sessionId"]
        tab = self._tabs[session_id] = Tab(self, target_id=target_id, session_id=session_id)
        tab.call("Runtime.enable")
        tab.call("Page.enable")
        tab.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
        tab.go_to(url)
        return tab

    def open_unwatched(self, url: str) -> None:
        """Without a session, for what Chromium does not do in pages that somebody debugs."""
        self.call("Target.createTarget", url=url)

    def call(self, method: str, *, session_id: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = self._send(method, session_id, parameters)
        wait_until(lambda: number in self._answers, what=method, within_seconds=ANSWER_SECONDS)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def listen_to_frame(self, session_id: str, tab: "Tab") -> None:
        """A frame in a process of its own writes on the tab's console, too."""
        self._tabs[session_id] = tab
        self._send("Runtime.enable", session_id, {})

    def _send(self, method: str, session_id: str | None, parameters: dict[str, Any]) -> int:
        with self._lock:
            self._last_id += 1
            message = {"id": self._last_id, "method": method, "params": parameters}
            if session_id is not None:
                message["sessionId"] = session_id
            self._commands.write(json.dumps(message).encode() + b"\0")
            return self._last_id

    def _read_messages(self) -> None:
        rest = b""
        while piece := os.read(self._messages.fileno(), 65536):
            *whole, rest = (rest + piece).split(b"\0")
            for text in whole:
                message = json.loads(text)
                if "id" in message:
                    self._answers[message["id"]] = message
                elif tab := self._tabs.get(message.get("sessionId", "")):
                    tab.read_event(message["method"], message["params"])


class Tab:
    """`console`: what scripts of its pages have written there, errors that nobody caught included."""

    def __init__(self, browser: Chromium, *, target_id: str, session_id: str) -> None:
        self._browser = browser
        self._target_id = target_id
        self._session_id = session_id
        self._loaded_count = 0
        self.console: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, session_id=self._session_id, **parameters)

    def go_to(self, url: str) -> None:
        self._await_load(lambda: self.call("Page.navigate", url=url))

    def go_back(self) -> None:
        self.call("Runtime.evaluate", expression="history.back()")

    def _await_load(self, act: Callable[[], object]) -> None:
        before = self._loaded_count
        act()
        wait_until(lambda: self._loaded_count > before, what="a page to be loaded", within_seconds=ANSWER_SECONDS)

    def run(self, code: str) -> Any:
        """The value of `code`, an expression or a promise."""
        answer = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def show(self) -> None:
        """In front of the other tabs, which are hidden by that."""
        self._browser.call("Target.activateTarget", targetId=self._target_id)

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target_id)

    def read_event(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded_count += 1
        elif method == "Runtime.consoleAPICalled":
            self.console.append(
                " ".join(str(part.get("value", part.get("description"))) for part in parameters["args"])
            )
        elif method == "Target.attachedToTarget":
            self._browser.listen_to_frame(parameters["sessionId"], self)
        elif method == "Runtime.exceptionThrown":
            self.console.append(str(parameters["exceptionDetails"]))
