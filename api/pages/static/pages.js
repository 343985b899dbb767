// What scripts add to pages that work without them: copying, confirming, keys, charts. No state, no other host.
"use strict";

function each(root, selector, work) {
  root.querySelectorAll(selector).forEach(work);
}

function copyOnClick(button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    const before = button.textContent;
    button.textContent = "Copied";
    button.classList.add("done");
    setTimeout(() => { button.textContent = before; button.classList.remove("done"); }, 1500);
  });
}

function confirmOnSubmit(form) {
  form.addEventListener("submit", (event) => {
    if (!window.confirm(form.dataset.confirm)) event.preventDefault();
  });
}

// The browser keeps the position of a reader who goes back; a form that is sent twice is refused by the server.
function disableWhenSent(form) {
  form.addEventListener("submit", (event) => {
    if (event.defaultPrevented) return;
    setTimeout(() => each(form, "button", (button) => { button.disabled = true; }), 0);
  });
}

const compact = new Intl.NumberFormat("en", { notation: "compact" });
const inUtc = (seconds, from, to) => new Date(seconds * 1000).toISOString().slice(from, to).replace("T", " ");
const timeLabels = (_plot, ticks, _axis, _space, step) => ticks.map((tick) => (
  step >= 86400 || tick % 86400 === 0 ? inUtc(tick, 5, 10) : inUtc(tick, 11, 16)));

// Lines end where there is no value; a value without neighbours is a point, or it would not be seen.
const withoutNeighbours = (plot, series) => {
  const values = plot.data[series];
  return values.flatMap((value, at) => (
    value != null && values[at - 1] == null && values[at + 1] == null ? [at] : []));
};

function draw(element) {
  const series = JSON.parse(element.dataset.series);
  const style = getComputedStyle(document.documentElement);
  const line = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: line("--quiet"), grid: { stroke: line("--line"), width: 1 }, ticks: { stroke: line("--line") } };
  const colours = series.colors.map((name) => line(`--${name}`));
  const shown = (value) => (value == null ? "" : Math.round(value).toLocaleString("en"));
  const lines = series.names.map((name, index) => ({
    label: name,
    stroke: colours[index],
    width: 2,
    value: (_plot, value) => shown(value),
    points: { show: true, size: 5, fill: colours[index], filter: withoutNeighbours },
  }));
  // While nothing is pointed at, the legend has the newest values that are complete.
  const newest = (plot) => plot.setLegend({ idx: Math.max(series.values[0].length - 2, 0) });
  const chart = new uPlot({
    hooks: { ready: [(plot) => { newest(plot); plot.over.addEventListener("mouseleave", () => newest(plot)); }] },
    width: element.clientWidth,
    height: 180,
    cursor: { y: false },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: { y: { range: (_plot, _low, high) => [0, Math.max(high * 1.1, 1)] } },
    axes: [{ ...axis, values: timeLabels }, { ...axis, size: 56, values: (_plot, ticks) => ticks.map((tick) => compact.format(tick)) }],
    series: [{ label: "UTC", value: (_plot, value) => (value == null ? "" : inUtc(value, 0, 16)) }, ...lines],
  }, [series.values[0].map((_value, at) => series.start + at * series.step), ...series.values], element);
  new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height: 180 })).observe(element);
}

function enhance(root) {
  each(root, "[data-copy]", copyOnClick);
  each(root, "form[data-confirm]", confirmOnSubmit);
  each(root, "form[method=post]", disableWhenSent);
  if (window.uPlot) each(root, "[data-series]", draw);
}

const goTo = { o: "", e: "/events", d: "/deliveries", f: "/failures", r: "/replays", n: "/endpoints" };
let prefixed = false;

function rows() {
  return [...document.querySelectorAll("tbody tr[data-row]")];
}

function move(step) {
  const all = rows();
  const at = all.indexOf(document.activeElement.closest("tr[data-row]"));
  const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  next?.querySelector("a")?.focus();
}

function onKey(event) {
  if (event.target.closest("input, textarea, select, dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
  const base = document.body.dataset.base ?? document.querySelector("[data-base]")?.dataset.base;
  if (prefixed && base && event.key in goTo) location.assign(base + goTo[event.key]);
  prefixed = event.key === "g";
  const search = document.querySelector("[data-search]");
  const help = document.querySelector("dialog.keys");
  if (event.key === "/" && search) { event.preventDefault(); search.focus(); }
  if (event.key === "j") move(1);
  if (event.key === "k") move(-1);
  if (event.key === "?" && help) help.showModal();
  if (event.key === ".") document.querySelector("[data-key=tail]")?.click();
  if (event.key === "r") document.querySelector("[data-key=r] button")?.focus();
}

// In a frame: how high the page is, for the page around it, if that is of an origin that may frame this one.
function isAllowed(origin, pattern) {
  const [scheme, host] = pattern.split("://*");
  return host === undefined ? origin === pattern : origin.startsWith(`${scheme}://`) && origin.endsWith(host);
}

function announceHeight() {
  const allowed = (document.body.dataset.frameAncestors ?? "").split(" ").filter(Boolean);
  const around = location.ancestorOrigins?.[0];
  const targets = around ? [around].filter((origin) => allowed.some((one) => isAllowed(origin, one)))
    : allowed.filter((one) => !one.includes("*"));
  if (window.parent === window || targets.length === 0) return;
  const announce = () => {
    const height = Math.ceil(document.body.getBoundingClientRect().height);
    targets.forEach((origin) => window.parent.postMessage({ type: "sendoff:height", height }, origin));
  };
  new ResizeObserver(announce).observe(document.body);
}

document.addEventListener("DOMContentLoaded", () => {
  enhance(document);
  announceHeight();
  const nav = document.querySelector("header nav"), here = nav?.querySelector("[aria-current=page]");
  if (here) nav.scrollLeft = here.offsetLeft - nav.clientWidth / 2;  // on a phone it is one line that scrolls
  document.addEventListener("keydown", onKey);
  document.body.addEventListener("htmx:load", (event) => { if (event.target !== document.body) enhance(event.target); });
});
