// The components: a row for each, with its exact counters, and how they move.
import { el, figures, setText, table } from "../dom.js";
import { componentAddress } from "../edges.js";
import { NONE, count, duration, eventTime, micros, percent, rate } from "../spell.js";
import { sparkline } from "../svg.js";
import { showVerdict } from "./graph.js";

/** A share from which on the page points at it. */
const HIGH = 0.8;

/** The windows that rates and times are told over. */
export const WINDOWS = [["10s", "10 s"], ["1m", "1 min"], ["10m", "10 min"], ["all", "all time"]];

/** A count, and below it its rate. */
const counted = (of, counter, isBad = false) => (cell, one, window) => {
  if (!cell.firstChild) cell.append(el("span"), el("small"));
  const value = of(one);
  setText(cell.firstChild, count(value));
  cell.firstChild.classList.toggle("bad", isBad && value > 0);
  setText(cell.lastChild, value === null ? "" : rate(one.moving.rates[window][counter]));
};
const plain = (of) => (cell, one, window) => setText(cell, of(one, window));
const bad = (of) => (cell, one) => {
  const value = of(one);
  setText(cell, count(value));
  cell.classList.toggle("bad", value > 0);
};

function share(of, beside = () => "") {
  return (cell, one) => {
    const value = of(one);
    if (value === null) return setText(cell, NONE);
    if (!cell.querySelector("meter")) {
      cell.replaceChildren(el("meter", { min: 0, max: 1, high: HIGH, "aria-hidden": "true" }), el("span"));
    }
    cell.firstChild.value = value;
    setText(cell.lastChild, `${percent(value)} ${beside(one)}`.trim());
    cell.lastChild.classList.toggle("full", value >= HIGH);
  };
}

const windows = (one) => one.taskStats.flatMap((task) => task.windows);
const fill = (waiting, capacity) => (capacity === 0 ? 0 : waiting / capacity);
const queueFill = (one) =>
  Math.max(0, ...one.taskStats.map(({ queue: q }) => Math.max(fill(q.tuples, q.capacityTuples), fill(q.bytes, q.capacityBytes))));
const windowFill = (one) => Math.max(0, ...windows(one).map(({ span, limit }) => fill(span, limit)));
const opensTrees = (one) => one.taskStats.some((task) => task.pending + task.treesAcked + task.treesFailed > 0);
const pending = (one) => one.taskStats.reduce((sum, task) => sum + task.pending, 0);
const exhausted = (one) => one.taskStats.reduce((sum, task) => sum + task.treesExhausted, 0) + one.exhausted;
const most = (one, what) => Math.max(0, ...one.moving.tasks.map((task) => task[what]));

function name(cell, one) {
  if (!cell.firstChild) cell.append(el("a"), " ", el("small"), el("small"));
  const [title, , kind, reads] = cell.childNodes;
  title.href = componentAddress(one.id);
  setText(title, one.id);
  setText(kind, `${one.isSpout ? "spout" : "bolt"}${one.tasks > 1 ? ` ×${one.tasks}` : ""}`);
  setText(reads, one.reads.map(({ from, stream, grouping }) => `reads ${from}${stream === "default" ? "" : `/${stream}`} (${grouping})`).join(", "));
}

function moves(cell, one, window) {
  if (!cell.firstChild) cell.append(el("span", { cls: "rate" }));
  const now = one.moving.rates[window][one.isSpout ? "emitted" : "executed"];
  setText(cell.firstChild, rate(now));
  sparkline(cell, one.moving.series.rate, `${one.isSpout ? "Emitted" : "Executed"} in the last ten minutes, now ${rate(now)}`);
}

const latency = (kind, quantile) => plain((one, window) => micros(one.moving.micros[window][kind][quantile]));
const three = (title, hint, kind) => [["p50"], ["p99"], ["p999", "p99.9"]].map(([key, spelled = key]) => [`${title} ${spelled}`, hint, latency(kind, key)]);

