// One story against the real engine: the lab breaks its budget and heals, and the page tells it live.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { launch, open, violations } from "./browser.mjs";

const FAULT_MS = 500;
const THEMES = ["light", "dark"];
/** Seconds that the lab has to start, to notice, to heal; and that anything has that should be there at once. */
const START = 60;
const FIRE = 60;
const HEAL = 60;
const PROMPT = 15;

const [path] = process.argv.slice(2);
if (path === undefined) {
  console.error("usage: npm run test:lab -- PATH_TO_HMS_OPS_BINARY");
  process.exit(2);
}

const browser = await launch();
const lab = spawnLab();
try {
  await tell();
  console.log("the page holds beside the lab");
} catch (error) {
  process.exitCode = 1;
  console.log(`FAIL  ${error.stack ?? error}\n${lab.trouble()}`);
} finally {
  lab.process.kill("SIGKILL"); // too late for one that has ended; its children end with it
  await browser.close();
}

async function tell() {
  const { page: home, router } = await within(START, "first line from the lab", lab.started);
  const views = await Promise.all(THEMES.map((theme) => open(browser, { home, theme })));
  const pages = views.map((view) => view.page);
  const [page] = pages;

  const [answer] = await Promise.all(pages.map((each) => each.goto(home)));
  assert.match(answer.headers()["content-security-policy"] ?? "none", /default-src 'none'/);
  await Promise.all(pages.map((each) => seen(each, PROMPT, "green banner", banner(each, "good", /All budgets hold/))));
  await seen(page, PROMPT, "cluster-a at 100 %", cluster(page, "cluster-a", "100 %"));
  done("green at first, all traffic to cluster-a");

  const slow = await fetch(`${router}fake_slow?ms=${FAULT_MS}`);
  assert.match(await slow.text(), new RegExp(`^cluster-a takes ${FAULT_MS} ms longer`));
  const broken = /^Budget broken: \S+ — mean over \S+ is ([\d.]+) ms.*, budget ([\d.]+) ms/;
  const said = await Promise.all(
    pages.map(async (each) => {
      const text = await seen(each, FIRE, "red banner with a mean", banner(each, "bad", broken));
      await hold(each);
      assert.deepEqual(await violations(each), []);
      assert.equal(await each.locator(".banner").getAttribute("data-tone"), "bad", "axe saw the red state");
      await letGo(each);
      return text;
    }),
  );
  for (const text of said) {
    const [, mean, budget] = broken.exec(text).map(Number);
    assert.ok(mean > budget, `no mean above its budget: ${text}`);
  }
  done(`red: ${said[0]}`);

  await seen(page, HEAL, "cluster-b at 100 %", cluster(page, "cluster-b", "100 %"));
  await seen(page, PROMPT, "cluster-a at 0 %", cluster(page, "cluster-a", "0 %"));
  done("all traffic to cluster-b");

  await Promise.all(pages.map((each) => seen(each, HEAL, "green banner again", banner(each, "good", /^All budgets hold/))));
  done("green again");

  await page.locator(".traces").scrollIntoViewIfNeeded(); // the list loads when it is in view
  // Spans arrive in batches: a trace is whole with the router's span, the service's, and those of its four functions.
  const whole = page.locator(".trace-table tbody tr", { has: page.locator("td:nth-child(4)", { hasText: /^(?:[6-9]|\d\d)$/ }) });
  await seen(page, PROMPT, "whole trace in the list", whole.first());
  await whole.first().locator(".root a").click();
  await seen(page, PROMPT, "waterfall", page.locator(".waterfall"));
  judgeTree(await page.locator(".waterfall > li").evaluateAll(readRows));
  await pages[1].goto(page.url());
  await seen(pages[1], PROMPT, "the same trace by its address", pages[1].locator(".waterfall"));
  for (const each of pages) assert.deepEqual(await violations(each), []);
  done("a trace is a tree");

  for (const { complaints } of views) assert.deepEqual(complaints, []);
  // With the pages still open: their streams must not keep the lab.
  lab.process.kill("SIGINT");
  assert.equal(await within(PROMPT, "end of the lab after SIGINT", lab.ended), 0);
  done("the lab ends when asked");
}

