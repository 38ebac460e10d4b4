// The log: topics and groups as they move, and one topic's partitions and messages.
import { ask, carryOut, confirm, part } from "../actions.js";
import { el, figures, keyed, setText, table } from "../dom.js";
import { browse, messageCard } from "../messages.js";
import { NONE, bytes, count, rate } from "../spell.js";

/** Over how long a rate is taken. */
const RATE_MS = 10000;

/** How fast a number grows, by its key, from what the stream tells. */
class Rates {
  #seen = new Map();

  note(key, timeMs, value) {
    const seen = this.#seen.get(key) ?? [];
    seen.push([timeMs, value]);
    while (seen.length > 2 && timeMs - seen[0][0] > RATE_MS) seen.shift();
    this.#seen.set(key, seen);
  }

  of(key) {
    const seen = this.#seen.get(key) ?? [];
    const [first, last] = [seen[0], seen[seen.length - 1]];
    if (seen.length < 2 || last[0] === first[0]) return null;
    return Math.max(0, ((last[1] - first[1]) * 1000) / (last[0] - first[0]));
  }
}

const plain = (of) => (cell, one) => setText(cell, of(one));
const lag = (of) => (cell, one) => setText(cell, count(of(one)));

function link(cell, { topic }) {
  if (!cell.firstChild) cell.append(el("a", { href: `#/log/${part(topic)}`, text: topic }));
}

async function reset(group, topics) {
  const chosen = await confirm({
    title: `Reset ${group}?`,
    text: "The group has no members. Whoever reads for it next goes on from here; what lies between is read again, or not at all.",
    button: "Reset",
    danger: true,
    fields: [
      ["topic", "Topic", { options: topics }],
      ["partition", "Partition, all where empty", { type: "number", min: 0, step: 1 }],
      ["to", "To: start, end, offset:N or time:MILLISECONDS", { type: "text", value: "start", required: "", autocapitalize: "off" }],
    ],
  });
  if (!chosen) return;
  await carryOut(async () => {
    const body = { topic: chosen.topic, to: chosen.to.trim() };
    if (chosen.partition !== "") body.partition = Number(chosen.partition);
    const { partitions } = await ask(`/api/v1/group/${part(group)}/reset`, { method: "POST", body });
    return `${group} goes on: ${partitions.map(({ partition, to }) => `${chosen.topic}-${partition} at ${to}`).join(", ")}.`;
  });
}

function actions(cell, { group, state, topics }) {
  if (!cell.firstChild) {
    const button = el("button", { type: "button", text: "Reset…" });
    button.addEventListener("click", () => reset(group, cell.topics));
    cell.append(button);
  }
  cell.topics = topics.map(({ topic }) => topic);
  cell.firstChild.disabled = state !== "Empty" || topics.length === 0;
  cell.firstChild.title = cell.firstChild.disabled ? "A group that has members goes on from where it is" : "";
}