const COLUMNS = [
  ["Component", "", name],
  ["Rate", "What bolts execute, and spouts emit; the line is the last ten minutes", moves],
  ["Busy", "Share of the last ten seconds that the busiest task was at work: near 100% the component is saturated", share((one) => most(one, "busy"))],
  ["Held up", "Share of the last ten seconds that a task waited for room downstream, or with as many trees open as it may", share((one) => Math.max(most(one, "blocked"), most(one, "full")))],
  ["Queue", "Room taken in the fullest task's queue, and tuples waiting", share((one) => (one.isSpout ? null : queueFill(one)), (one) => count(one.queue.tuples))],
  ["Emitted", "Tuples emitted by the component's code", counted((one) => one.emitted, "emitted")],
  ["Transferred", "Tuples sent on: emitted times subscribers", counted((one) => one.transferred, "transferred")],
  ["Executed", "Inputs executed", counted((one) => (one.isSpout ? null : one.executed), "executed")],
  ["Acked", "Inputs acknowledged, or trees completed", counted((one) => one.acked, "acked")],
  ["Failed", "Inputs failed, or trees failed", counted((one) => one.failed, "failed", true)],
  ["Rejected", "Of the failed, those refused for good", bad((one) => one.rejected)],
  ["Timed out", "Executes and held inputs that took too long, or trees failed for one", bad((one) => one.timedOut)],
  ["Exhausted", "Records given up after their last attempt because of this component, and results of its own that were given up", bad(exhausted)],
  ["Restarted", "Tasks replaced after a panic or an error", bad((one) => one.restarted)],
  ["Late", "Inputs that came too late for their windows", bad((one) => one.late)],
  ["Pending", "Trees neither completed nor failed", plain((one) => (one.isSpout || opensTrees(one) ? count(pending(one)) : NONE))],
  ...three("Execute", "Time spent in execute", "execute"),
  ...three("Waited", "Time an input waited in the queue", "queueWait"),
  ...three("Complete", "Time from emit to the tree's completion", "complete"),
  ["Capacity", "Share of its time since the start that the busiest task was at work", share((one) => Math.max(0, ...one.taskStats.map(({ busy }) => busy)))],
  [
    "Window",
    "Fullest partition: offsets from the oldest record not done to the newest, of how many may; then records waiting for their next attempt",
    share((one) => (windows(one).length ? windowFill(one) : null), (one) => count(windows(one).reduce((sum, { waiting }) => sum + waiting, 0))),
  ],
  ["Event time", "How far the last task has come in event time", plain((one) => eventTime(one.eventTimeMs, one.timeMs))],
];

/** Fills a choice of windows; `chosen` is told of the one that is. */
export function windowChoice(into, group, now, chosen) {
  for (const [key, spelled] of WINDOWS) {
    const button = el("input", { type: "radio", name: group, value: key });
    button.checked = key === now;
    button.addEventListener("change", () => chosen(key));
    into.append(el("label", {}, button, spelled));
  }
}

function delivery(page) {
  if (page.transactions) return "exactly once";
  return page.ackedDelivery ? "acked" : "at most once";
}

function overview(page) {
  const [all] = page.topologyStats;
  const own = page.transactions;
  const transactions = own
    ? [
        ["Transaction", own.txid],
        ["Committed", count(own.commits)],
        ["Taken back", count(own.aborts)],
        ["Records per commit", count(own.records)],
        ["Commit time", micros(own.commitMs * 1000)],
      ]
    : [];
  return [
    ["Uptime", duration(page.uptimeSeconds)],
    ["Delivery", delivery(page)],
    ...transactions,
    ["Acked", count(all.acked)],
    ["Failed", count(all.failed)],
    ["Timed out", count(all.timedOut)],
    ["Pending", count(all.pending)],
    ["Complete p50", micros(all.completeLatencyMicros.p50)],
    ["Complete p99", micros(all.completeLatencyMicros.p99)],
  ];
}

export default {
  name: "components",
  title: "Components",
  window: "10s",
  open(root) {
    const part = (name) => root.querySelector(`[data-is=${name}]`);
    this.parts = { verdict: part("verdict"), overview: part("overview"), table: part("components") };
    windowChoice(part("windows"), "components-window", this.window, (window) => {
      this.window = window;
      if (this.data) this.update(...this.data);
    });
    this.data = null;
  },
  update(page, frame) {
    this.data = [page, frame];
    showVerdict(this.parts.verdict, page.verdict);
    figures(this.parts.overview, overview(page));
    const reads = (id) => page.edges.filter(({ to }) => to === id);
    const more = (id) => ({ id, moving: page.moving[id], exhausted: page.exhausted[id] ?? 0, timeMs: frame.timeMs });
    const all = [
      ...page.spouts.map((spout) => ({ ...spout, ...more(spout.spoutId), isSpout: true, reads: [] })),
      ...page.bolts.map((bolt) => ({ ...bolt, ...more(bolt.boltId), isSpout: false, reads: reads(bolt.boltId) })),
    ];
    const columns = COLUMNS.map(([title, hint, of]) => [title, hint, (cell, one) => of(cell, one, this.window)]);
    table(this.parts.table, columns, all, ({ id }) => id);
  },
};
