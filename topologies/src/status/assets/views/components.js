// The components: a row for each, with its exact counters.
import { el, figures, setText, table } from "../dom.js";
import { NONE, ago, count, duration, micros, percent } from "../spell.js";

/** A share from which on the page points at it. */
const HIGH = 0.8;

const plain = (of) => (cell, one) => setText(cell, of(one));
const bad = (of) => (cell, one) => {
  setText(cell, count(of(one)));
  cell.classList.toggle("bad", of(one) > 0);
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

function name(cell, one) {
  if (!cell.firstChild) cell.append(el("span"), " ", el("small"), el("small"));
  const [title, , kind, reads] = cell.childNodes;
  setText(title, one.id);
  setText(kind, one.isSpout ? "spout" : "bolt");
  setText(reads, one.reads.map(({ from, stream, grouping }) => `reads ${from}/${stream} (${grouping})`).join(", "));
}

const columns = (timeMs) => [
  ["Component", "", name],
  ["Tasks", "Instances of the component", plain((one) => one.tasks)],
  ["Emitted", "Tuples emitted by the component's code", plain((one) => count(one.emitted))],
  ["Transferred", "Tuples sent on: emitted times subscribers", plain((one) => count(one.transferred))],
  ["Executed", "Inputs executed", plain((one) => count(one.executed))],
  ["Acked", "Inputs acknowledged, or trees completed", plain((one) => count(one.acked))],
  ["Failed", "Inputs failed, or trees failed", bad((one) => one.failed)],
  ["Rejected", "Of the failed, those refused for good", bad((one) => one.rejected)],
  ["Timed out", "Executes and held inputs that took too long, or trees failed for one", bad((one) => one.timedOut)],
  ["Late", "Inputs that came too late for their windows", bad((one) => one.late)],
  ["Event time", "How far the last task has come in event time", plain((one) => (one.eventTimeMs == null ? NONE : ago(one.eventTimeMs, timeMs)))],
  ["Pending", "Trees neither completed nor failed", plain((one) => (one.isSpout || opensTrees(one) ? count(pending(one)) : NONE))],
  ["Restarted", "Tasks replaced after a panic or an error", bad((one) => one.restarted)],
  ["Capacity", "Share of time that the busiest task spent executing", share((one) => Math.max(0, ...one.taskStats.map(({ busy }) => busy)))],
  ["Execute p50", "Time spent in execute", plain((one) => micros(one.executeLatencyMicros?.p50))],
  ["Execute p99", "Time spent in execute", plain((one) => micros(one.executeLatencyMicros?.p99))],
  ["Complete p50", "Time from emit to the tree's completion", plain((one) => micros(one.completeLatencyMicros?.p50))],
  ["Complete p99", "Time from emit to the tree's completion", plain((one) => micros(one.completeLatencyMicros?.p99))],
  [
    "Window",
    "Fullest partition: offsets from the oldest record not done to the newest, of how many may; then records waiting for their next attempt",
    share((one) => (windows(one).length ? windowFill(one) : null), (one) => count(windows(one).reduce((sum, { waiting }) => sum + waiting, 0))),
  ],
  ["Queue", "Room taken in the fullest task's queue, and tuples waiting", share((one) => (one.isSpout ? null : queueFill(one)), (one) => count(one.queue.tuples))],
];

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
  open(root) {
    this.overview = root.querySelector("[data-is=overview]");
    this.table = root.querySelector("[data-is=components]");
  },
  update(page, { timeMs }) {
    figures(this.overview, overview(page));
    const reads = (id) => page.edges.filter(({ to }) => to === id);
    const all = [
      ...page.spouts.map((spout) => ({ ...spout, id: spout.spoutId, isSpout: true, reads: [] })),
      ...page.bolts.map((bolt) => ({ ...bolt, id: bolt.boltId, isSpout: false, reads: reads(bolt.boltId) })),
    ];
    table(this.table, columns(timeMs), all, ({ id }) => id);
  },
};
