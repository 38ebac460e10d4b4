// Trees: those that are open by age, and those that failed, were tried again, or were traced.
import { el, keyed, setText, table } from "../dom.js";
import { count, duration, micros } from "../spell.js";

/** A time in milliseconds. */
export const millis = (time) => micros(time === null ? null : time * 1000);
/** Where a tree is shown. */
export const treeAddress = (root) => `#/tree/${root}`;

/** How many of a task's oldest open trees are shown; the API tells more. */
const OLDEST = 10;

const plain = (of) => (cell, one) => setText(cell, of(one));

/** A cell that leads to a tree; `of` names it. */
const leads = (of) => (cell, one) => {
  if (!cell.firstChild) cell.append(el("a"), el("small"));
  cell.firstChild.href = treeAddress(one.root);
  setText(cell.firstChild, of(one));
  setText(cell.lastChild, one.traced ? "traced" : "not traced");
};

const OPEN_COLUMNS = [
  ["Tree", "What its spout calls it, or its root", leads((one) => one.id ?? one.root)],
  ["Attempt", "", plain(({ attempt }) => attempt)],
  ["Age", "", plain(({ ageMs }) => millis(ageMs))],
];

const ENDED_COLUMNS = [
  ["Tree", "What its spout calls it, or its root", leads((one) => one.id ?? one.name)],
  ["Outcome", "", (cell, one) => {
    setText(cell, one.outcome);
    cell.classList.toggle("bad", one.outcome !== "acked");
  }],
  ["Attempt", "", plain(({ attempt }) => attempt)],
  ["Opened by", "", plain(({ component, task }) => `${component} task ${task}`)],
  ["Took", "From emit until it ended", plain(({ tookMs }) => millis(tookMs))],
  ["Ended", "", plain(({ agoMs }) => `${duration(agoMs / 1000)} ago`)],
  ["Failed in", "", plain(({ failedIn }) => failedIn ?? "")],
  ["Reason", "", (cell, { reason }) => {
    cell.className = "text reason";
    setText(cell, reason ?? "");
  }, "text"],
];

function ageName({ upToMs }, before) {
  return upToMs === null ? `older than ${millis(before)}` : `up to ${millis(upToMs)}`;
}

function fillOpen(section, list) {
  if (!section.firstChild) {
    section.append(el("h3"), el("p"), el("dl", { cls: "ages" }), el("div", { cls: "scroll", role: "region", tabindex: 0, "aria-label": "Oldest open trees" }, el("table")));
  }
  const [title, note, ages, region] = section.children;
  setText(title, `${list.component} task ${list.task}: ${count(list.count)} open`);
  setText(note, list.asOfMs === null ? "The task has not answered yet." : list.asOfMs > 3000 ? `The task last answered ${duration(list.asOfMs / 1000)} ago: it is busy.` : "");
  note.hidden = note.textContent === "";
  const bars = list.byAge.map((age, at) => ({ ...age, name: ageName(age, list.byAge[at - 1]?.upToMs) }));
  const make = ({ name }) => el("div", {}, el("dt", { text: name }), el("dd", {}, el("meter", { min: 0, "aria-hidden": "true" }), el("span")));
  keyed(ages, bars, ({ name }) => name, make, (div, age) => {
    const [meter, text] = div.lastChild.children;
    meter.max = Math.max(1, list.count);
    meter.value = age.count;
    setText(text, count(age.count));
  });
  region.hidden = list.oldest.length === 0;
  table(region.firstChild, OPEN_COLUMNS, list.oldest.slice(0, OLDEST), ({ root }) => root);
}

export default {
  name: "trees",
  title: "Trees",
  open(root) {
    this.root = root;
  },
  part(name) {
    return this.root.querySelector(`[data-is=${name}]`);
  },
  update(trees) {
    this.part("no-spouts").hidden = trees !== null;
    const { open, ended, more } = trees ?? { open: [], ended: [], more: 0 };
    keyed(this.part("open"), open, ({ component, task }) => `${component}/${task}`, () => el("section"), fillOpen);
    this.part("none").hidden = ended.length > 0;
    this.part("ended").parentElement.hidden = ended.length === 0;
    table(this.part("ended"), ENDED_COLUMNS, ended, ({ root }) => root);
    this.part("more").hidden = more === 0;
    setText(this.part("more"), `${count(more)} older ones are not shown.`);
  },
};