export default {
  name: "log",
  title: "Log",
  stream: ([topic]) => (topic ? { topic } : {}),
  open(root, frame, [topic]) {
    for (const element of root.querySelectorAll("[data-is]")) this[element.dataset.is] = element;
    this.topic = topic;
    this.rates = new Rates();
    this.all.hidden = topic !== undefined;
    this.one.hidden = topic === undefined;
    this.next = null;
    if (topic === undefined) return;
    setText(this.heading, topic);
    const form = this.browse;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.show();
    });
    form.elements.from.addEventListener("change", () => {
      for (const kind of ["offset", "time"]) this[kind].hidden = form.elements.from.value !== kind;
    });
    this.more.addEventListener("click", () => this.show(this.next));
    this.show();
  },
  update(view, { timeMs }) {
    this.error.hidden = !view.error;
    setText(this.error, view.error ?? "");
    if (this.topic !== undefined) return this.updateTopic(view);
    const { topics, groups } = view;
    for (const { topic, end } of topics) this.rates.note(`topic ${topic}`, timeMs, end);
    for (const { group, topics: of } of groups) {
      this.rates.note(`group ${group}`, timeMs, of.reduce((sum, { committed }) => sum + committed, 0));
    }
    const topicColumns = [
      ["Topic", "", link],
      ["Partitions", "", plain(({ partitions }) => count(partitions))],
      ["Messages", "Offsets between the first that is held and the end", plain(({ records }) => count(records))],
      ["Size", "Bytes of stored batches", plain((one) => bytes(one.bytes))],
      ["Rate", "How fast the end moves", plain(({ topic }) => rate(this.rates.of(`topic ${topic}`)))],
    ];
    table(this.topics, topicColumns, topics, ({ topic }) => topic);
    this["no-groups"].hidden = groups.length > 0;
    this.groups.parentElement.hidden = groups.length === 0;
    const groupColumns = [
      ["Group", "", plain(({ group }) => group)],
      ["State", "", plain(({ state }) => state)],
      ["Members", "", plain(({ members }) => count(members))],
      ["Lag", "Offsets between what is committed and the end", lag((one) => one.lag)],
      ["Rate", "How fast its committed offsets move", plain(({ group }) => rate(this.rates.of(`group ${group}`)))],
      ["Reads", "", plain((one) => one.topics.map(({ topic, lag: behind }) => `${topic} (${count(behind)} behind)`).join(", ") || NONE)],
      ["Go on from", "", actions],
    ];
    table(this.groups, groupColumns, groups, ({ group }) => group);
  },
  updateTopic({ topic }) {
    if (!topic) {
      this.error.hidden = false;
      setText(this.error, `There is no topic ${this.topic}.`);
      return;
    }
    figures(this.settings, Object.entries(topic.settings));
    this.settings.hidden = this.settings.children.length === 0;
    const numbers = topic.partitions.map(({ partition }) => ({ partition: String(partition) }));
    const options = [{ partition: "" }, ...numbers];
    const make = ({ partition }) => el("option", { value: partition, text: partition || "all" });
    if (this.browse.elements.partition.options.length !== options.length) {
      keyed(this.browse.elements.partition, options, ({ partition }) => partition, make);
    }
    const groups = ({ groups: places }) => places.map(({ group, committed, lag: behind }) => `${group} at ${committed}, ${count(behind)} behind`).join("; ") || NONE;
    const columns = [
      ["Partition", "", plain(({ partition }) => partition)],
      ["Start", "The first offset that is held", plain(({ start }) => start)],
      ["End", "One past the last message that may be read", plain(({ end }) => end)],
      ["Messages", "", plain(({ start, end }) => count(end - start))],
      ["Size", "Bytes of stored batches", plain((one) => bytes(one.bytes))],
      ["Groups", "What each has committed, and how far that is from the end", plain(groups)],
    ];
    table(this.partitions, columns, topic.partitions, ({ partition }) => partition);
  },
  /** Shows messages as the form says, or more of those that are there. */
  async show(next = null) {
    const { partition, from, offset, time, search } = this.browse.elements;
    const begins = {
      end: () => "end",
      start: () => "start",
      offset: () => `offset:${Math.trunc(Number(offset.value))}`,
      time: () => `time:${time.value ? new Date(time.value).getTime() : 0}`,
    };
    const asked = { partition: partition.value, search: search.value, from: next ?? begins[from.value]() };
    const number = (this.asked = (this.asked ?? 0) + 1);
    try {
      const told = await browse(this.topic, asked);
      // Only the newest question is answered.
      if (number !== this.asked) return;
      if (!next) this.messages.replaceChildren();
      for (const message of told.messages) this.messages.append(messageCard(this.topic, message));
      const shown = this.messages.children.length;
      this.next = told.next;
      this.more.hidden = !told.next;
      const looked = search.value ? `, ${count(told.scanned)} looked at${told.next ? "; More goes on" : ""}` : "";
      setText(this.found, `${count(shown)} ${shown === 1 ? "message" : "messages"}${looked}`);
    } catch (error) {
      setText(this.found, error.message);
    }
  },
};
