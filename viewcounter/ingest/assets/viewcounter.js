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
//   viewcounter.counters                                           what became of every event, see below
//
// Events are collected for a second and sent together, a batch at a time, and again under the same ids until the service
// has answered. When the page is left or hidden, what waits is handed to the browser (sendBeacon), which sends it even if
// the page is gone; if the page is shown again, it sends the same events itself and reads the answer. Each event has an id
// of its own that holds its time, so whatever is sent twice is counted once.
//
// counters: tracked = accepted + refused + dropped + unconfirmed + pending + in_flight, always.
//   accepted     the service has stored them
//   refused      the service will never take them, or they cannot be written as JSON (the console says why)
//   dropped      too many waited (1,000)
//   unconfirmed  handed to the browser when the page was left or hidden: a page cannot read the answer to those. When the
//                page is shown again, up to 1,000 of them are pending again
//   pending      wait here; in_flight: sent, no answer yet
//
// A wrong key, origin or address loses nothing while the page is open: events wait, and the console says why.
// data-debug  each event, each batch and each answer on the console
(() => {
  "use strict";

  const LINGER_MS = 1000;
  const BATCH_EVENTS = 100;
  const BATCH_BYTES = 60000; // browsers refuse more than 64 KiB of requests that may outlive the page
  const ANSWER_MS = 30000; // without an answer by then, a batch is sent again
  const QUEUE_EVENTS = 1000; // beyond it new events are dropped
  const RETRY_MS = [2000, 60000]; // first and longest pause after a failure
  const REJECTED_MS = 60000; // pause after the service rejected the key, the origin or the address
  const BAD_REQUEST = [400, 413, 415]; // the batch itself is at fault: it would be refused again
  const RETRYABLE = [408, 422, 425, 429]; // of the statuses from 300 to 499
  const WATCH_SECONDS = 10; // played seconds in one event
  const STEP_SECONDS = 2; // a longer jump of the position was a seek, nobody watched it
  const VIEWER = /^[^\u0000-\u0020\u007f-\u00a0\u2028\u2029\ufeff\ud800-\udfff]{1,128}$/u;

  const script = document.currentScript;
  const key = script.dataset.key;
  const address = new URL("/v1/events", script.src).href + "?key=" + encodeURIComponent(key || "");

  const encoder = new TextEncoder();
  const queue = [];
  const handedOver = []; // unconfirmed; sent again if the page is shown again
  let inFlight = 0;
  let viewer = null;
  const watchers = [];
  let timer = null;
  let forgotten = 0; // unconfirmed, and too many to be kept for the page to send them again
  let pauseMs = 0; // since the last failure; 0: the last request did not fail
  let isRejected = false;
  const counters = {
    tracked: 0,
    accepted: 0,
    refused: 0,
    dropped: 0,
    get unconfirmed() {
      return handedOver.length + forgotten;
    },
    get pending() {
      return queue.length;
    },
    get in_flight() {
      return inFlight;
    },
  };
  const debug = "debug" in script.dataset ? (...parts) => console.log("viewcounter:", ...parts) : () => {};

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
    try {
      queue.push(encode(eventType, videoId, value));
    } catch (error) {
      counters.refused++;
      console.error("viewcounter: an event cannot be written as JSON and is not sent:", eventType, videoId, value, error);
      return;
    }
    debug("tracked", queue[queue.length - 1].text);
    if (queue.length >= BATCH_EVENTS && pauseMs === 0) flush();
    else schedule(Math.max(LINGER_MS, pauseMs));
  }

  // An event as it will be sent. Throws for what is no JSON, such as a BigInt, before others wait behind it.
  function encode(eventType, videoId, value) {
    const now = Date.now();
    const event = {
      event_id: makeId(now),
      video_id: String(videoId),
      event_type: eventType,
      occurred_at: new Date(now).toISOString(),
    };
    if (value !== undefined) event.value = value;
    if (viewer !== null) event.viewer_id = viewer;
    const text = JSON.stringify(event);
    return { text, bytes: encoder.encode(text).length };
  }

  function setViewer(viewerId) {
    for (const report of watchers) report(); // the time played so far belongs to the previous viewer
    viewer = viewerId === null || viewerId === undefined || viewerId === "" ? null : String(viewerId);
    if (viewer !== null && !VIEWER.test(viewer)) {
      viewer = null; // the service would refuse the events themselves
      console.error("viewcounter: a viewer has 1 to 128 printable characters without white space; nobody is named");
    }
  }

  function schedule(ms) {
    if (timer === null) timer = setTimeout(flush, ms);
  }

  // Events that were tracked while the batch was under way have set a timer that knows nothing of the pause.
  function scheduleAnew(ms) {
    clearTimeout(timer);
    timer = setTimeout(flush, ms);
  }

  function flush() {
    clearTimeout(timer);
    timer = null;
    // One batch at a time: its answer says whether to go on.
    if (inFlight === 0 && queue.length > 0) post(takeBatch(BATCH_EVENTS));
  }

  // As many of the events that wait as one request may hold, at least one.
  function takeBatch(maxEvents) {
    let count = 1;
    let bytes = queue[0].bytes;
    while (count < Math.min(maxEvents, queue.length) && bytes + queue[count].bytes < BATCH_BYTES) {
      bytes += queue[count++].bytes + 1;
    }
    return queue.splice(0, count);
  }

  function join(batch) {
    return `[${batch.map((event) => event.text).join()}]`;
  }

  async function post(batch) {
    inFlight = batch.length;
    let status = 0;
    let answer = null;
    const deadline = new AbortController();
    const clock = setTimeout(() => deadline.abort(), ANSWER_MS);
    try {
      // As text: a page may send that anywhere without asking first. A redirect would lose the body.
      const options = { method: "POST", body: join(batch), credentials: "omit", redirect: "manual" };
      // A single event that is too large to outlive the page is posted all the same, for the service to say so.
      const keepalive = batch.length > 1 || batch[0].bytes < BATCH_BYTES;
      const response = await fetch(address, { ...options, keepalive, signal: deadline.signal });
      status = response.type === "opaqueredirect" ? 301 : response.status;
      answer = await response.json();
    } catch (error) {
      debug("no answer that can be read", status, error); // no network, or a server that does not let this page read
    }
    clearTimeout(clock);
    inFlight = 0;
    settle(batch, status, answer);
    debug("answer", status, answer, JSON.stringify(counters));
  }

  function settle(batch, status, answer) {
    let again = batch;
    if (status === 202) {
      counters.accepted += batch.length;
      again = [];
    } else if ((status === 207 || status === 422) && answer !== null && Array.isArray(answer.items)) {
      again = settleItems(batch, answer.items);
    } else if (BAD_REQUEST.includes(status)) {
      counters.refused += batch.length;
      again = [];
      console.error(`viewcounter: the service refuses ${batch.length} events: ${explain(status, answer)}`);
    }
    isRejected = again.length > 0 && status >= 300 && status < 500 && !RETRYABLE.includes(status);
    queue.unshift(...again); // under the same ids
    counters.dropped += queue.splice(QUEUE_EVENTS).length;
    if (again.length === 0) {
      pauseMs = 0;
      if (queue.length >= BATCH_EVENTS) flush();
      else if (queue.length > 0) schedule(LINGER_MS);
    } else if (isRejected) {
      pauseMs = REJECTED_MS;
      const rest = `${queue.length} events wait in this page; next attempt in ${REJECTED_MS / 1000} s`;
      console.error(`viewcounter: the service rejects this page's events: ${explain(status, answer)} (${rest})`);
      scheduleAnew(pauseMs);
    } else {
      if (pauseMs === 0) console.warn(`viewcounter: the service did not store events (status ${status}); trying again`);
      pauseMs = Math.min(RETRY_MS[1], Math.max(RETRY_MS[0], pauseMs * 2));
      scheduleAnew(pauseMs * (0.5 + Math.random() / 2));
    }
  }

  // Returns the events to be sent again.
  function settleItems(batch, items) {
    const faults = new Map(items.map((item) => [item.index, item]));
    return batch.filter((event, index) => {
      const fault = faults.get(index);
      if (fault === undefined) counters.accepted++;
      else if (!fault.retryable) {
        counters.refused++;
        console.error(`viewcounter: the service refuses an event: ${fault.message} (${fault.code}, ${fault.field})`, event.text);
      }
      return fault !== undefined && fault.retryable;
    });
  }

  function explain(status, answer) {
    return answer !== null && answer.code ? `${status} ${answer.code}: ${answer.detail}` : `status ${status}`;
  }

  // The page may be gone in a moment: the browser sends these by itself, and tells no page the answer.
  function handOver() {
    if (isRejected) return; // they would be rejected too, unseen
    let maxEvents = navigator.sendBeacon ? BATCH_EVENTS : 0;
    while (queue.length > 0 && maxEvents > 0) {
      const batch = takeBatch(maxEvents);
      if (navigator.sendBeacon(address, join(batch))) {
        handedOver.push(...batch);
        debug("handed to the browser", batch.length, JSON.stringify(counters));
      } else {
        queue.unshift(...batch);
        maxEvents = Math.floor(batch.length / 2); // fill what is left of the browser's 64 KiB
      }
    }
    forgotten += handedOver.splice(0, handedOver.length - QUEUE_EVENTS).length;
    flush();
  }

  // The page is there again, and nobody knows what became of the events that the browser was to send.
  function takeBack() {
    const room = QUEUE_EVENTS - queue.length;
    queue.unshift(...handedOver.splice(Math.max(0, handedOver.length - room)));
    if (queue.length > 0) schedule(Math.max(LINGER_MS, pauseMs));
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
    handOver();
  }

  // A browser may load a page ahead of a click that never comes.
  function whenShown(act) {
    if (document.prerendering) document.addEventListener("prerenderingchange", act, { once: true });
    else act();
  }

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") leave();
    else takeBack();
  });
  addEventListener("pagehide", leave);
  addEventListener("pageshow", takeBack);

  setViewer(script.dataset.viewer);
  globalThis.viewcounter = { track, watch, setViewer, flush, counters };
  if (!key) console.error("viewcounter: the script has no data-key; nothing can be sent");
  else if (script.dataset.video) whenShown(() => track("view", script.dataset.video));
})();
