// The graph: where tuples go, how busy who is, and what holds whom up.
import { el, figures, setText, table } from "../dom.js";
import { componentAddress, edgeColumns, edgeName, numbered } from "../edges.js";
import { count, micros, percent, rate } from "../spell.js";
import { setAttribute, svg } from "../svg.js";

/** Narrower than this, the graph goes from top to bottom. */
const NARROW = 760;
/** The graph is not drawn smaller than this part of its size; it scrolls then. */
const SMALLEST = 0.62;
const PADDING = 8;
const LETTERS = 20;

const short = (text, most = LETTERS) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** A smooth way through the points: bends are rounded at the middles between them. */
function way(points) {
  const [first, ...rest] = points;
  const middle = ([ax, ay], [bx, by]) => [(ax + bx) / 2, (ay + by) / 2];
  let path = `M${first.join(" ")}`;
  rest.forEach((point, index) => {
    const next = rest[index + 1];
    path += next ? `Q${point.join(" ")} ${middle(point, next).join(" ")}` : `L${point.join(" ")}`;
  });
  return path;
}

function makeNode(node, [x, y], { width, height }) {
  const left = x - width / 2;
  const top = y - height / 2;
  const bar = { x: left + PADDING, y: top + height - 12, height: 5, rx: 2 };
  return svg(
    "a",
    { cls: "node", href: componentAddress(node.name) },
    svg("title"),
    svg("rect", { cls: "box", x: left, y: top, width, height, rx: 8 }),
    svg("text", { cls: "name", x: left + PADDING, y: top + 19, text: short(node.name) }),
    svg("text", { cls: "what", x: left + PADDING, y: top + 37 }),
    svg("text", { cls: "share", x: left + width - PADDING, y: top + 37 }),
    svg("rect", { cls: "bar", ...bar, width: width - 2 * PADDING }),
    svg("rect", { cls: "bar busy", ...bar, width: 0 }),
    svg("rect", { cls: "bar waiting", ...bar, width: 0 }),
  );
}

function fillNode(made, node, verdict, held, { width }) {
  const [title, , , what, share, bar, busy, waiting] = made.children;
  const room = width - 2 * PADDING;
  const waits = Math.min(1 - Math.min(1, node.busy), Math.max(node.blocked, node.full));
  setText(what, `${node.kind}${node.tasks > 1 ? ` ×${node.tasks}` : ""} · ${rate(node.rate)}`);
  setText(share, `${Math.round(node.busy * 100)}%`);
  setAttribute(busy, "width", (room * Math.min(1, node.busy)).toFixed(1));
  setAttribute(waiting, "x", (Number(bar.getAttribute("x")) + room * Math.min(1, node.busy)).toFixed(1));
  setAttribute(waiting, "width", (room * waits).toFixed(1));
  const isNamed = verdict.component === node.name;
  const isCulprit = isNamed && ["bottleneck", "failing"].includes(verdict.kind);
  made.classList.toggle("culprit", isCulprit);
  made.classList.toggle("named", isNamed && !isCulprit);
  made.classList.toggle("held", held.has(node.name));
  const kind = node.kind === "spout" ? `complete p99 ${micros(node.micros.p99)}` : `execute p99 ${micros(node.micros.p99)}`;
  const words = [
    `${node.name}, ${node.kind} of ${node.tasks} ${node.tasks === 1 ? "task" : "tasks"}`,
    rate(node.rate),
    `busy ${percent(node.busy)}`,
    node.blocked > 0.01 && `waits for room ${percent(node.blocked)}`,
    node.full > 0.01 && `waits for its trees ${percent(node.full)}`,
    kind,
    isNamed && "named above",
    held.has(node.name) && "held up",
  ];
  setText(title, words.filter(Boolean).join(", "));
}

function makeEdge(edge, { points, label: [x, y] }) {
  // The rate stands above the line, the rest below.
  const text = (row, cls) => svg("text", { cls, x, y: y + [-5, 13, 26][row] });
  return svg(
    "a",
    { cls: "edge", href: `#/tap/${edge.index}` },
    svg("title"),
    svg("path", { cls: "line", d: way(points), "marker-end": "url(#arrow)" }),
    text(0, "rate"),
    text(1, "queue"),
    text(2, "grouping"),
  );
}

