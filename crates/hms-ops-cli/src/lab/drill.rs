//! The drill: injects the fault, watches the recovery, and gathers what the judge needs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hms_ops::collect::scrape::Health;
use hms_ops::core::alert::{EventDelta, deltas};
use hms_ops::core::clock::{Clock, Stopwatch, SystemClock};
use hms_ops::core::labels::{Labels, NAME, SERVICE as SERVICE_LABEL};
use hms_ops::core::ledger::Recorded;
use hms_ops::core::matcher::Matcher;
use hms_ops::core::mesh::MeshController;
use hms_ops::core::name::Service;
use hms_ops::core::sample::Sample;
use hms_ops::core::store::StoreExt;
use hms_ops::core::time::{TimeRange, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::Lab;
use super::figures::crossing;
use super::judge::{Step, Story};
use super::setting::{CLUSTERS, FAULT_MS, METRIC, SERVICE};
use crate::get::{get_ok, wait_for_event};

/// How long the lab may take until everything flows.
const READY: Duration = Duration::from_secs(30);
/// How long a trace may take from the last process to the page.
const TRACES: Duration = Duration::from_secs(10);
/// How long users may be without any answer.
const ANSWERS: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
/// How many answers a second make a flow.
const FLOW: u64 = 20;

/// What a drill has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// When the fault was injected.
    pub(crate) fault_at: Timestamp,
    /// When the budget was first broken by the data itself.
    pub(crate) crossing: Option<Timestamp>,
    pub(crate) story: Story,
    /// A trace through the router and the service.
    pub(crate) trace: Option<TraceSeen>,
    /// What was not as it should be, beside the story.
    pub(crate) problems: Vec<String>,
}

/// A trace through the router and the service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TraceSeen {
    pub(crate) id: String,
    pub(crate) spans: usize,
}

/// Drills; `show` is told when the fault is injected, and every entry of the ledger after it.
pub(crate) async fn run(lab: &Lab, mut show: impl FnMut(Timestamp, &Recorded)) -> Result<Seen> {
    wait_until_ready(lab).await?;
    let mut follower = lab.follow();
    let mut story = Story::of(METRIC);
    let mut problems = Vec::new();

    let fault_at = SystemClock.now();
    get_ok(&format!("{}fake_slow?ms={FAULT_MS}", lab.router_url())).await?;
    let recovery = async {
        while !story.is_complete() && !story.is_hopeless() {
            for entry in follower.next().await? {
                story.tell(&entry);
                if entry.entry.at >= fault_at {
                    show(fault_at, &entry);
                }
            }
        }
        anyhow::Ok(())
    };
    match timeout(lab.setting.patience, recovery).await {
        Ok(followed) => followed.context("the ledger cannot be followed")?,
        Err(_) => problems.push(format!("the drill gave up after {:?}", lab.setting.patience)),
    }
    if story.at(Step::Pending).is_some_and(|pending| pending < fault_at) {
        problems.push("the alert was pending before the fault".to_owned());
    }
    let crossing = crossing(&events(lab, fault_at).await?, &lab.setting.budget);
    let mut trace = None;
    if story.is_complete() {
        problems.extend(where_traffic_is(lab).await?);
        match find_trace(lab).await {
            Ok(found) => trace = Some(found),
            Err(error) => problems.push(crate::failure::line(&error)),
        }
    }
    Ok(Seen { fault_at, crossing, story, trace, problems })
}

/// Waits until users' requests flow, targets are up, and the page answers.
async fn wait_until_ready(lab: &Lab) -> Result<()> {
    let watch = Stopwatch::start();
    loop {
        let missing = match missing(lab) {
            Some(missing) => missing,
            None => match ask_page(lab).await {
                Ok(()) => return Ok(()),
                Err(error) => crate::failure::line(&error),
            },
        };
        if watch.elapsed() > READY {
            bail!("the lab is not ready after {READY:?}: {missing}");
        }
        sleep(POLL).await;
    }
}

/// What does not flow yet, if anything.
fn missing(lab: &Lab) -> Option<String> {
    let users = lab.users();
    if let Some(reason) = &users.first_failure {
        return Some(format!("users' requests fail: {reason}"));
    }
    if users.ok < FLOW {
        return Some(format!("users had {} answers in the last second", users.ok));
    }
    let targets = lab.ops.targets();
    if targets.len() < CLUSTERS.len() {
        return Some(format!("{} targets of {}", targets.len(), CLUSTERS.len()));
    }
    let down = targets.iter().find(|target| target.health != Health::Up)?;
    let reason = down.last_error.as_deref().unwrap_or("not scraped yet");
    Some(format!("target {} is {}: {reason}", down.url, down.health))
}

/// Whether the page, its API and its stream answer.
async fn ask_page(lab: &Lab) -> Result<()> {
    let page = lab.page_url();
    get_ok(&page).await?;
    let services = get_ok(&format!("{page}api/services")).await?;
    anyhow::ensure!(services.contains(SERVICE), "{page}api/services does not list {SERVICE}");
    wait_for_event(&format!("{page}api/stream?service={SERVICE}"), "hello").await
}

