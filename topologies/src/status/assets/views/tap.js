// A tap: the last tuples of an edge, with a filter.
import { ask, part as encode } from "../actions.js";
import { el, keyed, setText, table } from "../dom.js";
import { edgeName, numbered } from "../edges.js";
import { count, rate } from "../spell.js";
import { millis, treeAddress } from "./trees.js";

const COLUMNS = [
  ["Number", "Counted since the tap was switched on", (cell, one) => setText(cell, count(one.number))],
  ["Ago", "", (cell, one) => setText(cell, millis(one.agoMs))],
  ["Tree", "", (cell, one) => {
    if (one.traced && !cell.firstChild) cell.append(el("a", { href: treeAddress(one.root), text: "traced" }));
    else if (!one.traced) setText(cell, one.root === null ? "none" : "not traced");
  }],
  ["Tuple", "As JSON", (cell, one) => {
    cell.className = "text";
    if (!cell.firstChild) cell.append(el("code"));
    setText(cell.firstChild, one.valueKept ? JSON.stringify(one.value) : "not kept: too large");
  }, "text"],
];

export default {
  name: "tap",
  title: "Tap",
  stream: ([edge]) => ({ edge: edge ?? "0" }),
  open(root, frame, [edge]) {
    this.root = root;
    this.edge = Number(edge ?? 0);
    this.failed = "";
    this.part("edge").addEventListener("change", () => {
      location.hash = `#/tap/${this.part("edge").value}`;
    });
    this.part("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.change(frame, "POST", "taps", { edge: this.edge, filter: this.part("filter").value });
    });
    this.part("off").addEventListener("click", () => this.change(frame, "DELETE", `taps/${this.edge}`));
  },
  part(name) {
    return this.root.querySelector(`[data-is=${name}]`);
  },
  async change(frame, method, path, body) {
    try {
      this.failed = "";
      await ask(`/api/v1/topology/${encode(frame.topology.id)}/${path}`, { method, body });
    } catch (error) {
      this.failed = error.message;
      setText(this.part("said"), this.failed);
    }
  },
  update({ graph, tap }) {
    const edges = numbered(graph.edges);
    keyed(this.part("edge"), edges, ({ index }) => index, ({ index }) => el("option", { value: index }), (option, edge) => setText(option, `${edgeName(edge)} (${edge.grouping})`));
    this.part("edge").value = this.edge;
    const edge = edges[this.edge];
    const isOn = tap?.on ?? false;
    this.part("off").disabled = !isOn;
    setText(this.part("on"), isOn ? "Switch on anew" : "Switch on");
    const passed = tap && tap.looked < tap.seen ? `; ${count(tap.seen - tap.looked)} went by unseen, in batches too large to be looked through` : "";
    const said = isOn
      ? `On: ${count(tap.seen)} tuples went by, ${count(tap.matched)} of ${count(tap.looked)} looked at were let through${passed}.`
      : `Off.${edge ? ` ${rate(edge.rate)} go by.` : " There is no such edge."}`;
    setText(this.part("said"), this.failed || said);
    table(this.part("tuples"), COLUMNS, tap?.tuples ?? [], ({ number }) => number);
    this.part("tuples").parentElement.hidden = !(tap?.tuples.length > 0);
  },
};