/** Starts the lab; its first line says where everything is. */
function spawnLab() {
  // npm runs a script where the package is; a relative path is meant from where npm was called.
  const binary = resolve(process.env.INIT_CWD ?? ".", path);
  const lab = spawn(binary, ["lab", "--fast", "--json", "--port", "0"], { stdio: ["ignore", "pipe", "pipe"] });
  let trouble = "";
  lab.stderr.on("data", (text) => (trouble += text));
  const ended = once(lab, "exit").then(([status, signal]) => status ?? signal);
  const early = ended.then((how) => assert.fail(`the lab ended with ${how}`));
  const first = once(createInterface({ input: lab.stdout }), "line").then(([line]) => JSON.parse(line));
  return { process: lab, started: Promise.race([first, early]), ended, trouble: () => trouble };
}

function banner(page, tone, text) {
  return page.locator(`.banner[data-tone="${tone}"] .banner-text`, { hasText: text });
}

function cluster(page, name, share) {
  return page.locator(".cluster", { hasText: name }).locator(".cluster-share", { hasText: new RegExp(`^${share}$`) });
}

/** Keeps the page as it is: red lasts three seconds, and axe may take longer. The page publishes in animation frames. */
function hold(page) {
  return page.evaluate(() => {
    globalThis.keptFrames = requestAnimationFrame;
    globalThis.requestAnimationFrame = () => 0;
  });
}

function letGo(page) {
  return page.evaluate(() => {
    globalThis.requestAnimationFrame = globalThis.keptFrames;
  });
}

/** The text of what must appear; if it does not, what was there instead. */
async function seen(page, seconds, what, locator) {
  try {
    return await locator.innerText({ timeout: seconds * 1000 });
  } catch (cause) {
    const there = await page.locator(".banner, .rail, .traces, .trace").allInnerTexts();
    throw new Error(`no ${what} within ${seconds} s. The page says:\n${there.join("\n")}`, { cause });
  }
}

async function within(seconds, what, promise) {
  const late = new AbortController();
  const deadline = delay(seconds * 1000, null, late).then(() => assert.fail(`no ${what} within ${seconds} s`));
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    late.abort();
    deadline.catch(() => {});
  }
}

/** In the page: each row of the waterfall as it is drawn. */
function readRows(items) {
  const text = (item, part) => item.querySelector(part)?.textContent ?? "";
  return items.map((item) => ({
    service: text(item, ".span-service"),
    name: text(item, ".span-what"),
    took: text(item, ".span-took"),
    indent: parseFloat(getComputedStyle(item.querySelector(".span-name") ?? item).paddingInlineStart),
    bar: item.querySelector(".span-bar")?.getBoundingClientRect().width ?? 0,
    text: item.textContent,
  }));
}

function judgeTree(rows) {
  const drawn = rows.map((row) => row.text).join("\n");
  for (const row of rows) {
    assert.match(row.took, /^\d+(\.\d+)? (µs|ms|s)$/, `a row without a duration in\n${drawn}`);
    assert.ok(row.bar > 0, `a row without a bar in\n${drawn}`);
  }
  assert.deepEqual([...new Set(rows.map((row) => row.service))], ["router", "eligibility-svc"], drawn);
  const [root, ...below] = rows;
  assert.ok(below.length > 0 && below.every((row) => row.indent > root.indent), `no tree under one root:\n${drawn}`);
  const entry = rows.find((row) => row.service === "eligibility-svc");
  const check = rows.find((row) => row.name === "check_eligibility");
  assert.ok(check !== undefined && check.indent > entry.indent, `no check_eligibility under the request it serves:\n${drawn}`);
}

function done(what) {
  console.log(`ok    ${what}`);
}
