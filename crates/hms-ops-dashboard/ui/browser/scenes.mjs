// The states of a service that the browser test shows the page, in the contract's JSON.

const STEP = 1000;
const BUDGET = 300;

/** Repeatable noise in 0..1. */
function noise(n) {
  const x = Math.sin(n * 12.9898) * 43758.5453;
  return x - Math.floor(x);
}

/** `count` points up to `now`; between the two ages, in seconds, the service is slow. */
function points(now, count, slowFrom = 0, slowTo = 0) {
  return Array.from({ length: count }, (_, n) => {
    const age = count - 1 - n;
    const t = Math.floor(now / STEP) * STEP - age * STEP;
    const slow = age <= slowFrom && age >= slowTo && slowFrom > 0 ? Math.min(1, (slowFrom - age) / 8) : 0;
    const p50 = 38 + 6 * noise(n) + slow * 330;
    const p95 = 84 + 22 * noise(n + 7) + 10 * Math.sin(n / 40) + slow * 520;
    const rate = 118 + 14 * Math.sin(n / 60) + 8 * noise(n + 3) - slow * 22;
    const errors = noise(n + 11) > 0.93 ? 0.004 : slow * 0.031 * noise(n + 5);
    return [t, p50, p95, rate, errors];
  });
}

const SIGNAL = {
  source: "eligibility_latency_ms",
  kind: "budget",
  unit: "ms",
  budget: BUDGET,
  explain: "a metric with a budget of this service",
};

export function alert(state, now, change = {}) {
  return {
    name: "eligibility.latency_ms",
    fingerprint: "9f2c1a77",
    state,
    health: "ok",
    since: now - 12_000,
    value: 412.3,
    threshold: BUDGET,
    unit: "ms",
    summary: "mean over 60 s is 412 ms, budget 300 ms",
    ...change,
  };
}

function route(a, b, change = {}) {
  return {
    service: "eligibility-svc",
    revision: 4,
    clusters: [
      { name: "cluster-a", weight: a, healthy: true, reason: null, active: a > 0 ? 7 : 0, ...change },
      { name: "cluster-b", weight: b, healthy: true, reason: null, active: b > 0 ? 5 : 0 },
    ],
  };
}

const RUN = "01b7d0c4e9aa42f1";

/** One whole recovery; each entry is [seconds ago, kind, tone, title, detail, belongs to the run]. */
function story(now, lastsTo) {
  const all = [
    [236, "control", "neutral", "silence lifted: eligibility.latency_ms", "by ana", false],
    [132, "transition", "neutral", "pending: eligibility.latency_ms", "mean over 60 s is 304 ms, budget 300 ms", false],
    [96, "transition", "bad", "firing: eligibility.latency_ms", "mean over 60 s is 412 ms, budget 300 ms", false],
    [95.9, "notification", "neutral", "notified: on-call", "webhook, 34 ms", false],
    [95.8, "run_claimed", "neutral", "runbook rollover", "claimed by engine-1, epoch 7", true],
    [95.6, "call", "neutral", "mesh.shift", "eligibility-svc to cluster-b, steps 10 50 100", true],
    [94.1, "shift", "neutral", "shift 10 % to cluster-b", "confirmed by traffic in 1.2 s", true],
    [88.7, "shift", "neutral", "shift 100 % to cluster-b", "confirmed by traffic in 1.1 s", true],
    [88.6, "result", "good", "mesh.shift settled", "no request lost", true],
    [88.5, "note", "neutral", "traffic shifted to cluster-b", "", true],
    [88.4, "outcome", "good", "rollover succeeded", "7.4 s", true],
    [60, "transition", "neutral", "recovering: eligibility.latency_ms", "mean over 60 s is 288 ms", false],
    [22, "transition", "good", "resolved: eligibility.latency_ms", "mean over 60 s is 86 ms", false],
  ];
  return all
    .filter(([age]) => age >= lastsTo)
    .map(([age, kind, tone, title, detail, inRun], n) => ({
      seq: n + 1,
      at: Math.round(now - age * 1000),
      kind,
      tone,
      title,
      detail,
      run: inRun ? RUN : null,
    }));
}

function hello(now, change) {
  return {
    version: "0.1.0",
    service: "eligibility-svc",
    now,
    step_ms: STEP,
    signal: SIGNAL,
    points: points(now, 900),
    alerts: [],
    timeline: [],
    routes: route(100, 0),
    ...change,
  };
}

const HOSTILE = ['<img src=x onerror="window.hacked=1">', '"><svg/onload=window.hacked=1>', "javascript:window.hacked=1//'`${1}"];

export function hostile(n) {
  return HOSTILE[n % HOSTILE.length];
}

