// A browser that does what lines of JSON on standard input say, and answers each with one on standard output: what the tests
// of the page in Rust drive. Each line is `{ "do": NAME, … }`; an answer is `{ "ok": VALUE }` or `{ "error": SENTENCE }`.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const context = await browser.newContext({ ignoreHTTPSErrors: true, locale: "en-US", timezoneId: "UTC" });
const page = await context.newPage();
page.setDefaultTimeout(60_000);

/** What went wrong in the page by itself, and where it turned to. */
const troubles = [];
const requests = [];
page.on("pageerror", (error) => troubles.push(String(error)));
page.on("console", (message) => message.type() === "error" && troubles.push(`${message.text()} (${message.location().url})`));
page.on("request", (request) => requests.push(request.url()));

const verbs = {
  goto: ({ url }) => page.goto(url, { waitUntil: "load" }).then(() => null),
  evaluate: ({ script }) => page.evaluate(script),
  until: ({ script }) => page.waitForFunction(script, undefined, { polling: 50 }).then((handle) => handle.jsonValue()),
  click: ({ selector }) => page.click(selector).then(() => null),
  fill: ({ selector, text }) => page.fill(selector, text).then(() => null),
  press: ({ key }) => page.keyboard.press(key).then(() => null),
  look: ({ width, height, dark }) =>
    Promise.all([page.setViewportSize({ width, height }), page.emulateMedia({ colorScheme: dark ? "dark" : "light" })]).then(() => null),
  screenshot: ({ path, whole }) => page.screenshot({ path, fullPage: whole ?? false }).then(() => null),
  troubles: () => troubles.splice(0),
  requests: () => requests.splice(0),
};

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
say({ ok: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  try {
    say({ ok: (await verbs[asked.do](asked)) ?? null });
  } catch (error) {
    say({ error: String(error) });
  }
}
await browser.close();
