// A stand-in for the Rust server: serves dist/ with the real security headers, and a scene per service name.
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { hostile, SCENES, trace, traceList } from "./scenes.mjs";

const DIST = fileURLToPath(new URL("../../dist/", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css" };
const HEADERS = {
  "Content-Security-Policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; " +
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
};

/** Listens on a free loopback port; `push` sends one event to every open stream. */
export async function startMock({ port = 0 } = {}) {
  const streams = new Set();
  const state = { services: ["eligibility-svc"], scene: "green", refuse: false, requests: [] };

  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://mock");
    state.requests.push(url.pathname);
    const json = (status, body) => {
      response.writeHead(status, { ...HEADERS, "Content-Type": "application/json" });
      response.end(JSON.stringify(body));
    };
    if (state.refuse && url.pathname.startsWith("/api/")) return json(503, { error: "the store is starting" });
    const scene = SCENES[url.searchParams.get("service")] ? url.searchParams.get("service") : state.scene;
    const now = Date.now();

    if (url.pathname === "/api/services") {
      const names = scene === "hostile" ? [0, 1, 2].map(hostile) : state.services;
      return json(200, { services: names.map((name, n) => ({ name, firing: n === 1 ? 1 : 0 })) });
    }
    if (url.pathname === "/api/traces") return json(200, traceList(scene, now));
    if (url.pathname.startsWith("/api/traces/")) {
      const id = url.pathname.slice("/api/traces/".length);
      return id === "404" ? json(404, { error: `no trace ${id} is stored` }) : json(200, trace(id, scene, now));
    }
    if (url.pathname === "/api/stream") {
      response.writeHead(200, { ...HEADERS, "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
      send(response, "hello", SCENES[scene](now));
      streams.add(response);
      request.on("close", () => streams.delete(response));
      return undefined;
    }

    const path = join(DIST, normalize(url.pathname === "/" ? "/index.html" : url.pathname));
    if (!path.startsWith(DIST) || !existsSync(path)) return json(404, { error: "no such page" });
    response.writeHead(200, { ...HEADERS, "Content-Type": TYPES[extname(path)] ?? "application/octet-stream" });
    createReadStream(path).pipe(response);
    return undefined;
  });

  const push = (event, data) => streams.forEach((stream) => send(stream, event, data));
  // New points every second, like the real server.
  const ticking = setInterval(() => {
    const points = SCENES[state.scene](Date.now()).points.slice(-1);
    push("points", { points });
  }, 1000);

  await new Promise((ready) => server.listen(port, "127.0.0.1", ready));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    state,
    push,
    /** Cuts every open stream, as a restart would. */
    cut: () => streams.forEach((stream) => stream.destroy()),
    /** Keeps the streams open and sends nothing more. */
    hush: () => clearInterval(ticking),
    close: () => {
      clearInterval(ticking);
      server.closeAllConnections();
      server.close();
    },
  };
}

function send(response, event, data) {
  response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

// `npm run mock -- SCENE` keeps it running, to look at a scene by hand.
if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const mock = await startMock({ port: 9111 });
  mock.state.scene = process.argv[2] ?? "green";
  console.log(`${mock.url} shows the scene "${mock.state.scene}" of ${Object.keys(SCENES).join(", ")}`);
}
