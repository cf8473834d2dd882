//! What OpenMetrics demands of metric families, beyond the grammar of a line.
//!
//! Lines of one family stand together, metadata first; inside it the samples of one metric (one
//! label set, without the labels that tell buckets, quantiles and states apart) stand together, in
//! the order of their timestamps.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use hms_ops_core::exposition::edge_label;

use super::line::{Label, number};
use super::{Event, Fault, MetricType, Sample, excerpt};

const SUFFIXES: [&str; 9] =
    ["", "_total", "_created", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info"];

/// The numbers whose spelling as an `le` is fixed, and that spelling.
const CANONICAL: [(f64, &str); 22] = [
    (1e-10, "1e-10"),
    (1e-9, "1e-09"),
    (1e-8, "1e-08"),
    (1e-7, "1e-07"),
    (1e-6, "1e-06"),
    (1e-5, "1e-05"),
    (1e-4, "0.0001"),
    (1e-3, "0.001"),
    (1e-2, "0.01"),
    (1e-1, "0.1"),
    (1e0, "1.0"),
    (1e1, "10.0"),
    (1e2, "100.0"),
    (1e3, "1000.0"),
    (1e4, "10000.0"),
    (1e5, "100000.0"),
    (1e6, "1e+06"),
    (1e7, "1e+07"),
    (1e8, "1e+08"),
    (1e9, "1e+09"),
    (1e10, "1e+10"),
    (f64::INFINITY, "+Inf"),
];

/// The families of one body, as far as it has been read.
#[derive(Debug)]
pub(super) struct Families<'a> {
    /// Keeps a target from choosing what hashes it gets.
    key: u64,
    complete: HashMap<&'a str, MetricType>,
    current: Option<Family<'a>>,
    /// Metrics of the current family, by hash.
    metrics: HashSet<u64, BuildHasherDefault<AsItIs>>,
    /// Series of the current family that were sent without a timestamp, by hash.
    series: HashSet<u64, BuildHasherDefault<AsItIs>>,
}

#[derive(Debug)]
struct Family<'a> {
    name: &'a str,
    line: usize,
    metric_type: Option<MetricType>,
    help: bool,
    unit: Option<&'a str>,
    metric: Option<Metric>,
}

/// The samples of one label set, as far as they have been read.
#[derive(Debug)]
struct Metric {
    key: u64,
    line: usize,
    timestamp: Option<i64>,
    histogram: Histogram,
}

#[derive(Debug, Default)]
struct Histogram {
    upper: Option<f64>,
    cumulative: f64,
    negative: bool,
    count: Option<f64>,
    sum: Option<f64>,
}

impl<'a> Families<'a> {
    pub(super) fn new() -> Self {
        Self {
            key: RandomState::new().hash_one(()),
            complete: HashMap::new(),
            current: None,
            metrics: HashSet::default(),
            series: HashSet::default(),
        }
    }

    /// Checks one event against those before it; `labels` are those of a sample.
    pub(super) fn see(
        &mut self,
        event: &Event<'a>,
        labels: &[Label<'a>],
        line: usize,
    ) -> Result<(), Fault> {
        match *event {
            Event::Help { family, .. } => {
                let family = self.describe(family, line)?;
                once("HELP", family.name, !std::mem::replace(&mut family.help, true))
            }
            Event::Type { family, metric_type } => {
                let family = self.describe(family, line)?;
                once("TYPE", family.name, family.metric_type.replace(metric_type).is_none())
            }
            Event::Unit { family, unit } => {
                let family = self.describe(family, line)?;
                once("UNIT", family.name, family.unit.replace(unit).is_none())?;
                let stem = family.name.strip_suffix(unit).and_then(|stem| stem.strip_suffix('_'));
                if !unit.is_empty() && stem.is_none() {
                    return Err(Fault::line(format!(
                        "unit {} does not end {}",
                        excerpt(unit),
                        excerpt(family.name)
                    )));
                }
                Ok(())
            }
            Event::Sample(ref sample) => self.sample(sample, labels, line),
        }
    }

    /// Completes the last family.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        let Some(mut family) = self.current.take() else { return Ok(()) };
        family.finish_metric()?;
        let metric_type = family.metric_type();
        let at_family = |reason| Fault { line: Some(family.line), offset: None, reason };
        if family.unit.is_some_and(|unit| !unit.is_empty())
            && matches!(metric_type, MetricType::Info | MetricType::StateSet)
        {
            return Err(at_family(format!(
                "{} is an info or a stateset and has a unit",
                excerpt(family.name)
            )));
        }
        if let Some(other) = self.clash(family.name, metric_type) {
            return Err(at_family(format!(
                "{} clashes with {}",
                excerpt(family.name),
                excerpt(&other)
            )));
        }
        self.complete.insert(family.name, metric_type);
        self.metrics.clear();
        self.series.clear();
        Ok(())
    }