/** Each scene: the hello for a service at a time. */
export const SCENES = {
  green: (now) =>
    hello(now, {
      points: points(now, 900, 132, 22 + 66),
      alerts: [alert("resolved", now, { since: now - 22_000, value: 86, summary: "mean over 60 s is 86 ms, budget 300 ms" })],
      timeline: story(now, 0),
      routes: route(0, 100),
    }),
  firing: (now) =>
    hello(now, {
      points: points(now, 900, 150, 0),
      alerts: [
        alert("firing", now),
        alert("pending", now, { name: "eligibility availability 99.9", fingerprint: "aa01", summary: "burn rate 15.1 over 1 h, limit 14.4" }),
      ],
      timeline: story(now, 94).map((item) => ({ ...item, at: item.at + 84_000 })),
      routes: route(90, 10, { healthy: false, reason: "p95 804 ms, above 300 ms" }),
    }),
  pending: (now) => hello(now, { points: points(now, 400, 30, 0), alerts: [alert("pending", now)], timeline: story(now, 100) }),
  no_data: (now) => hello(now, { alerts: [alert("inactive", now, { health: "no_data", value: null, summary: "no sample for 45 s" })] }),
  empty: (now) =>
    hello(now, {
      points: [],
      routes: null,
      signal: { source: "", kind: "none", unit: "", budget: null, explain: "no metric of this service is known" },
    }),
  hostile: (now) =>
    hello(now, {
      version: hostile(0),
      service: hostile(0),
      signal: { source: hostile(0), kind: "budget", unit: hostile(1), budget: 300, explain: hostile(2) },
      alerts: [0, 1, 2].map((n) =>
        alert(n === 0 ? "firing" : "pending", now, { name: hostile(n), fingerprint: `f${n}`, summary: hostile(n + 1), unit: hostile(n) }),
      ),
      timeline: Array.from({ length: 12 }, (_, n) => ({
        seq: n,
        at: now - 60_000 + n * 4000,
        kind: n % 2 === 0 ? "transition" : "shift",
        tone: "bad",
        title: hostile(n),
        detail: hostile(n + 1),
        run: hostile(n + 2),
      })),
      routes: {
        service: hostile(0),
        revision: 1,
        clusters: [0, 1, 2].map((n) => ({ name: hostile(n), weight: n, healthy: n === 0, reason: hostile(n), active: n })),
      },
    }),
};

const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";

export function traceList(scene, now) {
  if (scene === "empty") return { traces: [], dropped: 0 };
  const traces = Array.from({ length: 24 }, (_, n) => ({
    trace_id: n === 1 ? "00000000000000000000000000000b16" : n === 0 ? TRACE_ID : (n + 1).toString(16).padStart(32, "a"),
    root: {
      service: scene === "hostile" ? hostile(n) : "router",
      name: scene === "hostile" ? hostile(n + 1) : ["GET /check", "POST /claims", "GET /members/{id}"][n % 3],
    },
    start_ms: now - 300 - n * 830,
    duration_us: Math.round(2400 + 9000 * noise(n) ** 3 + (n % 7 === 3 ? 410_000 : 0)),
    spans: 3 + (n % 5),
    errors: n % 7 === 3 ? 1 : 0,
    services: ["router", "eligibility-svc"],
  }));
  return { traces, dropped: scene === "hostile" ? 12 : 0 };
}

export function trace(id, scene, now) {
  const t0 = (now - 5000) * 1000;
  const span = (n, parent, service, name, start, took, change = {}) => ({
    span_id: n.toString(16).padStart(16, "0"),
    parent_id: parent === null ? null : parent.toString(16).padStart(16, "0"),
    service,
    name,
    kind: "internal",
    start_us: t0 + start,
    duration_us: took,
    status: "unset",
    message: "",
    attributes: {},
    ...change,
  });
  if (scene === "hostile") {
    return {
      trace_id: id,
      spans: [0, 1, 2].map((n) =>
        span(n + 1, n === 0 ? null : 1, hostile(n), hostile(n + 1), n * 100, 900, {
          kind: hostile(n),
          status: "error",
          message: hostile(n),
          attributes: { [hostile(n)]: hostile(n + 1), nested: { [hostile(0)]: [hostile(1)] } },
        }),
      ),
    };
  }
  if (id.endsWith("b16")) {
    const spans = Array.from({ length: 10_000 }, (_, n) =>
      span(n + 1, n === 0 ? null : Math.floor((n + 7) / 8), "eligibility-svc", `step ${n}`, n * 10, Math.max(40, 100_000 - n * 10)),
    );
    return { trace_id: id, spans };
  }
  return {
    trace_id: id,
    spans: [
      span(1, null, "router", "GET /check", 0, 41_230, {
        kind: "server",
        attributes: { "http.route": "/check", "http.response.status_code": 200, "hms.cluster": "cluster-b" },
      }),
      span(2, 1, "router", "forward", 310, 40_500, { kind: "client", attributes: { "server.address": "cluster-b" } }),
      span(3, 2, "eligibility-svc", "GET /check", 720, 39_800, { kind: "server" }),
      span(4, 3, "eligibility-svc", "load_member", 900, 12_400, { attributes: { "db.system.name": "postgresql", rows: 1 } }),
      span(5, 4, "members-db", "SELECT members", 1100, 11_900, { kind: "client" }),
      span(6, 3, "eligibility-svc", "check_rules", 13_600, 26_100),
      span(7, 6, "rules-engine", "evaluate", 14_000, 9200),
      span(8, 6, "rules-engine", "evaluate", 23_600, 15_800, {
        status: "error",
        message: "rule 17: plan has no tier",
        attributes: { "rule.id": 17, "error.type": "MissingTier" },
      }),
      span(9, 99, "audit", "write entry", 39_900, 800),
      span(10, 11, "audit", "flush", 40_200, 300),
      span(11, 10, "audit", "flush again", 40_300, 200),
    ],
  };
}
