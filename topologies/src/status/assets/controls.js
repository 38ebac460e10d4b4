// What may be done to the topology as a whole, from the head of the page: each but Resume with a question before it.
import { ask, carryOut, confirm, part } from "./actions.js";

const byId = (id) => document.getElementById(id);
let shown = null;

/** Shows what may be done to `topology`, or nothing where there is none. */
export function showControls(topology) {
  shown = topology;
  byId("controls").hidden = !topology;
  if (!topology) return;
  const pause = byId("pause");
  const next = topology.status === "INACTIVE" ? "Resume" : "Pause";
  if (pause.textContent !== next) pause.textContent = next;
  pause.disabled = topology.status === "KILLED";
  byId("kill").disabled = topology.status === "KILLED";
}

const post = (rest) => ask(`/api/v1/topology/${part(shown.id)}/${rest}`, { method: "POST" });

async function pauseOrResume() {
  const { name, status } = shown;
  if (status === "INACTIVE") {
    await carryOut(async () => {
      await post("activate");
      return "The spouts emit again.";
    });
    return;
  }
  const text = `The spouts of ${name} emit nothing until they are resumed; what is under way goes on.`;
  if (!(await confirm({ title: `Pause ${name}?`, text, button: "Pause" }))) return;
  await carryOut(async () => {
    await post("deactivate");
    return "The spouts are paused.";
  });
}

async function kill() {
  const { name } = shown;
  const chosen = await confirm({
    title: `Kill ${name}?`,
    text: "The spouts are paused, what is under way has this long to complete, then the process ends. What is not done is processed again by the next run.",
    button: "Kill",
    danger: true,
    fields: [["wait", "Wait, in seconds", { type: "number", min: 0, max: 86400, step: 1, value: 30, required: "" }]],
  });
  if (!chosen) return;
  await carryOut(async () => {
    await post(`kill/${part(chosen.wait)}`);
    return `${name} ends.`;
  });
}

async function logLevel() {
  let now = null;
  try {
    now = (await ask("/api/v1/log-level")).level;
  } catch {
    // It is asked all the same; what is wrong is said then.
  }
  const chosen = await confirm({
    title: "Set the log's level for a time?",
    text: `The process logs to its standard error${now ? `, now at ${now}` : ""}. A level is error, warn, info, debug or trace, or a filter such as warn,topo_core=debug.`,
    button: "Set",
    fields: [
      ["level", "Level", { type: "text", value: "debug", required: "", autocapitalize: "off", spellcheck: "false" }],
      ["seconds", "For, in seconds", { type: "number", min: 1, max: 86400, step: 1, value: 60, required: "" }],
    ],
  });
  if (!chosen) return;
  await carryOut(async () => {
    const body = { level: chosen.level, seconds: Number(chosen.seconds) };
    const { level } = await ask("/api/v1/log-level", { method: "POST", body });
    return `Logs at ${level} for ${chosen.seconds} s.`;
  });
}

byId("pause").addEventListener("click", pauseOrResume);
byId("kill").addEventListener("click", kill);
byId("log-level").addEventListener("click", logLevel);