function fillEdge(made, edge, isHeldUp) {
  const [title, , speed, queue, grouping] = made.children;
  const full = `${Math.round(edge.fullest * 100)}%`;
  setText(speed, rate(edge.rate));
  setText(queue, `queue ${full} · p99 ${micros(edge.waitMicros.p99)}`);
  const stream = edge.stream === "default" ? "" : `${edge.stream} · `;
  setText(grouping, short(`${stream}${edge.grouping}${edge.feedback ? " ↺" : ""}`, 24));
  made.classList.toggle("held", isHeldUp);
  made.classList.toggle("still", edge.rate === 0);
  made.classList.toggle("feedback", edge.feedback);
  setText(title, `${edgeName(edge)} by ${edge.grouping}: ${rate(edge.rate)}, queue ${full} full, waited p99 ${micros(edge.waitMicros.p99)}${isHeldUp ? ", held up" : ""}`);
}

function arrow() {
  const tip = svg("path", { d: "M0 0L8 4L0 8z", cls: "tip" });
  return svg("defs", {}, svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, tip));
}

/** The sentence on top of a view. */
export function showVerdict(paragraph, verdict) {
  if (paragraph.dataset.sentence === verdict.sentence) return;
  paragraph.dataset.sentence = verdict.sentence;
  paragraph.dataset.kind = verdict.kind;
  // What stands between backticks is a name.
  const parts = verdict.sentence.split("`");
  paragraph.replaceChildren(...parts.map((part, at) => (at % 2 ? el("strong", { text: part }) : part)));
}

export default {
  name: "graph",
  title: "Graph",
  open(root) {
    const part = (name) => root.querySelector(`[data-is=${name}]`);
    this.parts = { verdict: part("verdict"), totals: part("totals"), graph: part("graph"), edges: part("edges") };
    this.drawn = null;
    this.layout = null;
    this.asked = null;
  },
  /** Asks once for each topology where everything is drawn. */
  async ask(id, data, frame) {
    if (this.asked === id) return;
    this.asked = id;
    const parts = this.parts;
    try {
      const answer = await fetch(`/api/v1/topology/${encodeURIComponent(id)}/layout`);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const layout = await answer.json();
      if (parts !== this.parts) return;
      this.layout = { id, ...layout };
      this.draw(data, frame);
    } catch {
      if (parts === this.parts) this.asked = null;
    }
  },
  draw(data) {
    const { graph } = this.parts;
    const { layout } = this;
    if (layout?.id !== data.id) return;
    const which = graph.clientWidth < NARROW ? "narrow" : "wide";
    const drawing = layout[which];
    if (drawing.nodes.length !== data.nodes.length) return;
    if (this.drawn?.which !== which || this.drawn.id !== data.id) {
      const nodes = data.nodes.map((node, at) => makeNode(node, drawing.nodes[at], layout.node));
      const edges = numbered(data.edges).map((edge, at) => makeEdge(edge, drawing.edges[at]));
      const picture = svg("svg", { viewBox: `0 0 ${drawing.width} ${drawing.height}`, role: "group", "aria-label": "Components and edges" }, arrow(), ...edges, ...nodes);
      graph.replaceChildren(picture);
      this.drawn = { which, id: data.id, nodes, edges, picture };
    }
    const scale = Math.min(1, Math.max(SMALLEST, (graph.clientWidth - 2) / drawing.width));
    setAttribute(this.drawn.picture, "width", Math.floor(drawing.width * scale));
    setAttribute(this.drawn.picture, "height", Math.floor(drawing.height * scale));
    const heldUp = new Set(data.verdict.heldUp);
    const held = new Set([...heldUp].map((at) => data.edges[at].from));
    held.delete(data.verdict.component);
    data.nodes.forEach((node, at) => fillNode(this.drawn.nodes[at], node, data.verdict, held, layout.node));
    numbered(data.edges).forEach((edge) => fillEdge(this.drawn.edges[edge.index], edge, heldUp.has(edge.index)));
  },
  update(data, frame) {
    showVerdict(this.parts.verdict, data.verdict);
    const { totals } = data;
    figures(this.parts.totals, [
      ["Tuples in", rate(totals.emitRate)],
      ["Trees done", rate(totals.ackRate)],
      ["Trees failed", rate(totals.failRate)],
      ["Complete p50", micros(totals.completeMicros.p50)],
      ["Complete p99", micros(totals.completeMicros.p99)],
      ["Complete p99.9", micros(totals.completeMicros.p999)],
      ["Acked", count(totals.acked)],
      ["Failed", count(totals.failed)],
      ["Pending", count(totals.pending)],
    ]);
    this.ask(data.id, data, frame);
    this.draw(data);
    table(this.parts.edges, edgeColumns(frame.timeMs), numbered(data.edges), ({ index }) => index);
  },
};
