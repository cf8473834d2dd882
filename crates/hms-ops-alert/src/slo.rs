//! Service level objectives: which events are good, how many shall be, and when to wake somebody.
//!
//! Source: *The Site Reliability Workbook*, ch. 5, "Alerting on SLOs", the multiwindow, multi-burn-rate
//! alerts.

use std::fmt;
use std::time::Duration;

use hms_ops_core::matcher::{Matcher, Selector};
use hms_ops_core::name::{Service, stored_name};
use serde::{Deserialize, Serialize};

pub(crate) mod guard;
mod objective;
pub(crate) mod period;
pub(crate) mod ring;

pub use objective::{BurnRate, NotDecimal, Objective};
pub use period::Period;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The shortest window, slice and the longest period.
const SHORTEST_WINDOW: Duration = MINUTE;
const SHORTEST_SLICE: Duration = Duration::from_secs(10);
const LONGEST_SLICE: Duration = HOUR;
const LONGEST_PERIOD: Duration = Duration::from_secs(366 * 86_400);

/// The table of the workbook: severity, long and short window, burn rate. Over 30 days, 2, 5, 10 and
/// 10 % of the budget are gone when it fires.
const WORKBOOK: [(Severity, Duration, Duration, &str); 4] = [
    (Severity::Page, HOUR, Duration::from_secs(300), "14.4"),
    (Severity::Page, Duration::from_secs(6 * 3600), Duration::from_secs(1800), "6"),
    (Severity::Ticket, DAY, Duration::from_secs(2 * 3600), "3"),
    (Severity::Ticket, Duration::from_secs(3 * 86_400), Duration::from_secs(6 * 3600), "1"),
];

/// An objective that a service is held to. Made by [`Slo::new`]; valid as it is.
///
/// ```
/// use hms_ops_alert::Slo;
///
/// let slo = Slo::new("disaster-claims")
///     .service("claims-svc")
///     .latency("claims.latency_ms", 500.0)
///     .objective("99.999")
///     .build()?;
/// assert_eq!(slo.objective().to_string(), "99.999");
///
/// let refused = Slo::new("weak").latency("claims.latency_ms", 500.0).objective("90").build();
/// assert!(refused.unwrap_err().to_string().contains("can never burn faster than 10"));
/// # Ok::<(), hms_ops_alert::slo::SloErrors>(())
/// ```
#[derive(Clone, Debug)]
pub struct Slo {
    name: String,
    service: Option<Service>,
    sli: Sli,
    objective: Objective,
    period: Period,
    slices: Option<Slices>,
    alerts: Vec<BurnAlert>,
    recover: Duration,
    warnings: Vec<String>,
}

/// Which events are good.
#[derive(Clone, Debug)]
pub enum Sli {
    /// Those of a metric at or below a limit, in the metric's unit.
    Latency {
        /// Name of the metric, in either spelling.
        metric: String,
        /// The limit, which must be an edge of its buckets.
        limit: f64,
    },
    /// Those that two sums of counters say.
    Ratio {
        /// Counts every event.
        total: Vec<Matcher>,
        /// Counts some of them.
        part: Vec<Matcher>,
        /// Whether those are the bad ones.
        part_is_bad: bool,
    },
    /// The samples of a gauge that are not zero, such as `up`.
    Availability {
        /// The gauge.
        gauge: Vec<Matcher>,
    },
}

/// Counts slices of time in place of events: a slice is good if enough of its events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    /// How long a slice is.
    pub length: Duration,
    /// How many of its events shall be good.
    pub target: Objective,
}

/// Whom a fast spend is for. The label `severity` of the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody must be woken.
    Page,
    /// Somebody must look, in working hours.
    Ticket,
}

impl Severity {
    /// The label's value.
    pub fn word(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
        }
    }
}

/// Alerts while the budget is spent faster than this in both windows: in the long one it matters, and in
/// the short one it still goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurnAlert {
    /// Whom it is for.
    pub severity: Severity,
    /// The window over which it matters.
    pub long: Duration,
    /// The window in which it still goes on.
    pub short: Duration,
    /// How fast is too fast.
    pub burn: BurnRate,
}

/// Says what an [`Slo`] is; [`SloBuilder::build`] checks it.
#[derive(Clone, Debug)]
pub struct SloBuilder {
    name: String,
    service: Option<Service>,
    slis: Vec<Result<Sli, SloError>>,
    objective: String,
    period: Period,
    slices: Option<(Duration, String)>,
    alerts: Option<Vec<(Severity, Duration, Duration, String)>>,
    recover: Duration,
    traffic: Option<f64>,
}

