//! The state machine of a shift that was applied: readings in, the next step out. No I/O, no clock.

use std::collections::VecDeque;
use std::time::Duration;

use hms_ops_core::mesh::{ClusterTraffic, Plan, Served};
use hms_ops_core::name::Cluster;

use super::ShiftRules;
use crate::split::share;

/// All counters of a service, read at one time.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// Time since the split was applied.
    pub(super) at: Duration,
    /// One for each cluster, in the order of the plan.
    pub(super) clusters: Vec<Seen>,
}

/// What one cluster says, and what the mesh says of it; or why there is nothing.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) served: Result<Served, String>,
    pub(super) sent: Result<ClusterTraffic, String>,
}

/// What to do after a reading.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Read again.
    Wait,
    /// The counters show the new split; the bake begins.
    Observed(String),
    /// The bake is over.
    Settled(String),
    /// A cluster that gained traffic fails too often.
    RollBack(String),
    /// Time is over, and this is missing.
    Unconfirmed(String),
}

/// A shift under watch, from its application to the end of its bake.
#[derive(Clone, Debug)]
pub(super) struct Watching {
    rules: ShiftRules,
    clusters: Vec<Watched>,
    observed_at: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Watched {
    cluster: Cluster,
    /// Its share by the new split.
    wish: f64,
    gains: bool,
    /// By its own counters.
    served: Meter,
    /// By those of the mesh.
    sent: Meter,
    /// Why the last reading had no evidence of it.
    gap: Option<String>,
    /// Why the mesh did not say what it sends to it.
    unseen: Option<String>,
    /// Requests that it answered, and had under way, at each of the last readings.
    lately: VecDeque<(f64, u64)>,
}

/// Growth of counters, also over a restart of who counts.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    last: Option<Served>,
    requests: f64,
    errors: f64,
}

impl Watching {
    /// Begins with what the counters showed before the plan was applied.
    pub(super) fn new(rules: &ShiftRules, plan: &Plan, before: &Reading) -> Self {
        let clusters = plan.to.iter().map(|(cluster, _)| {
            let wish = share(&plan.to, cluster);
            Watched {
                cluster: cluster.clone(),
                wish,
                gains: wish > share(&plan.from, cluster),
                served: Meter::default(),
                sent: Meter::default(),
                gap: None,
                unseen: None,
                lately: VecDeque::new(),
            }
        });
        let mut watching =
            Self { rules: rules.clone(), clusters: clusters.collect(), observed_at: None };
        watching.absorb(before);
        watching.clusters.iter_mut().for_each(|cluster| cluster.lately.clear());
        watching
    }

    /// Takes in the next reading.
    pub(super) fn step(&mut self, reading: &Reading) -> Step {
        self.absorb(reading);
        if let Some(reason) = self.failing() {
            return Step::RollBack(reason);
        }
        let missing = self.missing();
        match self.observed_at {
            None if missing.is_empty() => {
                let evidence = self.evidence();
                self.observed_at = Some(reading.at);
                self.clusters.iter_mut().for_each(Watched::begin_bake);
                Step::Observed(evidence)
            }
            None if reading.at >= self.rules.confirm_within => {
                Step::Unconfirmed(missing.join("; "))
            }
            Some(since) if reading.at.saturating_sub(since) >= self.rules.bake => self.baked(),
            _ => Step::Wait,
        }
    }

    /// How it stands when nobody can watch any longer.
    pub(super) fn break_off(&self, why: &str) -> String {
        match self.observed_at {
            Some(_) => format!("the counters have shown it, but {why} before the bake was over"),
            None => {
                format!("{why} before the counters have shown it: {}", self.missing().join("; "))
            }
        }
    }

    fn absorb(&mut self, reading: &Reading) {
        let window = self.rules.readings_of_quiet();
        for (cluster, seen) in self.clusters.iter_mut().zip(&reading.clusters) {
            cluster.absorb(seen, window);
        }
    }

    /// Which cluster fails too often by its own counters, or by those of the mesh: a cluster that
    /// has died counts nothing.
    fn failing(&self) -> Option<String> {
        let rules = &self.rules;
        self.clusters.iter().filter(|cluster| cluster.gains).find_map(|cluster| {
            let name = &cluster.cluster;
            let Meter { requests, errors, .. } = cluster.served;
            if cluster.served.fails(rules) {
                return Some(format!(
                    "{name} failed {errors} of the {requests} requests it answered"
                ));
            }
            let Meter { requests, errors, .. } = cluster.sent;
            let fails = cluster.sent.fails(rules);
            fails.then(|| format!("{errors} of {requests} requests sent to {name} failed"))
        })
    }

    /// What the counters do not show yet; empty when they show the new split.
    fn missing(&self) -> Vec<String> {
        let answered = self.answered();
        self.clusters.iter().filter_map(|cluster| cluster.missing(answered, &self.rules)).collect()
    }

    fn baked(&self) -> Step {
        let gaps = self.clusters.iter().filter(|c| c.wish > 0.0).filter_map(Watched::gap);
        let gaps: Vec<_> = gaps.collect();
        if !gaps.is_empty() {
            let lost = gaps.join("; ");
            return Step::Unconfirmed(format!("the counters had shown it, but then: {lost}"));
        }
        let answers = self.clusters.iter().filter(|c| c.gains).map(Watched::answers);
        let answers = answers.collect::<Vec<_>>().join("; ");
        Step::Settled(format!("in a bake of {:?}, {answers}", self.rules.bake))
    }

    fn evidence(&self) -> String {
        let (answered, rules) = (self.answered(), &self.rules);
        let facts = self.clusters.iter().map(|cluster| cluster.evidence(answered, rules));
        facts.collect::<Vec<_>>().join("; ")
    }