    /// The family that a metadata line is about.
    fn describe(&mut self, name: &'a str, line: usize) -> Result<&mut Family<'a>, Fault> {
        if self
            .current
            .as_ref()
            .is_some_and(|family| family.name == name && family.metric.is_some())
        {
            return Err(Fault::line(format!("metadata of {} after its samples", excerpt(name))));
        }
        self.enter(name, line)
    }

    /// Makes the family called `name` the current one.
    fn enter(&mut self, name: &'a str, line: usize) -> Result<&mut Family<'a>, Fault> {
        if self.current.as_ref().is_none_or(|family| family.name != name) {
            self.finish()?;
            if self.complete.contains_key(name) {
                return Err(Fault::line(format!("family {} is in two places", excerpt(name))));
            }
        }
        Ok(self.current.get_or_insert(Family {
            name,
            line,
            metric_type: None,
            help: false,
            unit: None,
            metric: None,
        }))
    }

    /// A complete family that shares a sample name with the family `name`.
    fn clash(&self, name: &str, metric_type: MetricType) -> Option<String> {
        let has = |family: &str, suffix: &str| {
            self.complete
                .get(family)
                .is_some_and(|other| reserved(*other).any(|taken| taken == suffix))
        };
        let longer = reserved(metric_type)
            .map(|suffix| format!("{name}{suffix}"))
            .find(|name| has(name, ""));
        let shorter = || {
            let stems =
                SUFFIXES.iter().filter_map(|suffix| Some((name.strip_suffix(suffix)?, suffix)));
            stems
                .into_iter()
                .find(|(stem, suffix)| has(stem, suffix))
                .map(|(stem, _)| stem.to_owned())
        };
        longer.or_else(shorter)
    }

    fn sample(
        &mut self,
        sample: &Sample<'a>,
        labels: &[Label<'a>],
        line: usize,
    ) -> Result<(), Fault> {
        let inside = self.current.as_ref().and_then(|family| family.suffix_of(sample.name));
        if inside.is_none() {
            self.enter(sample.name, line)?;
        }
        let family = self.current.as_mut().expect("the sample's family was entered");
        let Some(suffix) = family.suffix_of(sample.name) else {
            let metric_type = family.metric_type();
            return Err(Fault::line(format!(
                "{} is not a sample of a {metric_type}",
                excerpt(sample.name)
            )));
        };
        family.check_value(sample, suffix, labels)?;

        let apart = family.telling_apart(suffix);
        let mut metric = 0_u64;
        let mut series = hash(self.key, suffix, "");
        for label in labels {
            let hash = hash(self.key, label.name, label.value.raw());
            series = series.wrapping_add(hash);
            if Some(label.name) != apart {
                metric = metric.wrapping_add(hash);
            }
        }
        if family.metric_type() == MetricType::Info {
            metric = 0; // its labels are all there is to it
        }

        let began = family.turn_to(metric, sample, line)?;
        family.observe(sample, suffix, labels, line)?;
        if began && !self.metrics.insert(metric) {
            return Err(Fault::line(format!(
                "samples of {} do not stand together",
                excerpt(sample.series)
            )));
        }
        if sample.timestamp.is_none() && !self.series.insert(series) {
            return Err(Fault::line(format!("series {} is given twice", excerpt(sample.series))));
        }
        Ok(())
    }
}

impl<'a> Family<'a> {
    fn metric_type(&self) -> MetricType {
        self.metric_type.unwrap_or_default()
    }

    /// What `name` adds to the family's name, if it is one of the family's sample names.
    fn suffix_of(&self, name: &str) -> Option<&'static str> {
        let suffix = name.strip_prefix(self.name)?;
        suffixes(self.metric_type()).iter().copied().find(|known| *known == suffix)
    }

    /// The label that tells the samples of one metric apart.
    fn telling_apart(&self, suffix: &str) -> Option<&'a str> {
        match self.metric_type() {
            MetricType::Histogram | MetricType::GaugeHistogram if suffix == "_bucket" => Some("le"),
            MetricType::Summary if suffix.is_empty() => Some("quantile"),
            MetricType::StateSet => Some(self.name),
            _ => None,
        }
    }

    fn check_value(
        &self,
        sample: &Sample<'_>,
        suffix: &str,
        labels: &[Label<'_>],
    ) -> Result<(), Fault> {
        let Sample { value, series, .. } = *sample;
        let metric_type = self.metric_type();
        let refuse =
            |reason: &str| Err(Fault::line(format!("{} is {value}, {reason}", excerpt(series))));

        if sample.exemplar.is_some() && !matches!(suffix, "_total" | "_bucket") {
            return Err(Fault::line(format!("{} may not have an exemplar", excerpt(series))));
        }
        match suffix {
            "_gsum" if value.is_nan() => return refuse("a sum is a number"),
            "_total" | "_sum" if value.is_nan() || value < 0.0 => {
                return refuse("a counter is not negative");
            }
            "_bucket" | "_count" | "_gcount" if value < 0.0 || value.fract() != 0.0 => {
                return refuse("a count is a whole number");
            }
            _ => {}
        }
        match metric_type {
            MetricType::Info if value != 1.0 => return refuse("an info is always 1"),
            MetricType::StateSet if value != 0.0 && value != 1.0 => {
                return refuse("a state is 0 or 1");
            }
            MetricType::Summary if suffix.is_empty() && value < 0.0 => {
                return refuse("a quantile is not negative");
            }
            _ => {}
        }
        let Some(apart) = self.telling_apart(suffix) else { return Ok(()) };
        let Some(label) = labels.iter().find(|label| label.name == apart) else {
            return Err(Fault::line(format!(
                "{} has no label {}",
                excerpt(series),
                excerpt(apart)
            )));
        };
        let text = label.value.raw();
        match metric_type {
            MetricType::StateSet => Ok(()),
            MetricType::Summary
                if number(text).is_some_and(|quantile| (0.0..=1.0).contains(&quantile)) =>
            {
                Ok(())
            }
            MetricType::Summary => {
                Err(Fault::line(format!("quantile {} is not within 0 and 1", excerpt(text))))
            }
            _ => check_le(text),
        }
    }

    /// Makes the metric `key` the current one; says whether it was another before.
    fn turn_to(&mut self, key: u64, sample: &Sample<'_>, line: usize) -> Result<bool, Fault> {
        let timestamp = sample.timestamp;
        let fresh = Metric { key, line, timestamp, histogram: Histogram::default() };
        let Some(metric) = self.metric.as_ref().filter(|metric| metric.key == key) else {
            self.finish_metric()?;
            self.metric = Some(fresh);
            return Ok(true);
        };
        if metric.timestamp == timestamp {
            return Ok(false);
        }
        if metric.timestamp.is_some() != timestamp.is_some() {
            return Err(Fault::line(format!(
                "{} has a timestamp only sometimes",
                excerpt(sample.series)
            )));
        }
        if metric.timestamp > timestamp && self.metric_type() != MetricType::Info {
            return Err(Fault::line(format!(
                "timestamps of {} go backwards",
                excerpt(sample.series)
            )));
        }
        self.finish_metric()?;
        self.metric = Some(fresh);
        Ok(false)
    }

    fn observe(
        &mut self,
        sample: &Sample<'_>,
        suffix: &str,
        labels: &[Label<'_>],
        line: usize,
    ) -> Result<(), Fault> {
        let metric = self.metric.as_mut().expect("turn_to has set it");
        metric.line = line;
        match suffix {
            "_bucket" => {
                let le = labels.iter().find(|label| label.name == "le");
                let upper =
                    le.and_then(|le| number(le.value.raw())).expect("check_value has parsed it");
                metric.histogram.bucket(upper, sample)
            }
            "_count" | "_gcount" => {
                metric.histogram.count = Some(sample.value);
                Ok(())
            }
            "_sum" | "_gsum" => {
                metric.histogram.sum = Some(sample.value);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish_metric(&mut self) -> Result<(), Fault> {
        let metric_type = self.metric_type();
        let Some(metric) = self.metric.take() else { return Ok(()) };
        let reason = match metric_type {
            MetricType::Histogram | MetricType::GaugeHistogram => {
                metric.histogram.lacks(metric_type)
            }
            _ => None,
        };
        match reason {
            None => Ok(()),
            Some(reason) => {
                let reason = format!("{metric_type} {} {reason}", excerpt(self.name));
                Err(Fault { line: Some(metric.line), offset: None, reason })
            }
        }
    }
}

impl Histogram {
    fn bucket(&mut self, upper: f64, sample: &Sample<'_>) -> Result<(), Fault> {
        if self.upper.is_some_and(|before| upper <= before) {
            return Err(Fault::line(format!("bucket {} is out of order", excerpt(sample.series))));
        }
        if sample.value < self.cumulative {
            return Err(Fault::line(format!(
                "bucket {} counts less than the one below",
                excerpt(sample.series)
            )));
        }
        self.upper = Some(upper);
        self.cumulative = sample.value;
        self.negative |= upper < 0.0;
        Ok(())
    }

    /// What is missing or contradictory, once all samples are there.
    fn lacks(&self, metric_type: MetricType) -> Option<&'static str> {
        let Self { upper, cumulative, negative, count, sum } = *self;
        let gauge = metric_type == MetricType::GaugeHistogram;
        if upper != Some(f64::INFINITY) {
            Some("has no bucket +Inf")
        } else if count.is_some_and(|count| count != cumulative) {
            Some("has a count unlike its bucket +Inf")
        } else if sum.is_some() != count.is_some() {
            Some("has a count without a sum, or a sum without a count")
        } else if negative && sum.is_some() && !gauge {
            Some("has negative buckets and a sum")
        } else if !negative && sum.is_some_and(|sum| sum < 0.0) {
            Some("has a negative sum and no negative bucket")
        } else {
            None
        }
    }
}

/// The sample names that a family of this type has, without the family's name.
fn suffixes(metric_type: MetricType) -> &'static [&'static str] {
    match metric_type {
        MetricType::Counter => &["_total", "_created"],
        MetricType::Histogram => &["_bucket", "_count", "_sum", "_created"],
        MetricType::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
        MetricType::Summary => &["", "_count", "_sum", "_created"],
        MetricType::Info => &["_info"],
        MetricType::Unknown | MetricType::Gauge | MetricType::StateSet => &[""],
    }
}

/// The names that no other family may use: those of its samples, and its own.
fn reserved(metric_type: MetricType) -> impl Iterator<Item = &'static str> {
    let samples = suffixes(metric_type);
    samples.iter().copied().chain((!samples.contains(&"")).then_some(""))
}

fn once(what: &str, family: &str, first: bool) -> Result<(), Fault> {
    if first { Ok(()) } else { Err(Fault::line(format!("a second {what} of {}", excerpt(family)))) }
}

/// Some numbers have one spelling. Exposers that serve both formats from one set of label values
/// write them without `.0` or exponent; whoever stores the samples makes these one again.
fn check_le(text: &str) -> Result<(), Fault> {
    let Some(upper) = number(text).filter(|upper| !upper.is_nan()) else {
        return Err(Fault::line(format!("le {} is not a number", excerpt(text))));
    };
    match CANONICAL.iter().find(|(number, _)| *number == upper) {
        Some((_, canonical)) if *canonical != text && edge_label(upper) != text => {
            Err(Fault::line(format!("le {} must be written {canonical:?}", excerpt(text))))
        }
        _ => Ok(()),
    }
}

/// Hashes a label so that the sum over a label set does not depend on its order.
fn hash(key: u64, name: &str, value: &str) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = key ^ ((name.len() as u64) << 32) ^ value.len() as u64;
    let mut mix = |word: u64| {
        state = (state ^ word).wrapping_mul(MULTIPLIER);
        state ^= state >> 29;
    };
    for text in [name, value] {
        let mut words = text.as_bytes().chunks_exact(8);
        for word in &mut words {
            mix(u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
        let mut last = [0; 8];
        last[..words.remainder().len()].copy_from_slice(words.remainder());
        mix(u64::from_le_bytes(last));
    }
    mix(0);
    state
}

/// Passes on what is a hash already.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
