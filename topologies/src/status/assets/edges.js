// A table of edges, for the graph and for a component's own page.
import { el, setText } from "./dom.js";
import { NONE, bytes, count, eventTime, micros, percent, rate } from "./spell.js";

/** Where a component's own page is. */
export const componentAddress = (name) => `#/component/${encodeURIComponent(name)}`;

/** An edge in words. */
export const edgeName = ({ from, stream, to }) => `${from}${stream === "default" ? "" : `/${stream}`} → ${to}`;

const plain = (of) => (cell, edge) => setText(cell, of(edge));

function name(cell, edge) {
  if (!cell.firstChild) cell.append(el("span"), el("small"));
  setText(cell.firstChild, edgeName(edge));
  setText(cell.lastChild, `${edge.grouping}${edge.feedback ? ", feedback" : ""}`);
}

function fill(cell, edge) {
  if (!cell.firstChild) cell.append(el("meter", { min: 0, max: 1, high: 0.8, "aria-hidden": "true" }), el("span"));
  cell.firstChild.value = edge.fullest;
  setText(cell.lastChild, percent(edge.fullest));
  cell.lastChild.classList.toggle("full", edge.fullest >= 0.8);
}

function tap(cell, edge) {
  if (!cell.firstChild) cell.append(el("a", { text: "tap" }));
  cell.firstChild.href = `#/tap/${edge.index}`;
  cell.firstChild.setAttribute("aria-label", `Tap ${edgeName(edge)}`);
}

/** The columns, for `table`; edges carry their place among all as `index`. */
export const edgeColumns = (timeMs) => [
  ["Edge", "Who emits, the stream where it has a name, and who reads", name],
  ["Rate", "Tuples a second in the last ten seconds", plain((edge) => rate(edge.rate))],
  ["Tuples", "Since the start", plain((edge) => count(edge.tuples))],
  ["Per batch", "Tuples that travelled together, on average", plain((edge) => (edge.batches ? count(Math.round(edge.tuples / edge.batches)) : NONE))],
  ["Fullest queue", "The share of the fullest task's queue that this edge takes, in tuples or bytes", fill],
  ["Waiting", "Tuples in the queues of all tasks, of how many may be", plain(({ queue }) => `${count(queue.tuples)} of ${count(queue.capacityTuples)}`)],
  ["Bytes waiting", "As sampled, of how many may be", plain(({ queue }) => `${bytes(queue.bytes)} of ${bytes(queue.capacityBytes)}`)],
  ["Waited p50", "Time in the queue, in the last ten seconds", plain((edge) => micros(edge.waitMicros.p50))],
  ["Waited p99", "Time in the queue, in the last ten seconds", plain((edge) => micros(edge.waitMicros.p99))],
  ["Waited p99.9", "Time in the queue, in the last ten seconds", plain((edge) => micros(edge.waitMicros.p999))],
  ["Senders held", "How often a full queue made a sender wait, since the start", plain((edge) => count(edge.refused))],
  ["Event time", "How far its senders have come in event time", plain((edge) => eventTime(edge.eventTimeMs, timeMs))],
  ["Tap", "See its last tuples", tap],
];

/** Edges with their places. */
export const numbered = (edges) => edges.map((edge, index) => ({ ...edge, index }));
