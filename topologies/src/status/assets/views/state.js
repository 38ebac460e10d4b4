// How far everything has come: states, windows, watermarks, partitions, micro-transactions.
import { el, figures, setText, table } from "../dom.js";
import { componentAddress } from "../edges.js";
import { NONE, bytes, count, duration, micros, moment, percent } from "../spell.js";

const plain = (of) => (cell, one) => setText(cell, of(one));
const bad = (of) => (cell, one) => {
  setText(cell, count(of(one)));
  cell.classList.toggle("bad", of(one) > 0);
};

const component = (cell, one) => {
  if (!cell.firstChild) cell.append(el("a"));
  cell.firstChild.href = componentAddress(one.component);
  setText(cell.firstChild, one.component);
};

/** How far behind the clock an event time is. */
function behind({ behindMs }) {
  if (behindMs === null) return NONE;
  return behindMs < 0 ? `${duration(-behindMs / 1000)} ahead` : behindMs < 1000 ? `${behindMs} ms` : duration(behindMs / 1000);
}

const STATES = [
  ["Component", "", component],
  ["State", "", (cell, state) => setText(cell, state.state)],
  ["Values", "How many keys it has values for", (cell, state) => setText(cell, count(state.entries))],
  ["Size", "Serialized keys and values, as they were last flushed; in memory they take more", (cell, state) => setText(cell, state.bytes === null ? NONE : bytes(state.bytes))],
  ["Changelog", "The topic that it is kept in", (cell, state) => setText(cell, state.changelog ?? "kept nowhere")],
];

const WINDOWS = [
  ["Component", "", component],
  ["Keys", "Keys that have windows open, or results that are not acknowledged, as of the last watermark or flush", plain(({ keys }) => count(keys))],
  ["Open windows", "Windows of all keys that are not complete, as of the last flush", plain(({ openWindows }) => count(openWindows))],
  ["Results open", "Given and not yet acknowledged", plain(({ openResults }) => count(openResults))],
  ["Results acked", "", plain(({ ackedResults }) => count(ackedResults))],
  ["Results failed", "Attempts that failed", bad(({ failedResults }) => failedResults)],
  ["Results given up", "", bad(({ exhaustedResults }) => exhaustedResults)],
  ["Late", "Inputs that came too late", bad(({ late }) => late)],
  ["Event time", "Of the task that is furthest behind", plain(({ eventTimeMs }) => (eventTimeMs === null ? NONE : moment(eventTimeMs)))],
  ["Behind", "How far that is behind this machine's clock", plain(behind)],
];

const WATERMARKS = [
  ["Input", "", plain(({ from, stream, to }) => `${from}${stream === "default" ? "" : `/${stream}`} → ${to}`)],
  ["Watermark", "Of the last sender that is not idle", plain((one) => (one.ended ? "the end of time" : moment(one.eventTimeMs)))],
  ["Behind", "How far that is behind this machine's clock", plain(behind)],
  ["Waited for", "Whether event time waits for it", plain(({ idle }) => (idle ? "no: all its senders are idle" : "yes"))],
];

const PARTITIONS = [
  ["Partition", "", plain(({ partition }) => partition)],
  ["Read by", "", plain((one) => `${one.component} task ${one.task}`)],
  ["Oldest open", "Offset of the oldest record that is not done", plain(({ oldest }) => count(oldest))],
  ["Span", "Offsets from there to the newest emitted, of how many may be", plain(({ span, limit }) => `${count(span)} of ${count(limit)} (${percent(limit ? span / limit : 0)})`)],
  ["Waiting", "Records that failed and wait for their next attempt or their dead letter", bad(({ waiting }) => waiting)],
];

export default {
  name: "state",
  title: "State",
  open(root) {
    this.root = root;
  },
  part(name) {
    return this.root.querySelector(`[data-is=${name}]`);
  },
  list(name, columns, items, keyOf) {
    this.part(`${name}-part`).hidden = items.length === 0;
    table(this.part(`${name}s`), columns, items, keyOf);
  },
  update({ states, windows, watermarks, partitions, transactions: own }) {
    this.part("none").hidden = states.length > 0;
    this.part("states").parentElement.hidden = states.length === 0;
    table(this.part("states"), STATES, states, (one) => `${one.component}/${one.state}`);
    this.list("window", WINDOWS, windows, (one) => one.component);
    this.list("watermark", WATERMARKS, watermarks, ({ from, stream, to }) => `${from}/${stream}/${to}`);
    this.list("partition", PARTITIONS, partitions, ({ partition }) => partition);
    this.part("transaction-part").hidden = own === null;
    if (own === null) return;
    figures(this.part("transactions"), [
      ["Open", `txid ${own.txid}`],
      ["Committed", `txid ${own.committed}`],
      ["Commits", count(own.commits)],
      ["Aborts", count(own.aborts)],
      ["Trees of the last", count(own.trees)],
      ["Its records", count(own.records)],
      ["Its bytes", bytes(own.bytes)],
      ["It lasted", micros(own.batchMs * 1000)],
      ["Its commit took", micros(own.commitMs * 1000)],
      ["Senders held, in all", micros(own.heldMs * 1000)],
    ]);
    this.part("abort").hidden = own.lastAbort === null;
    setText(this.part("abort"), own.lastAbort === null ? "" : `Taken back last: ${own.lastAbort}`);
  },
};
