// A message of the log, as it is read: on the log's own view, and among dead letters.
import { ask, part } from "./actions.js";
import { el, setText } from "./dom.js";
import { bytes, moment } from "./spell.js";

/** What there is of a topic's messages: `{ messages, next }`. */
export function browse(topic, asked) {
  const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== "" && value !== undefined));
  return ask(`/api/v1/topic/${part(topic)}/messages?${query}`);
}

const PRETTY_MOST = 20000;

/** A key or a value as text: JSON over several lines where it is longer than one. */
function text({ form, text: shown, cut, bytes: size }) {
  if (form === "null") return "null";
  if (form === "bytes") return `0x${shown}${cut ? "…" : ""}`;
  if ((form === "json" || form === "messagepack") && !cut && size > 80 && size < PRETTY_MOST) {
    try {
      return JSON.stringify(JSON.parse(shown), null, 2);
    } catch {
      return shown;
    }
  }
  return cut ? `${shown}…` : shown;
}

/** A card of a message; `actions` are buttons that belong to it. */
export function messageCard(topic, message, actions = []) {
  const { partition, offset, timeMs, key, value, headers, headersLeft } = message;
  const about = `${value.form}, ${bytes(value.bytes)}`;
  const body = el("pre", { text: text(value), tabindex: 0, "aria-label": "Value" });
  const card = el(
    "li",
    { cls: "message" },
    el(
      "div",
      { cls: "row" },
      el("strong", { text: `${partition} @ ${offset}` }),
      el("small", { text: timeMs < 0 ? "no time" : moment(timeMs) }),
      el("span", { cls: "message-key", text: key.form === "null" ? "no key" : text(key) }),
      el("small", { text: about }),
      ...actions,
    ),
    body,
  );
  if (headers.length) {
    const list = el("dl", { cls: "headers" });
    for (const [name, one] of headers) list.append(el("div", {}, el("dt", { text: name }), el("dd", { text: text(one) })));
    if (headersLeft) list.append(el("div", {}, el("dt", { text: "…" }), el("dd", { text: `${headersLeft} more, not shown` })));
    const all = headers.length + headersLeft;
    card.append(el("details", {}, el("summary", { text: `${all} ${all === 1 ? "header" : "headers"}` }), list));
  }
  if (value.cut && value.form !== "bytes") {
    const whole = el("button", { type: "button", text: "Whole value" });
    whole.addEventListener("click", async () => {
      try {
        const full = await ask(`/api/v1/topic/${part(topic)}/message?partition=${partition}&offset=${offset}`);
        setText(body, text(full.value));
        whole.remove();
      } catch (error) {
        whole.replaceWith(el("span", { cls: "bad", text: error.message }));
      }
    });
    card.append(whole);
  }
  return card;
}
