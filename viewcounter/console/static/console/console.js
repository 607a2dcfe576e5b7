// Charts from JSON in the page, copy buttons, typed names, and a word on pages that could no longer be refreshed.
"use strict";
(() => {
  const find = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = new Map();

  // <div class="vc-chart" data-vc-chart="ID"></div> shows <script type="application/json" id="ID">:
  // {"title", "x": [seconds since 1970], "series": [{"label", "values": [number or null]}]}
  const draw = (box) => {
    const data = JSON.parse(document.getElementById(box.dataset.vcChart).textContent);
    const axis = { stroke: find("--vc-quiet"), grid: { stroke: find("--vc-line"), width: 1 }, ticks: { show: false } };
    const plot = new uPlot({
      width: Math.max(200, box.clientWidth),
      height: 180,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), data.zone || "Etc/UTC"),
      scales: { y: { range: (_, low, high) => [Math.min(0, low), high > 0 ? high * 1.05 : 1] } },
      axes: [axis, { ...axis, size: 60 }],
      series: [{}, ...data.series.map((series, number) => ({
        label: series.label,
        stroke: find(`--vc-series-${number % 4 + 1}`),
        width: 2,
        points: { show: data.x.length < 3 },
      }))],
    }, [data.x, ...data.series.map((series) => series.values)], box);
    drawn.set(box, plot);
  };

  const drawAll = () => {
    for (const [box, plot] of drawn) {
      plot.destroy();
      drawn.delete(box);
    }
    document.querySelectorAll("[data-vc-chart]").forEach(draw);
  };

  const mark = (event, isStale) => {
    const part = event.target.closest("[hx-get]");
    if (part) part.classList.toggle("vc-is-stale", isStale);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-vc-copy]");
    if (!button) return;
    navigator.clipboard.writeText(document.getElementById(button.dataset.vcCopy).textContent.trim())
      .then(() => { button.textContent = "Copied"; });
  });

  // <input data-vc-typed="NAME">: the form's submit button works once the name is typed. The server checks it as well.
  const check = (field) => {
    const button = field.form.querySelector("[type=submit]");
    button.disabled = field.value !== field.dataset.vcTyped;
  };
  document.addEventListener("input", (event) => { if (event.target.dataset.vcTyped) check(event.target); });

  document.addEventListener("htmx:afterSwap", drawAll);
  document.addEventListener("htmx:afterRequest", (event) => mark(event, !event.detail.successful));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawAll(); } });
  addEventListener("DOMContentLoaded", () => {
    drawAll();
    document.querySelectorAll("[data-vc-typed]").forEach(check);
  });
})();
