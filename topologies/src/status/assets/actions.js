// What is asked of the server beside the stream of events, and the dialog in front of what changes something.
import { el } from "./dom.js";

const token = document.querySelector("meta[name=topo-token]")?.content;

/** What the server answers, as JSON; an error carries its sentence. */
export async function ask(path, { method = "GET", body } = {}) {
  const headers = method === "GET" ? {} : { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  let told = null;
  try {
    told = JSON.parse(text);
  } catch {
    // What is no JSON is a sentence.
  }
  if (!answer.ok) throw new Error(told?.errorMessage ?? told?.error ?? (text.trim() || `the server answers ${answer.status}`));
  return told;
}

/** A part of a path. */
export const part = encodeURIComponent;

/** Asks before something is done. `fields` are `[name, label, attributes]` of inputs, whose values are given back by name;
    null where it was called off. */
export function confirm({ title, text, button, danger = false, fields = [] }) {
  const inputs = fields.map(([name, label, { options, ...attributes }]) => {
    const input = options
      ? el("select", { name, ...attributes }, ...options.map((option) => el("option", { value: option, text: option })))
      : el("input", { name, ...attributes });
    return el("label", { text: `${label} ` }, input);
  });
  const cancel = el("button", { type: "button", text: "Cancel" });
  const act = el("button", { text: button, cls: danger ? "danger" : "primary" });
  const form = el("form", {}, el("p", { text }), ...inputs, el("div", { cls: "row end" }, cancel, act));
  const dialog = el("dialog", { "aria-label": title }, el("h2", { text: title }), form);
  document.body.append(dialog);
  return new Promise((resolve) => {
    let chosen = null;
    cancel.addEventListener("click", () => dialog.close());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      chosen = Object.fromEntries(new FormData(form));
      dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(chosen);
    });
    dialog.showModal();
  });
}

/** Says what came of something, where a screen reader hears it. */
export function say(text, bad = false) {
  const line = document.getElementById("said");
  line.textContent = text;
  line.classList.toggle("bad", bad);
}

/** Does what was confirmed, and says what came of it: what `act` gives, or why not. */
export async function carryOut(act) {
  try {
    say(await act());
  } catch (error) {
    say(error.message, true);
  }
}
