// What went wrong: dead letters by cause, each with a record that it happened to, and the newest error of each task.
import { el, keyed, setText } from "../dom.js";
import { ago, count } from "../spell.js";

const card = () => el("li", {}, el("strong"), el("div"), el("small"), el("pre"));

function fillCause(item, cause, nowMs) {
  const [title, reason, where, excerpt] = item.children;
  const { topic, partition, offset, excerpt: text, valueBytes } = cause.example;
  setText(title, `${count(cause.count)} ${cause.kind} by ${cause.component}`);
  setText(reason, cause.reason);
  setText(
    where,
    `first ${ago(cause.firstTimeMs, nowMs)}, last ${ago(cause.lastTimeMs, nowMs)}, at attempt ${cause.attempt}; in ` +
      `${cause.deadLetterTopic}; such as ${topic}-${partition} at offset ${offset}, of ${count(valueBytes)} bytes:`,
  );
  setText(excerpt, text);
}

function fillTask(item, error, nowMs) {
  const [title, , when, message] = item.children;
  setText(title, `${error.component} task ${error.task}`);
  setText(when, ago(error.timeMs, nowMs));
  setText(message, error.error);
}

export default {
  name: "errors",
  title: "Errors",
  open(root) {
    for (const part of root.querySelectorAll("[data-is]")) this[part.dataset.is] = part;
  },
  update({ timeMs, deadLetters, taskErrors }) {
    const { rejected, exhausted, causes, others } = deadLetters;
    setText(
      this.totals,
      rejected + exhausted === 0
        ? "No dead letters since the start."
        : `${count(rejected)} records rejected and ${count(exhausted)} exhausted since the start.`,
    );
    const keyOf = (cause) => [cause.component, cause.kind, cause.reason, cause.deadLetterTopic].join("\n");
    keyed(this.causes, causes, keyOf, card, (item, cause) => fillCause(item, cause, timeMs));
    this.others.hidden = others === 0;
    setText(this.others, `and ${count(others)} of other causes, which are too many to be told apart`);
    this["tasks-title"].hidden = taskErrors.length === 0;
    keyed(this.tasks, taskErrors, ({ component, task }) => `${component}/${task}`, card, (item, error) => fillTask(item, error, timeMs));
  },
};
