//! What all viewers of one service share: one computation, one broadcast.
//!
//! A room opens with the first viewer and closes with the last. It alone writes the broadcast, so
//! what a viewer gets on joining and what follows fit together without a gap.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hms_ops_core::ledger::Seq;
use hms_ops_core::mesh::{ClusterSnapshot, Health, MeshError, Snapshot};
use hms_ops_core::metric::Budget;
use hms_ops_core::name::{Service, same_name};
use hms_ops_core::signal::SignalKind;
use hms_ops_core::time::Timestamp;
use serde::Serialize;
use serde_json::{Value as Json, json};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::dashboard::Sources;
use crate::feed::{Alert, Feed, MAX_ITEMS};
use crate::series::{Grid, Point, Source};
use crate::tasks::{Stop, Tasks};
use crate::timeline::Item;

/// Distance of the points.
const STEP: Duration = Duration::from_secs(1);
/// How many points are kept: a quarter of an hour.
const MAX_POINTS: usize = 900;
/// How often the signal is chosen anew, in steps.
const CHOOSE_EVERY: u32 = 10;
/// How far a viewer may fall behind, in events.
const MAX_BEHIND: usize = 64;
/// How long a store or a mesh may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The rooms that are open.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    open: Mutex<HashMap<Service, mpsc::Sender<Knock>>>,
}

/// What a viewer gets on joining.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) hello: Bytes,
    pub(crate) frames: broadcast::Receiver<Frame>,
}

/// What a viewer gets then.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    /// One event, as it goes over the wire.
    Event(Bytes),
    /// What it knows is no longer what there is: it must join anew.
    Resync,
}

/// Asks to join.
type Knock = oneshot::Sender<Joined>;

impl Rooms {
    /// Joins the room of a service, which opens if it is not; `None` while shutting down.
    pub(crate) async fn join(
        &self,
        service: &Service,
        sources: &Arc<Sources>,
        feed: &Arc<Feed>,
        tasks: &Tasks,
    ) -> Option<Joined> {
        // A room may close just when somebody knocks; the next one will not, as it is new.
        for _ in 0..3 {
            let (knock, joined) = oneshot::channel();
            let room = self.find_or_open(service, sources, feed, tasks)?;
            if room.send(knock).await.is_ok()
                && let Ok(joined) = joined.await
            {
                return Some(joined);
            }
        }
        None
    }

    fn find_or_open(
        &self,
        service: &Service,
        sources: &Arc<Sources>,
        feed: &Arc<Feed>,
        tasks: &Tasks,
    ) -> Option<mpsc::Sender<Knock>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, room| !room.is_closed());
        if let Some(room) = open.get(service) {
            return Some(room.clone());
        }
        let (door, knocks) = mpsc::channel(1);
        let room = Room::new(service.clone(), sources.clone(), feed.clone());
        if !tasks.spawn(|stop| room.run(knocks, stop)) {
            return None;
        }
        open.insert(service.clone(), door.clone());
        Some(door)
    }
}

/// The state of one room, owned by its task.
struct Room {
    service: Service,
    sources: Arc<Sources>,
    feed: Arc<Feed>,
    frames: broadcast::Sender<Frame>,
    steps: u32,
    source: Option<Source>,
    budget: Option<f64>,
    points: VecDeque<Point>,
    alerts: Vec<Alert>,
    timeline: VecDeque<Arc<Item>>,
    seq: Seq,
    route: Option<Json>,
}

impl Room {
    fn new(service: Service, sources: Arc<Sources>, feed: Arc<Feed>) -> Self {
        Self {
            service,
            sources,
            feed,
            frames: broadcast::Sender::new(MAX_BEHIND),
            steps: 0,
            source: None,
            budget: None,
            points: VecDeque::new(),
            alerts: Vec::new(),
            timeline: VecDeque::new(),
            seq: Seq(0),
            route: None,
        }
    }

