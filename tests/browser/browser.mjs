// A browser that does what lines of JSON on standard input say, and answers each with one on standard output: what the tests
// of the page in Rust drive. Each line is `{ "do": NAME, … }`; an answer is `{ "ok": VALUE }` or `{ "error": SENTENCE }`.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

/** How long something that comes within moments may take on a machine that is busy. */
const PATIENCE_MS = 90_000;

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
page.setDefaultTimeout(PATIENCE_MS);

/** What went wrong in the page by itself, and where it turned to. */
const troubles = [];
const requests = [];
page.on("pageerror", (error) => troubles.push(String(error)));
page.on("console", (message) => message.type() === "error" && troubles.push(`${message.text()} (${message.location().url})`));
page.on("request", (request) => requests.push(request.url()));

/** Waits until a script's value is true. Playwright's own way would evaluate it inside the page, whose policy forbids that. */
async function until({ script }) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    let value = null;
    try {
      value = await page.evaluate(script);
    } catch (error) {
      // A page that is being loaded again has nothing yet.
      value = null;
      if (Date.now() > deadline) throw error;
    }
    if (value) return value;
    if (Date.now() > deadline) {
      const text = await page.evaluate("document.body.innerText");
      throw new Error(`it does not become true: ${script}; the page says: ${text}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const verbs = {
  goto: ({ url }) => page.goto(url, { waitUntil: "load" }).then(() => null),
  evaluate: ({ script }) => page.evaluate(script),
  until,
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
