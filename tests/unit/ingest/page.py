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
globalThis.TextEncoder = class {
  encode(text) { return { length: unescape(encodeURIComponent(text)).length }; }
};
globalThis.AbortController = class {
  signal = { onabort() {} };
  abort() { this.signal.onabort(); }
};
globalThis.URL = class { constructor(path, base) { this.href = /^https?:\\/\\/[^/]+/.exec(base)[0] + path; } };
globalThis.complaints = [];
globalThis.logged = [];
const complain = (text) => { complaints.push(text); };
globalThis.console = { error: complain, warn: complain, log: (...parts) => { logged.push(parts); } };
globalThis.navigator = { sendBeacon: (url, body) => beacon(url, body) };
globalThis.fetch = async (url, options) => {
  if (options.redirect !== "manual") throw new TypeError("a redirect would be followed");
  const [status, body] = JSON.parse(post(url, options.body));
  if (status === 0) throw new TypeError("no network");
  if (status < 0) return new Promise((_, reject) => { options.signal.onabort = () => reject(new Error("aborted")); });
  const isRedirect = status >= 300 && status < 400;
  const type = isRedirect ? "opaqueredirect" : "cors";
  return { type, status: isRedirect ? 0 : status, json: async () => JSON.parse(body) };
};
globalThis.media = { currentTime: 0, playbackRate: 1, on: {} };
media.addEventListener = listen(media.on);
"""


class Page:
    """Runs `script`. `beacon` and `post` are the browser's network: whether it takes a beacon; status and body of the
    answer to a post, status 0 for none that the page may read, -1 for none ever."""

    def __init__(
        self,
        script: str,
        *,
        url: str = "https://counts.example/v1/viewcounter.js",
        data: dict[str, str] | None = None,
        now_ms: int = NOW_MS,
        beacon: Callable[[str, str], bool] = lambda _url, _body: True,
        post: Callable[[str, str], tuple[int, str]] = lambda _url, _body: (202, "{}"),
    ) -> None:
        self._context = quickjs.Context()
        self._context.add_callable("beacon", beacon)
        self._context.add_callable("post", lambda url, body: json.dumps(post(url, body)))
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

    @property
    def complaints(self) -> list[str]:
        """Warnings and errors on the console."""
        complaints: list[str] = self.run("return complaints;")
        return complaints