    /// Requests answered by the clusters that shall have traffic.
    fn answered(&self) -> f64 {
        self.clusters.iter().filter(|c| c.wish > 0.0).map(|c| c.served.requests).sum()
    }
}

impl Watched {
    fn absorb(&mut self, seen: &Seen, window: usize) {
        self.unseen = seen.sent.as_ref().err().cloned();
        let (sent, active) = match &seen.sent {
            Ok(traffic) => {
                let (requests, errors) = (traffic.requests as f64, traffic.errors as f64);
                (self.sent.read(Served { requests, errors }), traffic.active)
            }
            // What is not known may be under way.
            Err(_) => (0.0, 1),
        };
        let served = match &seen.served {
            Ok(served) if is_count(served) => {
                self.gap = None;
                self.served.read(*served)
            }
            Ok(_) => {
                self.gap = Some("its counters are no counts".to_owned());
                0.0
            }
            Err(reason) => {
                self.gap = Some(reason.clone());
                0.0
            }
        };
        // A counter that began anew may by chance show what it showed before.
        let grown = f64::max(served, sent);
        self.lately.push_back((grown, active));
        if self.lately.len() > window {
            self.lately.pop_front();
        }
    }

    fn begin_bake(&mut self) {
        for meter in [&mut self.served, &mut self.sent] {
            *meter = Meter { last: meter.last, ..Meter::default() };
        }
    }

    fn missing(&self, answered: f64, rules: &ShiftRules) -> Option<String> {
        if self.wish == 0.0 {
            return self.noise(rules);
        }
        let (name, requests) = (&self.cluster, self.served.requests);
        if self.gap.is_some() {
            return self.gap();
        }
        if self.gains && requests < rules.min_requests as f64 {
            let needed = rules.min_requests;
            return Some(format!("{name} served {requests} of {needed} requests needed"));
        }
        let needed = rules.requests_for_share(self.wish);
        if answered < needed {
            return Some(format!(
                "{answered} of {needed} requests needed to judge the share of {name}"
            ));
        }
        let share = requests / answered;
        (self.wish < 1.0 && (share - self.wish).abs() > rules.tolerance).then(|| {
            let (is, wish) = (percent(share), percent(self.wish));
            format!("{name} answers {is} of the requests, {wish} wished")
        })
    }

    /// What is still heard of a cluster that shall have no traffic.
    ///
    /// One that cannot be asked, as it may be dead, counts as quiet when the mesh sends it nothing.
    fn noise(&self, rules: &ShiftRules) -> Option<String> {
        let name = &self.cluster;
        let grown: f64 = self.lately.iter().map(|(grown, _)| grown).sum();
        let active = self.lately.back().map_or(0, |(_, active)| *active);
        if grown > 0.0 {
            return Some(format!("{name} still answers: {grown} requests in the last window"));
        }
        if let Some(reason) = &self.unseen {
            return Some(format!("the mesh does not say what it sends to {name}: {reason}"));
        }
        if active > 0 {
            return Some(format!("{name} still has requests under way: {active}"));
        }
        let drained = self.lately.iter().filter(|(_, active)| *active == 0).count();
        (drained < rules.readings_of_quiet())
            .then(|| format!("{name} is not quiet for {:?} yet", rules.quiet))
    }

    fn gap(&self) -> Option<String> {
        self.gap.as_ref().map(|reason| format!("no evidence of {}: {reason}", self.cluster))
    }

    fn answers(&self) -> String {
        let Meter { requests, errors, .. } = self.served;
        format!("{} answered {requests} requests, {errors} of them failed", self.cluster)
    }

    fn evidence(&self, answered: f64, rules: &ShiftRules) -> String {
        let (name, quiet) = (&self.cluster, rules.quiet);
        match &self.gap {
            _ if self.wish == 1.0 => self.answers(),
            _ if self.wish > 0.0 => {
                let share = percent(self.served.requests / answered);
                format!("{}: {share} of all, {} wished", self.answers(), percent(self.wish))
            }
            None => format!("{name} answered none for {quiet:?}"),
            Some(gap) => format!("{name} cannot be asked ({gap}) and was sent none for {quiet:?}"),
        }
    }
}

impl Meter {
    /// Takes in the next reading; returns by how many requests the counter has grown.
    fn read(&mut self, now: Served) -> f64 {
        let zero = Served { requests: 0.0, errors: 0.0 };
        let before = match self.last.replace(now) {
            Some(last) if last.requests <= now.requests => last,
            // Who counts has begun anew: all of it has come since.
            Some(_) => zero,
            None => now,
        };
        let grown = now.requests - before.requests;
        self.requests += grown;
        self.errors += (now.errors - before.errors).clamp(0.0, grown);
        grown
    }

    fn fails(&self, rules: &ShiftRules) -> bool {
        self.requests >= rules.min_requests.max(1) as f64
            && self.errors / self.requests > rules.max_error_ratio
    }
}

impl ShiftRules {
    /// How many readings in a row make a window of quiet.
    fn readings_of_quiet(&self) -> usize {
        let readings = self.quiet.as_nanos().div_ceil(self.poll().as_nanos());
        usize::try_from(readings).unwrap_or(usize::MAX).max(1)
    }

    /// How many requests there must be for two standard deviations to fit in the tolerance.
    fn requests_for_share(&self, share: f64) -> f64 {
        let deviations = 2.0 / self.tolerance.max(0.001);
        // Less than a thousandth of a request is an error of rounding.
        (share * (1.0 - share) * deviations * deviations - 0.001).ceil().max(0.0)
    }

    pub(super) fn poll(&self) -> Duration {
        self.poll.max(Duration::from_millis(1))
    }
}

fn is_count(served: &Served) -> bool {
    [served.requests, served.errors].iter().all(|n| n.is_finite() && *n >= 0.0)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests;