/// One reason why an SLO is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum SloError {
    /// Alerts and runbooks meet by name.
    #[error("an SLO needs a name")]
    NoName,

    /// Nothing says which events are good.
    #[error("one of latency, ratio and availability must say which events are good, not {found}")]
    NotOneSli { found: usize },

    /// No latency is at or below it, or every one is.
    #[error("{limit} is not a latency to stay at or below")]
    Limit { limit: f64 },

    /// A selector cannot be read, or names no metric.
    #[error("{key} {selector:?} is not a selector: {reason}")]
    Selector { key: &'static str, selector: String, reason: String },

    /// The objective is no decimal between 0 and 100.
    #[error(transparent)]
    Objective(NotDecimal),

    /// The period is too short or too long.
    #[error("a period of {length:?} is not between an hour and 366 days")]
    Period { length: Duration },

    /// The slices are too short or too long.
    #[error("slices of {length:?} are not between 10 s and an hour")]
    Slices { length: Duration },

    /// The target of the slices is no decimal between 0 and 100.
    #[error("of a slice, {0}")]
    SliceTarget(NotDecimal),

    /// Nothing would ever be said.
    #[error("an SLO without burn alerts says nothing")]
    NoAlerts,

    /// The burn rate is no decimal.
    #[error(transparent)]
    Burn(NotDecimal),

    /// A window does not fit.
    #[error("windows of {long:?} and {short:?} do not fit: {reason}")]
    Windows { long: Duration, short: Duration, reason: String },

    /// More could not be bad than everything.
    #[error(
        "a burn rate above {burn} can never be: {objective} % can never burn faster than {highest}"
    )]
    NeverFires { burn: BurnRate, objective: Objective, highest: f64 },
}

impl SloError {
    /// The key of the config that is at fault.
    pub fn key(&self) -> &'static str {
        match self {
            Self::NoName => "name",
            Self::NotOneSli { .. } => "sli",
            Self::Limit { .. } => "latency",
            Self::Selector { key, .. } => key,
            Self::Objective(_) => "objective",
            Self::Period { .. } => "period",
            Self::Slices { .. } | Self::SliceTarget(_) => "slices",
            Self::NoAlerts | Self::Burn(_) | Self::Windows { .. } | Self::NeverFires { .. } => {
                "burn"
            }
        }
    }
}

/// Every reason why an SLO is refused; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct SloErrors {
    /// The SLO.
    pub name: String,
    /// The reasons.
    pub errors: Vec<SloError>,
}

