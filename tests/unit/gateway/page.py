"""A web page as far as the snippet can see one, in QuickJS: a real engine, with a clock and a network of the test's."""

import json
from collections.abc import Callable
from typing import Any

import quickjs

NOW_MS = 1769860800123
PRELUDE = """
globalThis.listeners = {};
globalThis.timers = new Map();
globalThis.timerCount = 0;
globalThis.now = NOW_MS;
globalThis.Date = class extends Date {
  constructor(...given) { super(...(given.length ? given : [globalThis.now])); }
  static now() { return globalThis.now; }
};
globalThis.setTimeout = (call, ms) => { timers.set(++timerCount, [now + ms, call]); return timerCount; };
globalThis.clearTimeout = (id) => { timers.delete(id); };
globalThis.pass = (ms) => {
  const until = now + ms;
  for (;;) {
    const due = [...timers].filter(([, [at]]) => at <= until).sort((a, b) => a[1][0] - b[1][0])[0];
    if (!due) break;
    timers.delete(due[0]);
    now = due[1][0];
    due[1][1]();
  }
  now = until;
};
globalThis.listen = (target) => (name, call) => { (target[name] = target[name] || []).push(call); };
globalThis.fire = (target, name) => { for (const call of target[name] || []) call(); };
globalThis.addEventListener = listen(listeners);
globalThis.document = {
  visibilityState: "visible",
  addEventListener: listen(listeners),
  currentScript: { src: SCRIPT_URL, dataset: DATASET },
};
globalThis.crypto = { getRandomValues: (bytes) => bytes.map(() => Math.random() * 256) };
globalThis.URL = class { constructor(path, base) { this.href = /^https?:\\/\\/[^/]+/.exec(base)[0] + path; } };
globalThis.console = { error: (text) => { globalThis.complaint = text; } };
globalThis.navigator = { sendBeacon: (url, body) => beacon(url, body) };
globalThis.fetch = async (url, options) => {
  const status = post(url, options.body);
  if (status === 0) throw new TypeError("no network");
  return { status };
};
globalThis.media = { currentTime: 0, playbackRate: 1, on: {} };
media.addEventListener = listen(media.on);
"""


class Page:
    """Runs `script`. `beacon` and `post` are the browser's network: whether it takes a beacon, the status of a post."""

    def __init__(
        self,
        script: str,
        *,
        url: str = "https://counts.example/v1/viewcounter.js",
        data: dict[str, str] | None = None,
        now_ms: int = NOW_MS,
        beacon: Callable[[str, str], bool] = lambda _url, _body: True,
        post: Callable[[str, str], int] = lambda _url, _body: 202,
    ) -> None:
        self._context = quickjs.Context()
        self._context.add_callable("beacon", beacon)
        self._context.add_callable("post", post)
        head = f"const SCRIPT_URL = {json.dumps(url)}, DATASET = {json.dumps(data or {})}, NOW_MS = {now_ms};"
        self._context.eval(head + PRELUDE)
        self._context.eval(script)

    def run(self, code: str) -> Any:
        """The value, by way of JSON, after everything that was promised."""
        text = self._context.eval(f"JSON.stringify((() => {{ {code} }})() ?? null)")
        while self._context.execute_pending_job():
            pass
        return json.loads(text)

    @property
    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = self.run("return viewcounter.counters;")
        return counters
