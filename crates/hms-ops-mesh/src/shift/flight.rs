//! One shift from its claim to its end.

use std::sync::Arc;
use std::time::Duration;

use hms_ops_core::ledger::{Entry, Event, LedgerError};
use hms_ops_core::mesh::{
    Applied, ClusterTraffic, MeshError, Plan, ShiftReport, ShiftRequest, ShiftState, Split,
};
use hms_ops_core::name::Cluster;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::watching::{Reading, Seen, Step, Watching};
use super::{Inner, UnderWay, guard, ledger_failed};
use crate::split::same_shares;

/// Who writes what a shift comes to.
const ACTOR: &str = "engine";

type Told = Result<ShiftReport, MeshError>;

/// Whether a shift may begin.
enum Place {
    Free(Flight),
    /// The same wish is under way.
    Same(watch::Receiver<bool>),
    Taken(String),
}

/// The place of a service's one shift; free again when this is dropped.
struct Flight {
    inner: Arc<Inner>,
    request: ShiftRequest,
    tell: Option<oneshot::Sender<Told>>,
    reported: watch::Sender<bool>,
    report: ShiftReport,
}

/// What comes of looking at the mesh before a shift.
enum Prepared {
    Go(Plan),
    AlreadyThere(Split),
    No { from: Split, to: Split, reason: String },
}

/// What comes of trying to apply.
enum Begun {
    Applied { plan: Plan, applied: Applied, before: Reading },
    Ended(ShiftState),
}

impl Inner {
    /// Carries out a shift and tells its first report: *observed*, or an end.
    pub(super) async fn carry_out(
        self: Arc<Self>,
        request: ShiftRequest,
        tell: oneshot::Sender<Told>,
    ) {
        let key = request.key.clone();
        let planned = Event::ShiftPlanned { shift: key.clone(), request: request.clone() };
        let told = match self.place(request.clone()) {
            Place::Same(mut reported) => {
                let _ = reported.wait_for(|reported| *reported).await;
                self.earlier(&key).await
            }
            Place::Taken(reason) => self.refuse_at_once(planned, &request, reason).await,
            Place::Free(mut flight) => match self.journal.write(ACTOR, planned).await {
                Ok(_) => {
                    flight.tell = Some(tell);
                    return flight.go().await;
                }
                Err(LedgerError::Claimed { .. }) => self.earlier(&key).await,
                Err(error) => Err(ledger_failed(error)),
            },
        };
        // Who asked may have gone.
        let _ = tell.send(told);
    }

    fn place(self: &Arc<Self>, request: ShiftRequest) -> Place {
        let mut flights = self.flights();
        if let Some(same) = flights.under_way.values().find(|other| other.key == request.key) {
            return Place::Same(same.reported.clone());
        }
        let service = &request.service;
        if let Some(other) = flights.under_way.get(service) {
            let doing = if *other.reported.borrow() { "in its bake" } else { "under way" };
            return Place::Taken(format!("shift {:?} of {service} is {doing}", other.key));
        }
        if let Some(last) = flights.last.get(service) {
            let (ago, cool_down) = (self.journal.clock().now().since(*last), self.rules.cool_down);
            if ago < cool_down {
                let reason = format!(
                    "the last shift of {service} was {ago:?} ago, the cool-down is {cool_down:?}"
                );
                return Place::Taken(reason);
            }
        }
        let (reported, receiver) = watch::channel(false);
        let under_way = UnderWay { key: request.key.clone(), reported: receiver };
        flights.under_way.insert(service.clone(), under_way);
        let report = ShiftReport {
            service: service.clone(),
            from: Split::new(),
            to: Split::new(),
            state: ShiftState::Accepted,
        };
        Place::Free(Flight { inner: self.clone(), request, tell: None, reported, report })
    }

    /// Claim and refusal in one, so that nobody finds the claim without its end.
    async fn refuse_at_once(&self, planned: Event, request: &ShiftRequest, reason: String) -> Told {
        let from = self.mesh.snapshot(&request.service).await.map(|now| now.split());
        let from = from.unwrap_or_default();
        let state = ShiftState::Refused { reason };
        let report =
            ShiftReport { service: request.service.clone(), to: from.clone(), from, state };
        let reached = Event::ShiftReached { shift: request.key.clone(), report: report.clone() };
        let at = self.journal.clock().now();
        let entry = |event| Entry { at, actor: ACTOR.to_owned(), event };
        match self.journal.append(vec![entry(planned), entry(reached)]).await {
            Ok(_) => Ok(report),
            Err(LedgerError::Claimed { .. }) => self.earlier(&request.key).await,
            Err(error) => Err(ledger_failed(error)),
        }
    }

