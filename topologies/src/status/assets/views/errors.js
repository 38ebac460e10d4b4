// What went wrong: dead letters by cause, each with a record that it happened to, the newest error of each task, and the
// letters themselves, which can be fed in again.
import { ask, carryOut, confirm } from "../actions.js";
import { el, keyed, setText, table } from "../dom.js";
import { browse, messageCard } from "../messages.js";
import { ago, count } from "../spell.js";

const card = () => el("li", {}, el("strong"), el("div"), el("small"), el("pre", { tabindex: 0 }));

function fillCause(item, cause, nowMs) {
  const [title, reason, where, excerpt] = item.children;
  const { topic, partition, offset, excerpt: text, valueBytes } = cause.example;
  setText(title, `${count(cause.count)} ${cause.kind} by ${cause.component}`);
  setText(reason, cause.reason);
  const times = cause.count === 1 ? ago(cause.lastTimeMs, nowMs) : `first ${ago(cause.firstTimeMs, nowMs)}, last ${ago(cause.lastTimeMs, nowMs)}`;
  setText(
    where,
    `${times}, at attempt ${cause.attempt}; in ${cause.deadLetterTopic}; such as ${topic}-${partition} at offset ${offset}, ` +
      `of ${count(valueBytes)} bytes:`,
  );
  setText(excerpt, text);
}

function fillTask(item, error, nowMs) {
  const [title, , when, message] = item.children;
  setText(title, `${error.component} task ${error.task}`);
  setText(when, ago(error.timeMs, nowMs));
  setText(message, error.error);
}

/** Feeds letters in again until there are no more; says what came of it. */
async function replay(body) {
  let [replayed, left, reasons] = [0, 0, []];
  for (;;) {
    const told = await ask("/api/v1/replay", { method: "POST", body });
    replayed += told.replayed;
    left += told.left;
    reasons = reasons.concat(told.reasons).slice(0, 3);
    if (!told.more) break;
  }
  if (left > 0) throw new Error(`${count(replayed)} replayed, ${count(left)} left: ${reasons.join("; ")}`);
  return `${count(replayed)} ${replayed === 1 ? "letter" : "letters"} of ${body.topic} replayed.`;
}

async function replayAll(topic, waiting) {
  const text = `${count(waiting)} letters that no replay has come to are appended, as the records that they were, to the topics that they came from.`;
  if (await confirm({ title: `Replay ${topic}?`, text, button: "Replay all" })) await carryOut(() => replay({ topic }));
}

async function replayOne(topic, { partition, offset }) {
  const text = "It is appended, as the record that it was, to the topic that it came from. How far the others are replayed stays as it is.";
  const title = `Replay ${topic}-${partition} at ${offset}?`;
  if (await confirm({ title, text, button: "Replay" })) await carryOut(() => replay({ topic, partition, offset }));
}

export default {
  name: "errors",
  title: "Errors",
  open(root) {
    for (const element of root.querySelectorAll("[data-is]")) this[element.dataset.is] = element;
    this.columns = [
      ["Topic", "", (cell, { topic }) => setText(cell, topic)],
      ["Letters", "That are held", (cell, { letters }) => setText(cell, count(letters))],
      ["Not replayed", "That no replay has come to", (cell, { waiting }) => setText(cell, count(waiting))],
      ["Do", "", (cell, one) => this.fillActions(cell, one)],
    ];
    this.more.addEventListener("click", () => this.show(this.shown, this.next));
  },
  fillActions(cell, one) {
    if (!cell.firstChild) {
      const show = el("button", { type: "button", text: "Show" });
      show.addEventListener("click", () => this.show(cell.one.topic));
      const all = el("button", { type: "button", text: "Replay all…" });
      all.addEventListener("click", () => replayAll(cell.one.topic, cell.one.waiting));
      cell.append(show, " ", all);
    }
    cell.one = one;
    cell.lastChild.disabled = one.waiting === 0;
  },
  /** Lists the newest letters of `topic`, or more of them. */
  async show(topic, next = null) {
    const asked = (this.asked = (this.asked ?? 0) + 1);
    this["letters-title"].hidden = false;
    try {
      const told = await browse(topic, { from: next ?? "start" });
      // Only the newest question is answered.
      if (asked !== this.asked) return;
      setText(this["letters-title"], topic);
      if (!next) this.letters.replaceChildren();
      for (const message of told.messages) {
        const again = el("button", { type: "button", text: "Replay…" });
        again.addEventListener("click", () => replayOne(topic, message));
        const headers = Object.fromEntries(message.headers.map(([name, { text }]) => [name, text]));
        const why = `${headers["topo.kind"] ?? "no dead letter"} by ${headers["topo.component"] ?? "nobody"}: ${headers["topo.reason"] ?? ""}`;
        const item = messageCard(topic, message, [again]);
        item.insertBefore(el("div", { text: why }), item.children[1]);
        this.letters.append(item);
      }
      this.shown = topic;
      this.next = told.next;
      this.more.hidden = !told.next;
    } catch (error) {
      setText(this["letters-title"], error.message);
    }
  },
  update({ timeMs, deadLetters, taskErrors, letterTopics }) {
    const { rejected, exhausted, causes, others } = deadLetters;
    setText(
      this.totals,
      rejected + exhausted === 0
        ? "No record has become a dead letter since the start."
        : `${count(rejected)} ${rejected === 1 ? "record" : "records"} rejected and ${count(exhausted)} exhausted since the start.`,
    );
    const keyOf = (cause) => [cause.component, cause.kind, cause.reason, cause.deadLetterTopic].join("\n");
    keyed(this.causes, causes, keyOf, card, (item, cause) => fillCause(item, cause, timeMs));
    this.others.hidden = others === 0;
    setText(this.others, `and ${count(others)} of other causes, which are too many to be told apart`);
    this["tasks-title"].hidden = taskErrors.length === 0;
    keyed(this.tasks, taskErrors, ({ component, task }) => `${component}/${task}`, card, (item, error) => fillTask(item, error, timeMs));
    const { topics, error } = letterTopics;
    this["no-letters"].hidden = topics.length > 0;
    if (error) setText(this["no-letters"], error);
    this["letters-scroll"].hidden = topics.length === 0;
    table(this.topics, this.columns, topics, ({ topic }) => topic);
  },
};
