// Starts the browser for tests, headless and silent towards the outside world, and says what a page did wrong.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-default-apps",
      "--disable-sync",
      "--no-first-run",
      "--no-default-browser-check",
      "--metrics-recording-only",
    ],
  });
}

/** A fresh page with nothing remembered, and the growing list of what it must not do. */
export async function open(browser, { home, width = 1280, theme = "light" }) {
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    colorScheme: theme,
    reducedMotion: "reduce", // axe must not measure a colour in mid-transition
  });
  const page = await context.newPage();
  const complaints = [];
  // What the page's CSP forbids is an error on its console, too.
  page.on("console", (line) => ["error", "warning"].includes(line.type()) && complaints.push(line.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(home) && !request.url().startsWith("data:")) complaints.push(`request to ${request.url()}`);
  });
  return { page, complaints };
}

/** What axe has against the page as it stands, one line per rule. */
export async function violations(page) {
  // Through the debugger, which the page's CSP does not bind.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  return violations.map((found) => `${found.id}: ${found.nodes.map((node) => node.html).join(" | ")}`);
}
