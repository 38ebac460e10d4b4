// One component: its tasks, its edges, its errors and its settings.
import { el, figures, keyed, setText, table } from "../dom.js";
import { edgeColumns, numbered } from "../edges.js";
import { NONE, ago, count, eventTime, micros, percent, rate } from "../spell.js";
import { sparkline } from "../svg.js";
import { WINDOWS } from "./components.js";
import { showVerdict } from "./graph.js";

const plain = (of) => (cell, one) => setText(cell, of(one));
const bad = (of) => (cell, one) => {
  setText(cell, count(of(one)));
  cell.classList.toggle("bad", of(one) > 0);
};
const three = (title, of) => [["p50"], ["p99"], ["p999", "p99.9"]].map(([key, spelled = key]) => [`${title} ${spelled}`, "", plain((one) => micros(of(one)[key]))]);

const WINDOW_COLUMNS = [
  ["Window", "", plain(({ spelled }) => spelled)],
  ["Emitted", "", plain(({ rates }) => rate(rates.emitted))],
  ["Executed", "", plain(({ rates }) => rate(rates.executed))],
  ["Acked", "", plain(({ rates }) => rate(rates.acked))],
  ["Failed", "", plain(({ rates }) => rate(rates.failed))],
  ...three("Execute", ({ times }) => times.execute),
  ...three("Waited", ({ times }) => times.queueWait),
  ...three("Complete", ({ times }) => times.complete),
];

const taskColumns = (timeMs) => [
  ["Task", "", plain(({ task }) => task)],
  ["Busy", "Share of the last ten seconds", plain(({ shares }) => percent(shares.busy))],
  ["Blocked", "Share of the last ten seconds that it waited for room downstream", plain(({ shares }) => percent(shares.blocked))],
  ["Full", "Share of the last ten seconds that it waited with as many trees open as it may", plain(({ shares }) => percent(shares.full))],
  ["Emitted", "", plain(({ emitted }) => count(emitted))],
  ["Executed", "", plain(({ executed }) => count(executed))],
  ["Acked", "", plain(({ acked }) => count(acked))],
  ["Failed", "", bad(({ failed }) => failed)],
  ["Rejected", "", bad(({ rejected }) => rejected)],
  ["Timed out", "", bad(({ timedOut }) => timedOut)],
  ["Exhausted", "Results of its own that it gave up", bad(({ treesExhausted }) => treesExhausted)],
  ["Restarted", "", bad(({ restarted }) => restarted)],
  ["Late", "", bad(({ late }) => late)],
  ["Pending", "", plain(({ pending }) => count(pending))],
  ["Queue", "Tuples that wait, of how many may", plain(({ queue }) => (queue.capacityTuples ? `${count(queue.tuples)} of ${count(queue.capacityTuples)}` : NONE))],
  ...three("Execute", (one) => one.executeLatencyMicros),
  ...three("Waited", (one) => one.queueWaitMicros),
  ...three("Complete", (one) => one.completeLatencyMicros),
  ["Event time", "", plain(({ eventTimeMs }) => eventTime(eventTimeMs, timeMs))],
];

const SPARKS = [
  ["Rate", "rate", ({ rates }, isSpout) => rate(rates["10s"][isSpout ? "emitted" : "executed"]), undefined],
  ["Failed", "failed", ({ rates }) => rate(rates["10s"].failed), undefined],
  ["Busy", "busy", ({ tasks }) => percent(tasks.reduce((sum, { busy }) => sum + busy, 0) / Math.max(1, tasks.length)), 1],
];

function fillError(item, { task, error, timeMs }, now) {
  if (!item.firstChild) item.append(el("strong"), " ", el("small"), el("pre"));
  setText(item.children[0], `task ${task}`);
  setText(item.children[1], ago(timeMs, now));
  setText(item.children[2], error);
}

export default {
  name: "component",
  title: "Component",
  hidden: true,
  stream: ([component]) => ({ component }),
  open(root, _frame, [name]) {
    this.root = root;
    setText(this.part("name"), name ?? "");
  },
  part(name) {
    return this.root.querySelector(`[data-is=${name}]`);
  },
  update(page, { timeMs }) {
    this.part("none").hidden = page !== null;
    this.part("all").hidden = page === null;
    if (page === null) return;
    const { stats, moving, graph } = page;
    const isSpout = page.componentType === "spout";
    setText(this.part("name"), page.name);
    setText(this.part("kind"), `${page.componentType} of ${page.tasks} ${page.tasks === 1 ? "task" : "tasks"}`);
    showVerdict(this.part("verdict"), graph.verdict);
    figures(this.part("totals"), [
      ["Emitted", count(stats.emitted)],
      ["Executed", isSpout ? NONE : count(stats.executed)],
      ["Acked", count(stats.acked)],
      ["Failed", count(stats.failed)],
      ["Rejected", count(stats.rejected)],
      ["Timed out", count(stats.timedOut)],
      ["Restarted", count(stats.restarted)],
    ]);
    keyed(this.part("sparks"), SPARKS, ([title]) => title, ([title]) => el("figure", {}, el("figcaption", { text: title })), (figure, [title, series, now, top]) => {
      setText(figure.firstChild, `${title}: ${now(moving, isSpout)}`);
      sparkline(figure, moving.series[series], `${title} in the last ten minutes`, top);
    });
    const windows = WINDOWS.map(([key, spelled]) => ({ key, spelled, rates: moving.rates[key], times: moving.micros[key] }));
    table(this.part("windows"), WINDOW_COLUMNS, windows, ({ key }) => key);
    const tasks = stats.taskStats.map((task, at) => ({ ...task, shares: moving.tasks[at] }));
    table(this.part("tasks"), taskColumns(timeMs), tasks, ({ task }) => task);
    const edges = numbered(graph.edges).filter(({ from, to }) => from === page.name || to === page.name);
    table(this.part("edges"), edgeColumns(timeMs), edges, ({ index }) => index);
    this.part("no-errors").hidden = page.errors.length > 0;
    keyed(this.part("errors"), page.errors, ({ task }) => task, () => el("li"), (item, error) => fillError(item, error, timeMs));
    figures(this.part("settings"), page.settings.map(({ name, value }) => [name, value]));
  },
};