impl fmt::Display for SloErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SLO {:?}: ", self.name)?;
        for (i, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for SloErrors {}

impl Slo {
    /// Begins an SLO. Its alert has this name, and runbooks bind to it.
    #[allow(clippy::new_ret_no_self, reason = "an SLO that was not checked is none")]
    pub fn new(name: &str) -> SloBuilder {
        SloBuilder {
            name: name.to_owned(),
            service: None,
            slis: Vec::new(),
            objective: String::new(),
            period: Period::DEFAULT,
            slices: None,
            alerts: None,
            recover: MINUTE,
            traffic: None,
        }
    }

    /// Its name, and that of its alert.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The service that is held to it; `None` for every one that has the metric.
    pub fn service(&self) -> Option<&Service> {
        self.service.as_ref()
    }

    /// Which events are good.
    pub fn sli(&self) -> &Sli {
        &self.sli
    }

    /// How many shall be.
    pub fn objective(&self) -> Objective {
        self.objective
    }

    /// The period that the error budget is for.
    pub fn period(&self) -> Period {
        self.period
    }

    /// The slices that are counted in place of events.
    pub fn slices(&self) -> Option<Slices> {
        self.slices
    }

    /// When to alert.
    pub fn alerts(&self) -> &[BurnAlert] {
        &self.alerts
    }

    /// How long the spend must be slow again before an alert resolves.
    pub fn recover(&self) -> Duration {
        self.recover
    }

    /// What is allowed, but probably not meant.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl SloBuilder {
    /// Holds one service to it. Without this, every service that has the metric is, each by itself.
    #[must_use]
    pub fn service(mut self, name: impl Into<Service>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// Good are the events of `metric` at or below `limit`, which must be an edge of its buckets in every
    /// source: else the alert is in error, and says which edges there are.
    #[must_use]
    pub fn latency(mut self, metric: &str, limit: f64) -> Self {
        let limit_is_one = limit.is_finite() && !metric.is_empty();
        let latency = Sli::Latency { metric: stored_name(metric).into_owned(), limit };
        self.slis.push(if limit_is_one { Ok(latency) } else { Err(SloError::Limit { limit }) });
        self
    }

    /// Bad are the events that the counters of the selector `bad` count, of those of `total`.
    ///
    /// ```
    /// # use hms_ops_alert::Slo;
    /// let slo = Slo::new("requests")
    ///     .bad_ratio(r#"http_requests_total{code=~"5.."}"#, "http_requests_total")
    ///     .objective("99.9")
    ///     .build();
    /// assert!(slo.is_ok());
    /// ```
    #[must_use]
    pub fn bad_ratio(self, bad: &str, total: &str) -> Self {
        self.ratio(("bad", bad), total)
    }

    /// Good are the events that the counters of the selector `good` count, of those of `total`.
    #[must_use]
    pub fn good_ratio(self, good: &str, total: &str) -> Self {
        self.ratio(("good", good), total)
    }

    fn ratio(mut self, (key, part): (&'static str, &str), total: &str) -> Self {
        let ratio = |total, part| Sli::Ratio { total, part, part_is_bad: key == "bad" };
        match (selector("total", total), selector(key, part)) {
            (Ok(total), Ok(part)) => self.slis.push(Ok(ratio(total, part))),
            (total, part) => {
                self.slis.extend([total, part].into_iter().filter_map(Result::err).map(Err));
            }
        }
        self
    }

    /// Good are the samples of the gauge `selector` that are not zero, such as those of `up`.
    #[must_use]
    pub fn availability(mut self, gauge: &str) -> Self {
        let gauge = selector("availability", gauge);
        self.slis.push(gauge.map(|gauge| Sli::Availability { gauge }));
        self
    }

    /// How many events shall be good, in percent, as text: a float could not say `99.999`.
    #[must_use]
    pub fn objective(mut self, percent: &str) -> Self {
        self.objective = percent.to_owned();
        self
    }

    /// The period that the error budget is for. Default: 30 days that end now.
    #[must_use]
    pub fn period(mut self, period: Period) -> Self {
        self.period = period;
        self
    }

    /// Counts slices of time in place of events: each is good if `target` percent of its events are.
    /// Slices without events are left out.
    #[must_use]
    pub fn slices(mut self, length: Duration, target: &str) -> Self {
        self.slices = Some((length, target.to_owned()));
        self
    }

    /// Alerts when `burn` is exceeded in both windows; the first call replaces the workbook's table.
    #[must_use]
    pub fn burn(mut self, severity: Severity, long: Duration, short: Duration, burn: &str) -> Self {
        self.alerts.get_or_insert_default().push((severity, long, short, burn.to_owned()));
        self
    }

    /// How long the spend must be slow again before an alert resolves. Default 60 s.
    #[must_use]
    pub fn recover(mut self, recover: Duration) -> Self {
        self.recover = recover;
        self
    }

    /// How many events are expected each second, for [`Slo::warnings`].
    #[must_use]
    pub fn traffic(mut self, per_second: f64) -> Self {
        self.traffic = Some(per_second);
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    ///
    /// [`SloErrors`], all of them at once.
    pub fn build(self) -> Result<Slo, SloErrors> {
        let mut errors = Vec::new();
        if self.name.trim().is_empty() {
            errors.push(SloError::NoName);
        }
        let mut slis = Vec::new();
        let found = self.slis.len();
        for sli in self.slis {
            match sli {
                Ok(sli) => slis.push(sli),
                Err(error) => errors.push(error),
            }
        }
        if found == 0 || slis.len() > 1 {
            errors.push(SloError::NotOneSli { found });
        }
        let objective = self.objective.parse().map_err(|e| errors.push(SloError::Objective(e)));
        let length = self.period.length();
        if !(HOUR..=LONGEST_PERIOD).contains(&length) {
            errors.push(SloError::Period { length });
        }
        let slices = self.slices.map(|(length, target)| {
            if !(SHORTEST_SLICE..=LONGEST_SLICE).contains(&length) {
                errors.push(SloError::Slices { length });
            }
            let target = target.parse().map_err(|e| errors.push(SloError::SliceTarget(e)));
            target.map(|target| Slices { length, target })
        });
        let workbook = || WORKBOOK.map(|(s, long, short, burn)| (s, long, short, burn.to_owned()));
        let table = self.alerts.unwrap_or_else(|| workbook().to_vec());
        if table.is_empty() {
            errors.push(SloError::NoAlerts);
        }
        let shortest = slices.and_then(Result::ok).map_or(SHORTEST_WINDOW, |s| s.length);
        let shortest = shortest.max(SHORTEST_WINDOW);
        let mut alerts = Vec::new();
        for (severity, long, short, burn) in table {
            let reason = match () {
                () if short < shortest => Some(format!("shorter than {shortest:?} says nothing")),
                () if short >= long => Some("the short one must be shorter".to_owned()),
                () if long > length => Some(format!("the period is only {length:?}")),
                () => None,
            };
            errors.extend(reason.map(|reason| SloError::Windows { long, short, reason }));
            let burn: BurnRate = match burn.parse() {
                Ok(burn) => burn,
                Err(error) => {
                    errors.push(SloError::Burn(error));
                    continue;
                }
            };
            if let Ok(objective) = objective
                && !Objective::can_exceed(objective, burn)
            {
                let highest = objective.highest_burn();
                errors.push(SloError::NeverFires { burn, objective, highest });
            }
            alerts.push(BurnAlert { severity, long, short, burn });
        }
        let (Some(sli), Ok(objective), true) = (slis.pop(), objective, errors.is_empty()) else {
            return Err(SloErrors { name: self.name, errors });
        };
        // Events of a period, and how many of them may be bad.
        let traffic = self.traffic.map(|per_second| per_second * length.as_secs_f64());
        let allowed = traffic.map(|events| (events, events * objective.error_ratio()));
        let warnings = allowed.filter(|(_, bad)| *bad < 1.0 && slices.is_none()).map(|(events, _)| {
            format!(
                "of {events:.0} events in a period, {objective} % allows not even one to be bad: \
                 take a longer period, time slices, or synthetic traffic"
            )
        });
        Ok(Slo {
            name: self.name,
            service: self.service,
            sli,
            objective,
            period: self.period,
            slices: slices.and_then(Result::ok),
            alerts,
            recover: self.recover,
            warnings: warnings.into_iter().collect(),
        })
    }
}

fn selector(key: &'static str, text: &str) -> Result<Vec<Matcher>, SloError> {
    let parsed = text.parse::<Selector>();
    parsed.map(|selector| selector.matchers().to_vec()).map_err(|error| SloError::Selector {
        key,
        selector: text.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> SloBuilder {
        Slo::new("disaster-claims").latency("claims.latency_ms", 500.0).objective("99.999")
    }

    #[test]
    fn without_more_an_slo_is_for_30_days_and_has_the_table_of_the_workbook() {
        let slo = claims().build().unwrap();
        assert_eq!(slo.period(), Period::Rolling(30 * DAY));
        let hours = |d: Duration| d.as_secs_f64() / 3600.0;
        let table = slo.alerts().iter().map(|alert| {
            let spent =
                alert.burn.get() * alert.long.as_secs_f64() / slo.period().length().as_secs_f64();
            (alert.severity.word(), hours(alert.long), alert.burn.get(), (spent * 100.0).round())
        });
        assert!(table.eq([
            ("page", 1.0, 14.4, 2.0),
            ("page", 6.0, 6.0, 5.0),
            ("ticket", 24.0, 3.0, 10.0),
            ("ticket", 72.0, 1.0, 10.0),
        ]));
        assert!(slo.alerts().iter().all(|alert| alert.long == alert.short * 12));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let slo = Slo::new(" ")
            .latency("x_ms", f64::NAN)
            .bad_ratio("x{", "")
            .objective("100")
            .period(Period::Rolling(MINUTE))
            .slices(DAY, "101")
            .burn(Severity::Page, MINUTE, HOUR, "fast");
        let refused = slo.build().unwrap_err();
        let keys: Vec<_> = refused.errors.iter().map(SloError::key).collect();
        let all = [
            "name",
            "latency",
            "total",
            "bad",
            "objective",
            "period",
            "slices",
            "slices",
            "burn",
            "burn",
        ];
        assert_eq!(keys, all, "{refused}");
    }

    #[test]
    fn exactly_one_sli_is_wanted() {
        for (slo, found) in [(Slo::new("a").objective("99.9"), 0), (claims().availability("up"), 2)]
        {
            assert_eq!(slo.build().unwrap_err().errors, [SloError::NotOneSli { found }]);
        }
    }

    #[test]
    fn a_burn_rate_that_not_even_an_outage_reaches_is_refused() {
        let refused = claims().objective("90").build().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "SLO \"disaster-claims\": a burn rate above 14.4 can never be: 90 % can never burn faster \
             than 10"
        );
        assert!(claims().objective("93.1").build().is_ok());
    }

    #[test]
    fn windows_must_fit_each_other_and_the_period() {
        for (long, short, reason) in [
            (HOUR, HOUR, "the short one must be shorter"),
            (40 * DAY, DAY, "the period is only 2592000s"),
            (HOUR, Duration::from_secs(1), "shorter than 60s says nothing"),
        ] {
            let refused = claims().burn(Severity::Page, long, short, "2").build().unwrap_err();
            let reason = reason.to_owned();
            assert_eq!(refused.errors, [SloError::Windows { long, short, reason }]);
        }
    }

    #[test]
    fn traffic_that_is_too_low_for_the_objective_is_warned_of() {
        // 100,000 events a month: one bad one is all of the budget.
        assert_eq!(claims().traffic(0.039).build().unwrap().warnings().len(), 0);
        let slow = claims().traffic(0.038).build().unwrap();
        assert_eq!(
            slow.warnings(),
            ["of 98496 events in a period, 99.999 % allows not even one to be bad: take a longer \
              period, time slices, or synthetic traffic"]
        );
        assert!(
            claims().traffic(0.038).slices(MINUTE, "99").build().unwrap().warnings().is_empty()
        );
    }
}
