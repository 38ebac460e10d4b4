// Renews the page every second from /topologies, and goes on by itself when the server comes back.
"use strict";

const EVERY_MS = 1000;
const PATIENCE_MS = 5000;

const shown = document.getElementById("topologies");
const connection = document.getElementById("connection");

// Changes only what differs, so that scroll positions, selections and the focus stay where they are.
function become(now, next) {
  if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName) {
    now.replaceWith(next);
    return;
  }
  if (now.nodeType !== Node.ELEMENT_NODE) {
    if (now.data !== next.data) now.data = next.data;
    return;
  }
  for (const { name } of [...now.attributes]) {
    if (!next.hasAttribute(name)) now.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  becomeChildren(now, next);
}

function becomeChildren(now, next) {
  const old = [...now.childNodes];
  const fresh = [...next.childNodes];
  fresh.forEach((child, index) => (index < old.length ? become(old[index], child) : now.append(child)));
  old.slice(fresh.length).forEach((child) => child.remove());
}

function say(text, lost) {
  if (connection.textContent !== text) connection.textContent = text;
  connection.classList.toggle("lost", lost);
}

async function renew() {
  try {
    const answer = await fetch("/topologies", { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    becomeChildren(shown, fresh.body);
    say("live", false);
  } catch {
    say("connection lost; these are the last numbers; trying again", true);
  }
}

async function run() {
  for (;;) {
    if (!document.hidden) await renew();
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

run();