    pub(super) async fn write_report(
        &self,
        shift: &str,
        report: ShiftReport,
    ) -> Result<(), MeshError> {
        let reached = Event::ShiftReached { shift: shift.to_owned(), report };
        self.journal.write(ACTOR, reached).await.map_err(ledger_failed)?;
        Ok(())
    }

    /// Reads all counters of the plan's clusters at once, each within its time.
    async fn read(&self, plan: &Plan, at: Duration) -> Reading {
        let patience = self.rules.evidence_timeout;
        let late = || format!("no answer within {patience:?}");
        let mut asked = JoinSet::new();
        for (index, (cluster, _)) in plan.to.iter().enumerate() {
            let (evidence, service) = (self.evidence.clone(), plan.service.clone());
            let cluster = cluster.clone();
            asked.spawn(async move {
                (index, timeout(patience, evidence.served(&service, &cluster)).await)
            });
        }
        let observed = match timeout(patience, self.mesh.observe(&plan.service)).await {
            Ok(observed) => observed.map_err(|error| error.to_string()),
            Err(_) => Err(late()),
        };
        let seen = |(cluster, _): &(Cluster, u32)| Seen {
            served: Err("asking failed".to_owned()),
            sent: sent_to(cluster, &observed),
        };
        let mut clusters: Vec<_> = plan.to.iter().map(seen).collect();
        while let Some(answered) = asked.join_next().await {
            if let Ok((index, served)) = answered {
                clusters[index].served = served.unwrap_or_else(|_| Err(late()));
            }
        }
        Reading { at, clusters }
    }
}

fn sent_to(
    cluster: &Cluster,
    observed: &Result<Vec<ClusterTraffic>, String>,
) -> Result<ClusterTraffic, String> {
    let all = observed.as_ref().map_err(Clone::clone)?;
    let found = all.iter().find(|traffic| traffic.cluster == *cluster);
    found.cloned().ok_or_else(|| format!("the mesh does not count {cluster}"))
}

impl Flight {
    async fn go(mut self) {
        if let Err(error) = self.fly().await {
            // What is not in the ledger has no end there; the next engine gives it one.
            self.tell(Err(error));
        }
    }

    async fn fly(&mut self) -> Result<(), MeshError> {
        let (plan, applied, before) = match self.apply().await? {
            Begun::Applied { plan, applied, before } => (plan, applied, before),
            Begun::Ended(state) => return self.end(state).await,
        };
        let service = self.request.service.clone();
        let now = self.inner.journal.clock().now();
        self.inner.flights().last.insert(service, now);
        self.reach(ShiftState::Applied).await?;
        self.watch(&plan, applied, &before).await
    }