    async fn run(mut self, mut knocks: mpsc::Receiver<Knock>, mut stop: Stop) {
        let feed = self.feed.clone();
        let mut folded = feed.folded();
        let mut ticks = interval(STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let prepare = async {
            feed.caught_up().await;
            folded.mark_unchanged();
            ticks.tick().await;
            self.step().await;
        };
        tokio::select! {
            () = stop.requested() => return,
            () = prepare => {}
        }
        self.tell_news();
        let mut visited = false;
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => return,
                Some(knock) = knocks.recv() => {
                    self.welcome(knock);
                    visited = true;
                }
                Ok(()) = folded.changed() => self.tell_news(),
                _ = ticks.tick() => tokio::select! {
                    () = stop.requested() => return,
                    () = self.step() => {}
                },
                () = self.frames.closed(), if visited => return,
            }
        }
    }

    fn welcome(&self, knock: Knock) {
        let hello = self.hello();
        // A viewer that has gone in the meantime is no loss.
        let _ = knock.send(Joined { hello, frames: self.frames.subscribe() });
    }

    fn hello(&self) -> Bytes {
        event(
            "hello",
            &json!({
                "version": self.sources.version,
                "service": self.service,
                "now": self.sources.clock.now(),
                "step_ms": STEP.as_millis() as u64,
                "signal": self.signal(),
                "points": self.points,
                "alerts": self.alerts,
                "timeline": self.timeline,
                "routes": self.route,
            }),
        )
    }

    fn signal(&self) -> Json {
        match &self.source {
            Some(Source { signal, .. }) => json!({
                "source": signal.source,
                "kind": kind(signal.kind),
                "unit": signal.unit.symbol(),
                "budget": self.budget,
                "explain": signal.kind.explain(),
            }),
            None => json!({
                "source": "",
                "kind": "none",
                "unit": "",
                "budget": null,
                "explain": "no latency metric of this service is known",
            }),
        }
    }

    /// Tells what the ledger has gained, and the newest numbers of alerts.
    fn tell_news(&mut self) {
        let live = (self.sources.alerts)();
        let (items, alerts, seq) = self.feed.read(|board| {
            let items = board.timeline(&self.service, self.seq);
            (items, board.alerts(&self.service, &live), board.seq())
        });
        self.seq = seq;
        if alerts != self.alerts {
            self.alerts = alerts;
            self.tell("alerts", &json!({ "alerts": self.alerts }));
        }
        if !items.is_empty() {
            self.tell("timeline", &json!({ "items": items }));
            self.timeline.extend(items);
            self.timeline.drain(..self.timeline.len().saturating_sub(MAX_ITEMS));
        }
    }

    /// What is done each second. A source that fails or does not answer in time leaves things as
    /// they are; the page then says for how long nothing new came.
    async fn step(&mut self) {
        let now = self.sources.clock.now();
        if self.source.is_none() || self.steps.is_multiple_of(CHOOSE_EVERY) {
            self.choose_source(now).await;
        }
        self.steps = self.steps.wrapping_add(1);
        self.add_points(now).await;
        self.tell_news();
        self.look_at_routes().await;
    }

    async fn choose_source(&mut self, now: Timestamp) {
        let budgets = (self.sources.budgets)();
        let names: Vec<_> = budgets.iter().map(|(name, _)| name.as_str()).collect();
        let find = Source::find(&*self.sources.store, &self.service, &names, now);
        // A store that is empty for a moment takes nothing away.
        let Ok(Ok(Some(source))) = timeout(PATIENCE, find).await else { return };
        let budget = limit(&budgets, &source.signal.source);
        let same = |known: &Source| known.signal == source.signal;
        if !self.source.as_ref().is_some_and(same) || self.budget != budget {
            self.start_over();
        }
        (self.source, self.budget) = (Some(source), budget);
    }

    async fn add_points(&mut self, now: Timestamp) {
        let last = now.as_millis().div_euclid(1000) * 1000;
        let last = Timestamp::from_millis(last);
        if self.points.back().is_some_and(|newest| newest.at > last + STEP) {
            self.start_over(); // the clock was set back
        }
        // The newest point is made again: its last samples may have come late.
        let oldest = last - STEP * (MAX_POINTS as u32 - 1);
        let newest = self.points.back().copied();
        let first = newest.map_or(oldest, |newest| newest.at.clamp(oldest, last));
        let grid = Grid::seconds(first, last);
        let read = async {
            match &self.source {
                Some(source) => source.points(&*self.sources.store, &self.service, grid).await,
                // Empty points tell the page that it is connected, and that there is nothing.
                None => Ok(grid.empty_points()),
            }
        };
        let Ok(Ok(mut points)) = timeout(PATIENCE, read).await else { return };
        while self.points.pop_back_if(|known| known.at >= first).is_some() {}
        self.points.extend(&points);
        self.points.drain(..self.points.len().saturating_sub(MAX_POINTS));
        points.retain(|point| Some(*point) != newest);
        if !points.is_empty() {
            self.tell("points", &json!({ "points": points }));
        }
    }

    async fn look_at_routes(&mut self) {
        let Some(traffic) = &self.sources.traffic else { return };
        let route = match timeout(PATIENCE, traffic.snapshot(&self.service)).await {
            Ok(Ok(snapshot)) => Some(route(&snapshot)),
            Ok(Err(MeshError::UnknownService { .. })) => None,
            Ok(Err(_)) | Err(_) => return,
        };
        if route != self.route {
            self.route = route;
            self.tell("routes", &json!({ "routes": self.route }));
        }
    }

    /// Drops the points, and has every viewer join anew.
    fn start_over(&mut self) {
        self.points.clear();
        let _ = self.frames.send(Frame::Resync);
    }

    fn tell(&self, name: &str, data: &impl Serialize) {
        if self.frames.receiver_count() > 0 {
            // The last viewer may leave in between.
            let _ = self.frames.send(Frame::Event(event(name, data)));
        }
    }
}

/// One server-sent event. JSON has no line feed outside of strings and none in them, so it is one
/// line.
///
/// Source: WHATWG HTML, "Server-sent events", section 9.2.5.
pub(crate) fn event(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("what the page is sent has text keys only");
    format!("event: {name}\ndata: {data}\n\n").into()
}

fn limit(budgets: &[(String, Budget)], source: &str) -> Option<f64> {
    budgets.iter().rfind(|(name, _)| same_name(name, source)).map(|(_, budget)| budget.limit)
}

fn kind(kind: SignalKind) -> &'static str {
    match kind {
        SignalKind::Budget => "budget",
        SignalKind::SpanMetrics => "span_metrics",
        SignalKind::OpenTelemetry => "opentelemetry",
        SignalKind::Convention => "convention",
    }
}

fn route(snapshot: &Snapshot) -> Json {
    let cluster = |c: &ClusterSnapshot| {
        let (healthy, reason) = match &c.health {
            Health::Healthy => (true, None),
            Health::Unhealthy { reason } => (false, Some(reason.as_str())),
            Health::Unknown => (true, Some("not checked lately")),
        };
        json!({
            "name": c.cluster,
            "weight": c.weight,
            "healthy": healthy,
            "reason": reason,
            "active": c.active,
        })
    };
    json!({
        "service": snapshot.service,
        "clusters": snapshot.clusters.iter().map(cluster).collect::<Vec<_>>(),
        "revision": snapshot.revision,
    })
}
