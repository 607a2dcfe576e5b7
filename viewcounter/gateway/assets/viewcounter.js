// viewcounter: counts views and watch time of the videos of this page.
//
//   <script async src="https://counts.example.com/v1/viewcounter.js" data-key="vcp_..." data-video="XpVt6Z1Gjjo"></script>
//
// data-key    a public key whose origins name this page's
// data-video  optional: counts one view of this video when the script has loaded
// data-viewer optional: who is watching, if your site knows; goes with every event. Without it nobody is told apart:
//             the script makes up no id, looks at nothing of the device and stores nothing on it
//
//   viewcounter.track("like", "XpVt6Z1Gjjo")                      one event of any type
//   viewcounter.watch(document.querySelector("video"), "XpVt...")  a view at the first play, then the seconds played
//   viewcounter.setViewer("account-4711")                          whose events come from now on; null: nobody's
//   viewcounter.flush()                                            send what waits, now
//   viewcounter.counters                                           what became of every event
//
// Events are collected for a second and sent together; when the page is left or hidden, at once. A batch is handed to
// the browser (sendBeacon), which sends it even if the page is gone. Each event has an id of its own that holds its
// time, so whatever is sent twice is counted once.
(() => {
  "use strict";

  const LINGER_MS = 1000;
  const BATCH_EVENTS = 100; // about 20 KB; browsers take 64 KB of beacons that are under way
  const QUEUE_EVENTS = 1000; // beyond it new events are dropped
  const RETRY_MS = [2000, 60000]; // first and longest pause after a failure
  const WATCH_SECONDS = 10; // played seconds in one event
  const STEP_SECONDS = 2; // a longer jump of the position was a seek, nobody watched it
  const VIEWER = /^[^\u0000-\u0020\u007f-\u00a0\u2028\u2029\ufeff\ud800-\udfff]{1,128}$/u;

  const script = document.currentScript;
  const key = script.dataset.key;
  const address = new URL("/v1/events", script.src).href + "?key=" + encodeURIComponent(key || "");

  const counters = { tracked: 0, sent: 0, dropped: 0, refused: 0 };
  const queue = [];
  let viewer = null;
  const watchers = [];
  let timer = null;
  let retryMs = 0;

  // RFC 9562, version 7: 48 bits of milliseconds, then chance.
  function makeId(ms) {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    for (let i = 5, rest = ms; i >= 0; i--, rest = Math.floor(rest / 256)) bytes[i] = rest % 256;
    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
  }

  function track(eventType, videoId, value) {
    counters.tracked++;
    if (queue.length >= QUEUE_EVENTS) {
      counters.dropped++;
      return;
    }
    const now = Date.now();
    const event = {
      event_id: makeId(now),
      video_id: String(videoId),
      event_type: eventType,
      occurred_at: new Date(now).toISOString(),
    };
    if (value !== undefined) event.value = value;
    if (viewer !== null) event.viewer_id = viewer;
    queue.push(event);
    if (queue.length >= BATCH_EVENTS && retryMs === 0) flush();
    else schedule(Math.max(LINGER_MS, retryMs));
  }

  function setViewer(viewerId) {
    for (const report of watchers) report(); // what was played so far is of whoever watched until now
    viewer = viewerId === null || viewerId === undefined || viewerId === "" ? null : String(viewerId);
    if (viewer !== null && !VIEWER.test(viewer)) {
      viewer = null; // the service would refuse the events themselves
      console.error("viewcounter: a viewer has 1 to 128 printable characters without white space; nobody is named");
    }
  }

  function schedule(ms) {
    if (timer === null) timer = setTimeout(flush, ms);
  }

  function flush() {
    clearTimeout(timer);
    timer = null;
    while (queue.length > 0) {
      const batch = queue.splice(0, BATCH_EVENTS);
      const body = JSON.stringify(batch); // as text: a page may send that anywhere without asking first
      if (navigator.sendBeacon && navigator.sendBeacon(address, body)) {
        counters.sent += batch.length;
        retryMs = 0;
      } else {
        post(batch, body);
        return; // one at a time: its answer says whether to go on
      }
    }
  }

  async function post(batch, body) {
    let status = 0;
    try {
      const answer = await fetch(address, { method: "POST", body, keepalive: true, credentials: "omit" });
      status = answer.status;
    } catch (error) {
      // No answer at all: the network, or a server that does not let this page read it.
    }
    if (status === 0 || status === 429 || status >= 500) {
      queue.unshift(...batch); // under the same ids
      counters.dropped += queue.splice(QUEUE_EVENTS).length;
      retryMs = Math.min(RETRY_MS[1], Math.max(RETRY_MS[0], retryMs * 2));
      schedule(retryMs * (0.5 + Math.random() / 2));
      return;
    }
    counters[status < 300 ? "sent" : "refused"] += batch.length;
    retryMs = 0;
    if (queue.length > 0) schedule(LINGER_MS);
  }

  function watch(element, videoId) {
    let seconds = 0;
    let position = null; // null: not playing
    let hasPlayed = false;

    function advance() {
      if (position === null) return;
      const step = element.currentTime - position;
      if (step > 0 && step < STEP_SECONDS * Math.max(1, element.playbackRate)) seconds += step;
      position = element.currentTime;
    }

    function report() {
      advance();
      if (seconds < 0.001) return;
      track("watch_time", videoId, Math.round(seconds * 1000) / 1000);
      seconds = 0;
    }

    element.addEventListener("playing", () => {
      if (!hasPlayed) track("view", videoId);
      hasPlayed = true;
      position = element.currentTime;
    });
    element.addEventListener("timeupdate", () => {
      advance();
      if (seconds >= WATCH_SECONDS) report();
    });
    element.addEventListener("seeking", () => {
      position = element.currentTime;
    });
    for (const name of ["pause", "ended"]) {
      element.addEventListener(name, () => {
        report();
        position = null;
      });
    }
    watchers.push(report);
  }

  function leave() {
    for (const report of watchers) report();
    flush();
  }

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") leave();
  });
  addEventListener("pagehide", leave);

  setViewer(script.dataset.viewer);
  globalThis.viewcounter = { track, watch, setViewer, flush, counters };
  if (!key) console.error("viewcounter: the script has no data-key; nothing can be sent");
  else if (script.dataset.video) track("view", script.dataset.video);
})();
