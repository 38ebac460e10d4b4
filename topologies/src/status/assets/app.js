// The frame: which view is shown, and the stream of its numbers, which is taken up again by itself when it breaks.
//
// A view is a module whose default export has `name` and `title`, and may have `stream(args)`, what it asks of the stream
// beside its name; `open(root, frame, args)`, called once its template is in place; `update(data, frame)`, called with what
// the server tells every second; `close()`. Its address is `#/NAME/ARG/…`.
import { showControls } from "./controls.js";
import { el, keyed, setText } from "./dom.js";
import { duration } from "./spell.js";
import component from "./views/component.js";
import components from "./views/components.js";
import errors from "./views/errors.js";
import graph from "./views/graph.js";
import log from "./views/log.js";
import state from "./views/state.js";
import tap from "./views/tap.js";
import tree from "./views/tree.js";
import trees from "./views/trees.js";

const VIEWS = [graph, components, trees, tap, errors, log, state, component, tree];
const AGAIN_MS = 1000;
/** Silence after which the stream counts as broken: something is told every second. */
const SILENCE_MS = 10000;

const byId = (id) => document.getElementById(id);
const main = byId("view");
const connection = byId("connection");
const choice = byId("topology-choice");

/** What views are told about where they are. `topology` is the summary of the one that is shown, or null. */
const frame = { topology: null, timeMs: 0 };
let shown = null;
let args = [];
/** The id of the topology that was shown last, also while none runs. */
let last = null;
let stream = null;
let silence = 0;
let again = 0;

function say(text, lost) {
  setText(connection, text);
  connection.classList.toggle("lost", lost);
}

function lost() {
  say("connection lost; trying again", true);
  stream?.close();
  stream = null;
  clearTimeout(silence);
  clearTimeout(again);
  again = setTimeout(retry, AGAIN_MS);
}

/** Listens again, unless the server asks for its token, as one that was started again does: then the page is loaded again,
    which asks for it. A stream does not tell why it was refused. */
async function retry() {
  const waits = again;
  let status = 0;
  try {
    ({ status } = await fetch("/api/v1/topology/summary", { signal: AbortSignal.timeout(SILENCE_MS) }));
  } catch {
    // Nobody answers yet: the stream will not either.
  }
  // Meanwhile it may have begun to listen, as where another view was opened.
  if (again !== waits || stream) return;
  if (status === 401) location.reload();
  else listen();
}

function heard() {
  clearTimeout(silence);
  silence = setTimeout(lost, SILENCE_MS);
}

function listen() {
  stream?.close();
  clearTimeout(again);
  if (document.hidden || !shown) return;
  const asked = new URLSearchParams({ view: shown.name, ...shown.stream?.(args) });
  if (frame.topology) asked.set("topology", frame.topology.id);
  stream = new EventSource(`/api/v1/events?${asked}`);
  const of = stream;
  const on = (event, act) =>
    stream.addEventListener(event, ({ data }) => {
      if (stream !== of) return;
      heard();
      act(JSON.parse(data));
    });
  on("topologies", showTopologies);
  on("view", (data) => {
    say("live", false);
    shown.update?.(data, frame);
  });
  stream.onerror = () => stream === of && lost();
  heard();
}

function showTopologies({ timeMs, topologies }) {
  frame.timeMs = timeMs;
  const before = frame.topology?.id;
  const now = topologies.find(({ id }) => id === before) ?? topologies[0] ?? null;
  frame.topology = now;
  setText(byId("topology-name"), topologies.length === 1 ? now.name : "");
  choice.hidden = topologies.length < 2;
  keyed(choice, topologies, ({ id }) => id, ({ id }) => el("option", { value: id }), (option, { id }) => setText(option, id));
  if (now) choice.value = now.id;
  const status = byId("topology-status");
  setText(status, now?.status ?? "");
  status.classList.toggle("active", now?.status === "ACTIVE");
  setText(byId("topology-uptime"), now ? `up ${duration(now.uptimeSeconds)}` : "No topology runs in this process.");
  document.title = now ? `${now.name} – ${shown.title} – topo` : "topo";
  showControls(now);
  if (!now) say("live", false);
  // Started again, it has another id, and another token for its changes.
  if (last && now && now.id !== last && !topologies.some(({ id }) => id === last)) location.reload();
  last = now?.id ?? last;
}

/** Shows what the address says. */
function navigate() {
  const [, name, ...rest] = location.hash.split("/").map(decode);
  const next = VIEWS.find((view) => view.name === name) ?? VIEWS[0];
  shown?.close?.();
  shown = next;
  args = rest;
  for (const link of byId("views").children) {
    if (link.dataset.key === next.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.replaceChildren(byId(`view-${next.name}`).content.cloneNode(true));
  next.open?.(main, frame, args);
  listen();
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

keyed(
  byId("views"),
  VIEWS.filter(({ hidden }) => !hidden),
  ({ name }) => name,
  ({ name, title }) => el("a", { href: `#/${name}`, text: title }),
);
choice.addEventListener("change", () => {
  frame.topology = { id: choice.value };
  listen();
});
addEventListener("hashchange", () => {
  // The skip link leads to the view, not to another.
  if (location.hash === "#view") return;
  navigate();
  main.focus();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stream?.close();
    stream = null;
    clearTimeout(silence);
  } else {
    listen();
  }
});
navigate();
