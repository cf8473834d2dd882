// Drives the built page in a real browser, against a stand-in server with the real security headers.
import assert from "node:assert/strict";
import { launch, open, violations } from "./browser.mjs";
import { startMock } from "./mock-server.mjs";
import { alert } from "./scenes.mjs";

const MAX_REQUESTS = 8;

const browser = await launch();
let failures = 0;

/** Runs one story on a fresh page and server; any console error, page error or foreign request fails it. */
async function story(name, options, tell) {
  const mock = await startMock();
  mock.state.scene = options.scene ?? "green";
  mock.state.services = options.services ?? mock.state.services;
  const { page, complaints } = await open(browser, { ...options, home: mock.url });
  try {
    await page.goto(mock.url + (options.query ?? ""));
    await tell(page, mock, complaints);
    assert.deepEqual(complaints, []);
    console.log(`ok    ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`FAIL  ${name}\n${error.stack ?? error}`);
  } finally {
    await page.context().close();
    mock.close();
  }
}

const banner = (page) => page.locator(".banner");
const toned = (page, tone) => page.locator(`.banner[data-tone="${tone}"]`).waitFor({ timeout: 5000 });
const drawn = (page) => page.locator(".uplot canvas").nth(2).waitFor();

/** Whether the first chart's canvas has ink where the labels of its x axis belong. */
function inkUnder(page) {
  return page.evaluate(() => {
    const canvas = document.querySelector(".uplot canvas");
    const height = 14;
    const { data } = canvas.getContext("2d").getImageData(0, canvas.height - height, canvas.width, height);
    return data.some((part) => part !== 0);
  });
}

async function axe(page) {
  await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight)); // lets the traces load
  await page.waitForTimeout(300);
  assert.deepEqual(await violations(page), []);
}

for (const theme of ["light", "dark"]) {
  for (const scene of ["green", "firing", "pending", "no_data", "empty"]) {
    await story(`axe finds nothing: ${scene}, ${theme}`, { scene, theme }, async (page) => {
      await page.locator(`.banner:not([data-tone="unknown"]), .banner:has-text("No ")`).waitFor();
      await axe(page);
    });
  }
  await story(`axe finds nothing: trace, ${theme}`, { theme, query: "?trace=4bf92f3577b34da6a3ce929d0e0e4736" }, async (page) => {
    await page.locator(".span-row").nth(7).click();
    await page.locator(".details").waitFor();
    await axe(page);
  });
  await story(`axe finds nothing: help, ${theme}`, { theme, services: ["eligibility-svc", "claims-svc"] }, async (page) => {
    await toned(page, "good");
    await page.keyboard.press("?");
    await page.locator("dialog[open]").waitFor();
    await axe(page);
  });
}

await story("the banner turns red and green with the stream", { scene: "green" }, async (page, mock) => {
  await toned(page, "good");
  assert.match(await banner(page).innerText(), /All budgets hold/);
  mock.push("alerts", { alerts: [alert("firing", Date.now())] });
  await toned(page, "bad");
  assert.match(
    await banner(page).innerText(),
    /^Budget broken: eligibility\.latency_ms — mean over 60 s is 412 ms, budget 300 ms, for 1\d s$/,
  );
  assert.match(await page.title(), /^Budget broken/);
  mock.push("alerts", { alerts: [alert("recovering", Date.now())] });
  await toned(page, "warn");
  assert.match(await banner(page).innerText(), /^Recovering…/);
  mock.push("alerts", { alerts: [alert("resolved", Date.now())] });
  await toned(page, "good");
  assert.match(await page.locator("[role=status]").innerText(), /^All budgets hold/);
});

await story("streamed timeline, weights and points appear", { scene: "firing" }, async (page, mock) => {
  await toned(page, "bad");
  const before = await page.locator(".event").count();
  mock.push("timeline", {
    items: [{ seq: 900, at: Date.now(), kind: "shift", title: "shift 100 % to cluster-b", detail: "", run: null, tone: "good" }],
  });
  mock.push("routes", {
    routes: { service: "s", revision: 5, clusters: [{ name: "cluster-b", weight: 1, healthy: true, reason: null, active: 3 }] },
  });
  mock.push("points", { points: [[Date.now() + 60_000, 1, 77, 5, 0.5]] });
  await page.locator(".event-title", { hasText: "shift 100 % to cluster-b" }).waitFor();
  assert.equal(await page.locator(".event").count(), before + 1);
  assert.match(await page.locator(".clusters").innerText(), /cluster-b\s+100 %\s+healthy\s+3 active/);
  assert.match(await page.locator(".readout").first().innerText(), /77 ms/);
});

await story("hostile text runs no script, in the overview and in a trace", { scene: "hostile" }, async (page) => {
  await toned(page, "bad");
  await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
  await page.locator(".root a").first().click();
  await page.locator(".span-row").first().click();
  await page.locator(".details").waitFor();
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator("img, svg[onload], script:not([src])").count(), 0);
  assert.match(await page.locator(".details").innerText(), /<img src=x onerror=/);
});

await story("a first visit makes few requests", { scene: "green" }, async (page, mock) => {
  await toned(page, "good");
  await drawn(page);
  await page.waitForTimeout(500);
  assert.ok(mock.state.requests.length <= MAX_REQUESTS, mock.state.requests.join(" "));
});

await story("resync connects anew and shows the new state", { scene: "green" }, async (page, mock) => {
  await toned(page, "good");
  mock.state.scene = "firing";
  mock.push("resync", {});
  await toned(page, "bad");
});

await story("a lost server is said, the last state kept, and the stream found again", { scene: "green" }, async (page, mock, complaints) => {
  await toned(page, "good");
  mock.state.refuse = true;
  mock.cut();
  await page.locator('.connection[data-state="reconnecting"]').waitFor();
  assert.match(await banner(page).innerText(), /Connection lost: last known was “All budgets hold/);
  assert.equal(await page.locator(".uplot").count(), 3);
  mock.state.refuse = false;
  await toned(page, "good");
  complaints.length = 0; // the browser itself reports the refused connections
});

await story("a silent stream is called stale", { scene: "green" }, async (page, mock) => {
  await toned(page, "good");
  mock.hush();
  await page.locator(".connection", { hasText: /Stale \d+ s/ }).waitFor({ timeout: 9000 });
  assert.match(await banner(page).innerText(), /No news from the server/);
});

await story("a server that refuses from the start gets an error and a way to retry", { query: "?service=x" }, async (page, mock, complaints) => {
  mock.state.refuse = true;
  await page.reload();
  await page.getByRole("button", { name: "Try again" }).first().waitFor();
  mock.state.refuse = false;
  await page.getByRole("button", { name: "Try again" }).first().click();
  await toned(page, "good");
  complaints.length = 0;
});

await story("keys pause, switch the theme, and open the help", { scene: "green" }, async (page) => {
  await toned(page, "good");
  await page.keyboard.press("p");
  await page.locator(".connection", { hasText: "Paused" }).waitFor();
  const frozen = await page.locator(".readout").first().innerText();
  await page.waitForTimeout(1500);
  assert.equal(await page.locator(".readout").first().innerText(), frozen);
  await page.keyboard.press("p");
  await page.locator(".connection", { hasText: "Live" }).waitFor();
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.keyboard.press("t");
  assert.notEqual(await ground(), light);
  await page.reload();
  assert.notEqual(await ground(), light, "the theme is remembered");
  await toned(page, "good");
  await page.keyboard.press("?");
  await page.locator("dialog[open]").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("dialog[open]").waitFor({ state: "detached" });
});

await story("dragging zooms every chart and a double click resets", { scene: "green" }, async (page) => {
  await drawn(page);
  const over = await page.locator(".u-over").first().boundingBox();
  const y = over.y + over.height / 2;
  await page.mouse.move(over.x + over.width * 0.4, y);
  assert.match(await page.locator(".under-cursor").innerText(), /\d\d:\d\d:\d\d/);
  assert.ok(await inkUnder(page), "the x axis has labels");
  assert.equal(await page.locator(".u-cursor-x:not(.u-off)").count(), 3);
  await page.mouse.down();
  await page.mouse.move(over.x + over.width * 0.6, y, { steps: 4 });
  await page.mouse.up();
  await page.getByRole("button", { name: "Reset zoom" }).waitFor();
  assert.match(page.url(), /range=\d+-\d+/);
  await page.mouse.dblclick(over.x + over.width / 2, y);
  await page.getByRole("button", { name: "Reset zoom" }).waitFor({ state: "detached" });
  assert.doesNotMatch(page.url(), /range/);
});

await story("a trace opens from the list, and Back returns", { services: ["eligibility-svc", "claims-svc"] }, async (page) => {
  await toned(page, "good");
  await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
  await page.locator(".root a").first().click();
  await page.locator(".waterfall").waitFor();
  assert.match(page.url(), /trace=4bf92f3577b34da6a3ce929d0e0e4736/);
  assert.match(await page.locator(".waterfall").innerText(), /missing parent 0+63/);
  await page.goBack();
  await drawn(page);
  await page.getByLabel("Service").selectOption("claims-svc");
  assert.match(page.url(), /service=claims-svc/);
  await toned(page, "good");
});

await story("ten thousand spans are capped, and said to be", { query: "?trace=00000000000000000000000000000b16" }, async (page) => {
  await page.locator(".span-row").first().waitFor();
  assert.equal(await page.locator(".span-row").count(), 500);
  assert.match(await page.locator(".trace .note").innerText(), /9500 more rows not shown/);
});

await story("an unknown trace is an error with a way to retry", { query: "?trace=404" }, async (page, mock, complaints) => {
  await page.locator("[role=alert]", { hasText: "no trace 404 is stored" }).waitFor();
  complaints.length = 0; // the browser reports every 404
});

for (const scene of ["green", "firing", "hostile", "empty"]) {
  await story(`nothing is cut off at 360 px: ${scene}`, { scene, width: 360 }, async (page) => {
    await page.locator(".banner[data-tone]").waitFor();
    await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
    await page.waitForTimeout(500);
    const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(excess <= 0, `${excess} px too wide`);
  });
}

await story("a screen reader gets each chart as a table", { scene: "green" }, async (page) => {
  await drawn(page);
  assert.deepEqual(await page.locator(".sr-only caption").allInnerTexts(), ["Latency, budget 300 ms", "Request rate", "Errors"]);
  assert.ok((await page.locator(".sr-only table").first().locator("tbody tr").count()) > 10);
});

await browser.close();
console.log(failures === 0 ? "the page holds" : `${failures} stories failed`);
process.exit(failures === 0 ? 0 : 1);
