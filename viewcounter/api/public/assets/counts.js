// viewcounter: shows numbers of videos in this page.
//
//   <script async src="https://counts.example.com/v1/counts.js" data-key="vcp_..."></script>
//   <span data-viewcounter="XpVt6Z1Gjjo">many</span> views
//   <span data-viewcounter="XpVt6Z1Gjjo" data-event="like" data-live></span> likes
//
// data-key    of the script: a public key with the scope counts:public whose origins name this page's
// data-event  of an element: the event type, view unless given
// data-live   of an element: its number moves by itself while the page is shown
//
//   viewcounterCounts.refresh()   read the numbers again, also of elements that were added
//
// The text of an element stays as it is until its number is known. Numbers are written as the page's language writes them.
// Nothing is stored on the device, and nothing is sent but the ids of the videos and the key.
(() => {
  "use strict";

  const BATCH_VIDEOS = 100;
  const STREAMS = 2; // browsers open six connections to a server, and the page needs some
  const POLL_MS = 10000; // of live numbers without a stream
  const ADDED_MS = 200; // elements that are added together are read together
  const RECONNECT_MS = 15000; // after a stream was refused

  const script = document.currentScript;
  const query = "?key=" + encodeURIComponent(script.dataset.key || "");
  const resolve = (path) => new URL(path, script.src).href + query;
  const format = new Intl.NumberFormat(document.documentElement.lang || undefined);
  const streams = new Map(); // video -> EventSource
  const refused = new Map(); // video -> when its stream was refused
  let timer = null;

  const find = (more = "") => [...document.querySelectorAll("[data-viewcounter]" + more)];
  const listVideos = (elements) => [...new Set(elements.map((element) => element.dataset.viewcounter))].filter(Boolean);

  function show(videoId, counts) {
    for (const element of find()) {
      const count = counts[element.dataset.event || "view"];
      if (element.dataset.viewcounter !== videoId || count === undefined) continue;
      const text = format.format(count);
      if (element.textContent !== text) element.textContent = text;
      element.dataset.count = count;
    }
  }

  async function read(videos) {
    for (let start = 0; start < videos.length; start += BATCH_VIDEOS) {
      const body = JSON.stringify({ video_ids: videos.slice(start, start + BATCH_VIDEOS) });
      try {
        const answer = await fetch(resolve("/v1/counts/query"), { method: "POST", body, credentials: "omit" });
        const content = await answer.json();
        if (!answer.ok) throw new Error(`${answer.status} ${content.code}: ${content.detail}`);
        for (const video of content.videos) show(video.video_id, video.counts);
      } catch (error) {
        console.warn("viewcounter: numbers cannot be read:", error.message);
      }
    }
  }

  function watch(videoId) {
    const source = new EventSource(resolve(`/v1/videos/${encodeURIComponent(videoId)}/counts/stream`));
    source.addEventListener("counts", (event) => show(videoId, JSON.parse(event.data).counts));
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return; // the browser connects again by itself
      streams.delete(videoId);
      refused.set(videoId, Date.now());
    });
    streams.set(videoId, source);
  }

  // Streams for the first live videos of a shown page; the others are read now and then.
  function follow() {
    const live = document.hidden ? [] : listVideos(find("[data-live]"));
    const wanted = live.slice(0, STREAMS);
    for (const [videoId, source] of streams) {
      if (!wanted.includes(videoId)) {
        source.close();
        streams.delete(videoId);
      }
    }
    for (const videoId of wanted) {
      if (!streams.has(videoId) && Date.now() - (refused.get(videoId) || 0) >= RECONNECT_MS) watch(videoId);
    }
    return live.filter((videoId) => !streams.has(videoId));
  }

  // A stream begins with the numbers of its video.
  function refresh() {
    follow();
    return read(listVideos(find()).filter((videoId) => !streams.has(videoId)));
  }

  function start() {
    refresh();
    setInterval(() => read(follow()), POLL_MS);
    document.addEventListener("visibilitychange", follow);
    new MutationObserver((changes) => {
      const isAdded = (node) =>
        node.nodeType === Node.ELEMENT_NODE && (node.matches("[data-viewcounter]") || node.querySelector("[data-viewcounter]"));
      const isOurs = (change) => change.type === "attributes" || [...change.addedNodes].some(isAdded);
      if (timer !== null || !changes.some(isOurs)) return;
      timer = setTimeout(() => {
        timer = null;
        refresh();
      }, ADDED_MS);
    }).observe(document.documentElement, {
      childList: true,
      subtree: true,
      attributeFilter: ["data-viewcounter", "data-event", "data-live"],
    });
  }

  window.viewcounterCounts = { refresh };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
