//! The capabilities that every host has: shift traffic, look at it, query metrics, leave a note.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use hms_ops_core::clock::Clock;
use hms_ops_core::matcher::{Matcher, Selector};
use hms_ops_core::mesh::{ShiftRequest, Snapshot, TrafficControl};
use hms_ops_core::name::{Cluster, Service, stored_name};
use hms_ops_core::query::{QueryEngine, QueryOptions};
use hms_ops_core::runbook::{Capability, Invocation};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// The longest note, in bytes.
pub const MAX_NOTE: usize = 4096;

/// `mesh.shift`: moves traffic, within the services and targets granted.
///
/// Grant: `{ services = ["eligibility-svc"], to = ["cluster-b"], max_percent = 100 }`. What a target
/// has may be lowered only where the clusters that gain by it are targets too.
#[derive(Debug)]
pub struct ShiftCapability {
    traffic: Arc<dyn TrafficControl>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShiftGrant {
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    to: Vec<String>,
    #[serde(default = "all")]
    max_percent: u8,
}

fn all() -> u8 {
    100
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShiftArgs {
    service: String,
    to: String,
    percent: u8,
}

impl ShiftCapability {
    /// Shifts through `traffic`, whose guards hold for runbooks too.
    pub fn new(traffic: Arc<dyn TrafficControl>) -> Self {
        Self { traffic }
    }
}

#[async_trait]
impl Capability for ShiftCapability {
    fn name(&self) -> &str {
        "mesh.shift"
    }

    fn check_grant(&self, grant: &Json) -> Result<(), String> {
        read::<ShiftGrant>(grant).map(|_| ())
    }

    fn check(&self, grant: &Json, args: &Json) -> Result<(), String> {
        let (grant, args): (ShiftGrant, ShiftArgs) = (read(grant)?, read(args)?);
        granted("service", &args.service, &grant.services)?;
        granted("target", &args.to, &grant.to)?;
        if args.percent > grant.max_percent {
            return Err(format!("{} % is not granted, {} % is", args.percent, grant.max_percent));
        }
        Ok(())
    }

    async fn invoke(&self, invocation: &Invocation<'_>, args: Json) -> Result<Json, String> {
        let ShiftArgs { service, to, percent } = read(&args)?;
        let (service, to) = (Service::from(service), Cluster::from(to));
        if percent < 100 {
            let now = self.traffic.snapshot(&service).await.map_err(|e| e.to_string())?;
            let ShiftGrant { to: targets, .. } = read(invocation.grant)?;
            for gains in gaining(&now, &to, percent) {
                granted("target", gains.as_str(), &targets)?;
            }
        }
        let execution = invocation.execution;
        let request = ShiftRequest {
            service,
            to,
            percent,
            key: format!("{}/{}", execution.id, invocation.call),
            cause: format!("runbook {} for {}", execution.runbook, execution.alert.name),
        };
        let report = self.traffic.shift(request).await.map_err(|e| e.to_string())?;
        if !report.state.is_confirmed() {
            return Err(format!("{}: {}", report.state.word(), report.state.detail()));
        }
        to_json(&report)
    }
}

/// `mesh.snapshot`: how a service's traffic is split, for the services granted.
///
/// Grant: `{ services = ["eligibility-svc"] }`.
#[derive(Debug)]
pub struct SnapshotCapability {
    traffic: Arc<dyn TrafficControl>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotGrant {
    #[serde(default)]
    services: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotArgs {
    service: String,
}

impl SnapshotCapability {
    /// Looks through `traffic`.
    pub fn new(traffic: Arc<dyn TrafficControl>) -> Self {
        Self { traffic }
    }
}

#[async_trait]
impl Capability for SnapshotCapability {
    fn name(&self) -> &str {
        "mesh.snapshot"
    }

    fn check_grant(&self, grant: &Json) -> Result<(), String> {
        read::<SnapshotGrant>(grant).map(|_| ())
    }

    fn check(&self, grant: &Json, args: &Json) -> Result<(), String> {
        let (grant, args): (SnapshotGrant, SnapshotArgs) = (read(grant)?, read(args)?);
        granted("service", &args.service, &grant.services)
    }

    async fn invoke(&self, _invocation: &Invocation<'_>, args: Json) -> Result<Json, String> {
        let service = Service::from(read::<SnapshotArgs>(&args)?.service);
        to_json(&self.traffic.snapshot(&service).await.map_err(|e| e.to_string())?)
    }
}

/// `metrics.query`: the newest value of the series granted.
///
/// Grant: `{ series = ["eligibility.*", "up"] }`: names of metrics in either spelling, where a `*`
/// at the end stands for any rest. The query must name its metric.
pub struct QueryCapability {
    engine: Arc<dyn QueryEngine>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for QueryCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryCapability").field("engine", &self.engine).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryGrant {
    #[serde(default)]
    series: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryArgs {
    query: String,
}

impl QueryCapability {
    /// Queries `engine` for the present by `clock`.
    pub fn new(engine: Arc<dyn QueryEngine>, clock: Arc<dyn Clock>) -> Self {
        Self { engine, clock }
    }
}

#[async_trait]
impl Capability for QueryCapability {
    fn name(&self) -> &str {
        "metrics.query"
    }

    fn check_grant(&self, grant: &Json) -> Result<(), String> {
        read::<QueryGrant>(grant).map(|_| ())
    }

    fn check(&self, grant: &Json, args: &Json) -> Result<(), String> {
        let (grant, args): (QueryGrant, QueryArgs) = (read(grant)?, read(args)?);
        let selector: Selector =
            args.query.parse().map_err(|e| format!("{:?}: {e}", args.query))?;
        let named = selector.matchers().iter().find(|m| m.name() == hms_ops_core::labels::NAME);
        let name = named.and_then(Matcher::literal).ok_or("a query must name its metric")?;
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some("") => true,
            Some(start) => name.starts_with(&*stored_name(start)),
            None => name == stored_name(pattern),
        };
        if grant.series.iter().any(fits) {
            return Ok(());
        }
        Err(format!("series {name} is not granted (granted: {:?})", grant.series))
    }

    async fn invoke(&self, _invocation: &Invocation<'_>, args: Json) -> Result<Json, String> {
        let QueryArgs { query } = read(&args)?;
        let at = self.clock.now();
        let found = self.engine.instant(&query, at, &QueryOptions::default()).await;
        let found = found.map_err(|e| e.to_string())?.into_values();
        let numbers = found.into_iter().filter_map(|(l, v)| Some((l, v.as_float()?)));
        to_json(&numbers.collect::<Vec<_>>())
    }
}

/// `note`: tells people something. Needs no grant; the executor writes it to the ledger.
#[derive(Clone, Copy, Debug)]
pub struct NoteCapability;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteArgs {
    text: String,
}

#[async_trait]
impl Capability for NoteCapability {
    fn name(&self) -> &str {
        "note"
    }

    fn check_grant(&self, _grant: &Json) -> Result<(), String> {
        Ok(())
    }

    fn check(&self, _grant: &Json, args: &Json) -> Result<(), String> {
        match read::<NoteArgs>(args)?.text.len() {
            length if length > MAX_NOTE => {
                Err(format!("a note of {length} bytes, the limit is {MAX_NOTE}"))
            }
            _ => Ok(()),
        }
    }

    async fn invoke(&self, _invocation: &Invocation<'_>, args: Json) -> Result<Json, String> {
        Ok(Json::String(read::<NoteArgs>(&args)?.text))
    }
}

/// The other clusters that gain when `to` gets less than it has: those with traffic, or all when
/// none has any.
fn gaining<'a>(
    now: &'a Snapshot,
    to: &'a Cluster,
    percent: u8,
) -> impl Iterator<Item = &'a Cluster> {
    let all: u64 = now.clusters.iter().map(|c| u64::from(c.weight)).sum();
    let has = now.cluster(to).map_or(0, |c| u64::from(c.weight));
    let loses = u64::from(percent) * all < 100 * has;
    let others = now.clusters.iter().filter(move |c| c.cluster != *to);
    others.filter(move |c| loses && (c.weight > 0 || has == all)).map(|c| &c.cluster)
}

fn granted(what: &str, asked: &str, granted: &[String]) -> Result<(), String> {
    if granted.iter().any(|g| g == asked) {
        return Ok(());
    }
    Err(format!("{what} {asked:?} is not granted (granted: {granted:?})"))
}

fn read<T: DeserializeOwned>(json: &Json) -> Result<T, String> {
    T::deserialize(json).map_err(|e| e.to_string())
}

fn to_json(value: &impl serde::Serialize) -> Result<Json, String> {
    serde_json::to_value(value).map_err(|e| e.to_string())
}