/// What is wrong with where traffic goes now, by the router and by the users.
async fn where_traffic_is(lab: &Lab) -> Result<Vec<String>> {
    let wanted = CLUSTERS[1];
    let snapshot = lab.router.snapshot(&Service::from(SERVICE)).await?;
    let mut problems = Vec::new();
    for cluster in &snapshot.clusters {
        if (cluster.weight > 0) != (cluster.cluster.as_str() == wanted) {
            problems.push(format!("{} has the weight {}", cluster.cluster, cluster.weight));
        }
    }
    let answered = timeout(ANSWERS, lab.next_users()).await;
    let answered = answered.with_context(|| format!("users had no answer for {ANSWERS:?}"))??;
    let answered = answered.clusters;
    if !answered.keys().eq([wanted]) {
        let by: Vec<_> = answered.iter().map(|(name, count)| format!("{name} {count}")).collect();
        problems.push(format!("users were answered by: {}", by.join(", ")));
    }
    Ok(problems)
}

/// What the clusters have reported since the fault, and in the window before it.
async fn events(lab: &Lab, fault_at: Timestamp) -> Result<Vec<EventDelta>> {
    let range = TimeRange::new(fault_at - lab.setting.budget.mean_over * 2, Timestamp::MAX);
    let mut sources: BTreeMap<Labels, [Vec<Sample>; 2]> = BTreeMap::new();
    for (place, part) in ["_count", "_sum"].into_iter().enumerate() {
        let named = Matcher::metric(&format!("{METRIC}{part}"));
        let ours = Matcher::equal(SERVICE_LABEL, SERVICE);
        for (labels, samples) in lab.ops.store().collect(&[named, ours], range).await? {
            sources.entry(labels.without(&[NAME])).or_default()[place] = samples;
        }
    }
    Ok(sources.values().flat_map(|[counts, sums]| deltas(counts, sums)).collect())
}

async fn find_trace(lab: &Lab) -> Result<TraceSeen> {
    let watch = Stopwatch::start();
    loop {
        let found = look_for_trace(lab).await?;
        match found {
            Some(trace) => return Ok(trace),
            None if watch.elapsed() > TRACES => {
                bail!("api/traces has no trace through the router and {SERVICE}")
            }
            None => sleep(POLL).await,
        }
    }
}

#[derive(Deserialize)]
struct Traces {
    traces: Vec<Summary>,
}

#[derive(Deserialize)]
struct Summary {
    trace_id: String,
    services: Vec<String>,
}

#[derive(Deserialize)]
struct Trace {
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    span_id: String,
    parent_id: Option<String>,
    service: String,
    name: String,
}

async fn look_for_trace(lab: &Lab) -> Result<Option<TraceSeen>> {
    let url = format!("{}api/traces", lab.page_url());
    let list = get_ok(&format!("{url}?service={SERVICE}&limit=100")).await?;
    let list: Traces = serde_json::from_str(&list).context("api/traces is not as expected")?;
    // The oldest, of which no span is still under way.
    let through = list.traces.into_iter().rfind(|trace| trace.services.len() > 1);
    let Some(Summary { trace_id: id, .. }) = through else { return Ok(None) };
    let trace = get_ok(&format!("{url}/{id}")).await?;
    let trace: Trace = serde_json::from_str(&trace).context("a trace is not as expected")?;
    Ok(trace.is_whole().then_some(TraceSeen { id, spans: trace.spans.len() }))
}

impl Trace {
    /// Whether the service's answer hangs below the router's request, and its work below that.
    fn is_whole(&self) -> bool {
        let below = |name: &str, above: &str| {
            let child =
                self.spans.iter().find(|span| span.service == SERVICE && span.name == name)?;
            let parent =
                self.spans.iter().find(|s| Some(&s.span_id) == child.parent_id.as_ref())?;
            (parent.name == above).then_some(parent)
        };
        below("GET /", "GET /").is_some_and(|router| router.service != SERVICE)
            && below("check_eligibility", "GET /").is_some()
            && below("check_identity", "check_eligibility").is_some()
            && below("load_claims", "check_eligibility").is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(spans: &[(&str, &str, &str, &str)]) -> Trace {
        let span = |&(id, parent, service, name): &(&str, &str, &str, &str)| Span {
            span_id: id.to_owned(),
            parent_id: (!parent.is_empty()).then(|| parent.to_owned()),
            service: service.to_owned(),
            name: name.to_owned(),
        };
        Trace { spans: spans.iter().map(span).collect() }
    }

    #[test]
    fn a_trace_is_whole_when_the_work_hangs_below_the_service_and_that_below_the_router() {
        let whole = [
            ("1", "", "router", "GET /"),
            ("2", "1", SERVICE, "GET /"),
            ("3", "2", SERVICE, "check_eligibility"),
            ("4", "3", SERVICE, "check_identity"),
            ("5", "3", SERVICE, "load_claims"),
        ];
        assert!(trace(&whole).is_whole());
        for torn in 0..whole.len() {
            let mut spans = whole;
            spans[torn].1 = "9";
            assert_eq!(trace(&spans).is_whole(), torn == 0, "{torn}");
        }
    }
}
