// One tree as a waterfall: where each tuple of it waited, where it was executed, and what became of it.
import { el, figures, keyed, setText, table } from "../dom.js";
import { componentAddress } from "../edges.js";
import { NONE, count, duration } from "../spell.js";
import { setAttribute, svg } from "../svg.js";
import { millis, treeAddress } from "./trees.js";

const WIDTH = 400;
const HEIGHT = 18;
/** What is shorter than this is drawn as long as this. */
const LEAST = 1.5;

const plain = (of) => (cell, hop) => setText(cell, of(hop));

function where(cell, hop) {
  if (!cell.firstChild) cell.append(el("a"), el("small"));
  cell.firstChild.href = componentAddress(hop.component);
  setText(cell.firstChild, hop.component);
  setText(cell.lastChild, `task ${hop.task}`);
}

function bar(cell, hop) {
  if (!cell.firstChild) {
    cell.className = "text";
    cell.append(svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img" }, svg("rect", { cls: "track", width: WIDTH, height: HEIGHT }), svg("rect", { cls: "waited", y: 5, height: 8 }), svg("rect", { cls: "executed", y: 2, height: 14 })));
  }
  const [, waited, executed] = cell.firstChild.children;
  const at = (time) => Math.min(WIDTH, (time / Math.max(hop.wholeMs, 1e-6)) * WIDTH);
  const span = (rect, from, length) => {
    const width = Math.max(LEAST, at(length));
    setAttribute(rect, "x", Math.min(at(from), WIDTH - width).toFixed(2));
    setAttribute(rect, "width", width.toFixed(2));
  };
  span(waited, hop.queuedMs, hop.waitedMs);
  span(executed, hop.startedMs, hop.executedMs);
  setAttribute(executed, "class", hop.outcome === "failed" ? "executed failed" : "executed");
  setAttribute(cell.firstChild, "aria-label", `queued at ${millis(hop.queuedMs)}, waited ${millis(hop.waitedMs)}, executed ${millis(hop.executedMs)}`);
}

function outcome(cell, hop) {
  cell.className = hop.outcome === "failed" ? "text bad reason" : "text reason";
  const said = { done: `done, emitted ${count(hop.emitted)}`, held: "held: answered later, or elsewhere", failed: `failed: ${hop.reason}` };
  setText(cell, said[hop.outcome]);
}

function value(cell, hop) {
  if (!cell.firstChild) {
    cell.className = "text";
    cell.append(el("code"));
  }
  setText(cell.firstChild, hop.valueKept ? JSON.stringify(hop.value) : "not kept: too large");
}

const COLUMNS = [
  ["Hop", "", where],
  ["When", "From the tree's opening to its end", bar, "text"],
  ["Queued", "After the tree was opened", plain(({ queuedMs }) => millis(queuedMs))],
  ["Waited", "In the queue, and behind others of its batch", plain(({ waitedMs }) => millis(waitedMs))],
  ["Executed", "", plain(({ executedMs }) => millis(executedMs))],
  ["Outcome", "", outcome, "text"],
  ["Value", "The tuple that was executed", value, "text"],
];

export default {
  name: "tree",
  title: "Tree",
  hidden: true,
  stream: ([root]) => ({ root }),
  open(root, _frame, [tree]) {
    this.root = root;
    setText(this.part("name"), tree ?? "");
  },
  part(name) {
    return this.root.querySelector(`[data-is=${name}]`);
  },
  update(tree) {
    this.part("none").hidden = tree !== null;
    this.part("all").hidden = tree === null;
    if (tree === null) return;
    setText(this.part("name"), tree.id ?? tree.name);
    setText(this.part("outcome"), tree.outcome === "unknown" ? "" : tree.outcome);
    this.part("outcome").classList.toggle("bad", ["failed", "rejected"].includes(tree.outcome));
    figures(this.part("figures"), [
      ["Attempt", tree.attempt ?? NONE],
      ["Opened by", tree.component === null ? NONE : `${tree.component} task ${tree.task}`],
      [tree.outcome === "open" ? "Open for" : "Took", millis(tree.tookMs)],
      ["Hops", count(tree.hops.length)],
      ...(tree.failedIn === null ? [] : [["Failed in", tree.failedIn]]),
      ["Root", tree.name],
    ]);
    this.part("reason").hidden = tree.reason === null;
    setText(this.part("reason"), tree.reason ?? "");
    keyed(this.part("notes"), tree.notes, (note) => note, (note) => el("li", { text: note }));
    const ends = tree.hops.map(({ startedMs, executedMs }) => startedMs + executedMs);
    const wholeMs = Math.max(tree.tookMs, ...ends);
    const hops = tree.hops.map((hop, index) => ({ ...hop, index, wholeMs }));
    this.part("hops").parentElement.hidden = hops.length === 0;
    table(this.part("hops"), COLUMNS, hops, ({ index }) => index);
    this.part("others").hidden = tree.attempts.length === 0;
    keyed(this.part("attempts"), tree.attempts, ({ root }) => root, ({ root }) => el("li", {}, el("a", { href: treeAddress(root) })), (item, one) => {
      setText(item.firstChild, `attempt ${one.attempt}, ${one.outcome} after ${millis(one.tookMs)}, ${duration(one.agoMs / 1000)} ago`);
    });
  },
};