    /// Looks, decides and applies; once more when somebody else was faster.
    async fn apply(&mut self) -> Result<Begun, MeshError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let plan = match self.prepare().await {
                Prepared::Go(plan) => plan,
                Prepared::AlreadyThere(split) => {
                    (self.report.from, self.report.to) = (split.clone(), split);
                    let evidence = "already there: nothing was changed, no traffic was measured";
                    let evidence = evidence.to_owned();
                    return Ok(Begun::Ended(ShiftState::Settled { evidence }));
                }
                Prepared::No { from, to, reason } => {
                    (self.report.from, self.report.to) = (from, to);
                    return Ok(Begun::Ended(ShiftState::Refused { reason }));
                }
            };
            (self.report.from, self.report.to) = (plan.from.clone(), plan.to.clone());
            self.reach(ShiftState::Accepted).await?;
            let before = self.inner.read(&plan, Duration::ZERO).await;
            let (mesh, fence) = (&self.inner.mesh, self.inner.journal.fence());
            let applied = match mesh.apply(&plan, &fence).await {
                // It may have been applied; with the same key it is safe to ask again.
                Err(MeshError::Backend(_)) => mesh.apply(&plan, &fence).await,
                other => other,
            };
            let state = match applied {
                Ok(applied) => return Ok(Begun::Applied { plan, applied, before }),
                Err(MeshError::Conflict { .. }) if tries == 1 => continue,
                Err(MeshError::Backend(error)) => {
                    let reason =
                        format!("whether the mesh has the new split is not known: {error}");
                    ShiftState::Unconfirmed { reason }
                }
                Err(error) => ShiftState::Refused { reason: error.to_string() },
            };
            return Ok(Begun::Ended(state));
        }
    }

    async fn prepare(&self) -> Prepared {
        let (mesh, request) = (&self.inner.mesh, &self.request);
        let no = |from: Split, to: Option<Split>, reason: String| {
            let to = to.unwrap_or_else(|| from.clone());
            Prepared::No { from, to, reason }
        };
        let snapshot = match mesh.snapshot(&request.service).await {
            Ok(snapshot) => snapshot,
            Err(error) => return no(Split::new(), None, error.to_string()),
        };
        let from = snapshot.split();
        if request.percent > 100 {
            let error = MeshError::BadShare { percent: request.percent };
            return no(from, None, error.to_string());
        }
        let plan = match mesh.plan(request).await {
            Ok(plan) => plan,
            Err(error) => return no(from, None, error.to_string()),
        };
        if plan.to.iter().all(|(_, weight)| *weight == 0) {
            let reason = "the plan leaves no cluster with weight".to_owned();
            return no(from, Some(plan.to), reason);
        }
        if self.inner.tasks.stop().is_set() {
            return no(from, Some(plan.to), "the engine shuts down".to_owned());
        }
        match guard::refusal(&snapshot, &plan, request) {
            Some(reason) => no(from, Some(plan.to), reason),
            None if same_shares(&plan.from, &plan.to) => Prepared::AlreadyThere(from),
            None => Prepared::Go(plan),
        }
    }

    async fn watch(
        &mut self,
        plan: &Plan,
        applied: Applied,
        before: &Reading,
    ) -> Result<(), MeshError> {
        let mut watching = Watching::new(&self.inner.rules, plan, before);
        let (mut stop, mut begun) = (self.inner.tasks.stop(), None);
        loop {
            let pause = sleep(self.inner.rules.poll());
            let due = pause.deadline();
            let begun = *begun.get_or_insert(due - self.inner.rules.poll());
            tokio::select! {
                () = pause => {}
                () = stop.wait() => {
                    let reason = watching.break_off("the engine was shut down");
                    return self.end(ShiftState::Unconfirmed { reason }).await;
                }
            }
            let reading = self.inner.read(plan, due - begun).await;
            let state = match watching.step(&reading) {
                Step::Wait => continue,
                Step::Observed(evidence) => {
                    self.end(ShiftState::Observed { evidence }).await?;
                    continue;
                }
                Step::Settled(evidence) => ShiftState::Settled { evidence },
                Step::Unconfirmed(reason) => ShiftState::Unconfirmed { reason },
                Step::RollBack(reason) => self.roll_back(plan, applied, reason).await,
            };
            return self.end(state).await;
        }
    }

    /// Brings the old split back, unless somebody has changed the split or it has become worse.
    async fn roll_back(&self, plan: &Plan, applied: Applied, reason: String) -> ShiftState {
        let mesh = &self.inner.mesh;
        let stays = |why: String| ShiftState::Unconfirmed {
            reason: format!("{reason}; the split stays, as {why}"),
        };
        let snapshot = match mesh.snapshot(&plan.service).await {
            Ok(snapshot) => snapshot,
            Err(error) => return stays(error.to_string()),
        };
        if snapshot.revision != applied.revision {
            return stays("somebody has changed it since".to_owned());
        }
        if let Some(why) = guard::no_way_back(&snapshot, plan) {
            return stays(why);
        }
        let back = Plan {
            service: plan.service.clone(),
            revision: applied.revision,
            from: plan.to.clone(),
            to: plan.from.clone(),
            key: format!("{}/back", plan.key),
        };
        match mesh.apply(&back, &self.inner.journal.fence()).await {
            Ok(_) => ShiftState::RolledBack { reason },
            Err(error) => stays(error.to_string()),
        }
    }

    async fn reach(&mut self, state: ShiftState) -> Result<(), MeshError> {
        self.report.state = state;
        self.inner.write_report(&self.request.key, self.report.clone()).await
    }

    /// Reaches a state that is told to who asked.
    async fn end(&mut self, state: ShiftState) -> Result<(), MeshError> {
        self.reach(state).await?;
        self.tell(Ok(self.report.clone()));
        Ok(())
    }

    fn tell(&mut self, told: Told) {
        self.reported.send_replace(true);
        if let Some(tell) = self.tell.take() {
            // Who asked may have gone.
            let _ = tell.send(told);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.inner.flights().under_way.remove(&self.request.service);
    }
}
