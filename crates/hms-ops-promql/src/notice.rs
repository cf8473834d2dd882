//! What an evaluation notices beside its result: warnings and infos, as Prometheus 3.x words them.

use std::collections::BTreeMap;
use std::fmt;

use hms_ops_core::time::Timestamp;

use crate::ast::Span;
use crate::functions::number;

/// Annotations of one kind that an answer names, at most.
const SHOWN: usize = 10;

/// Something that may be wrong with a query or its data.
#[derive(Clone, Debug)]
pub(crate) enum Notice<'a> {
    // Warnings.
    BadQuantile(f64),
    BadRatio(f64, f64),
    BadBucketLabel { le: &'a str, metric: &'a str },
    MixedFloatsHistograms { metric: &'a str },
    MixedFloatsHistogramsInAggregation,
    MixedClassicNative { metric: &'a str },
    NotCounter { metric: &'a str },
    NotGauge { metric: &'a str },
    MixedExponentialCustom { metric: &'a str },
    ConflictingResets { during: &'static str },
    IncompatibleBuckets { op: &'a str },
    IneffectiveSort,
    // Infos.
    ReconciledEdges { during: &'static str },
    PossiblyNoCounter { metric: &'a str },
    ForcedMonotonic { metric: &'a str, forced: Forced },
    IncompatibleTypes { left: &'static str, op: &'a str, right: &'static str },
    HistogramIgnored { aggregation: &'static str },
    HistogramsIgnoredInRange { metric: &'a str },
    NanQuantile { metric: &'a str },
    SkewedQuantile { metric: &'a str },
    NanFraction { metric: &'a str },
}

/// Which buckets of classic histograms were made to ascend, in how many samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forced {
    /// The upper edges of the lowest and of the highest of them.
    pub(crate) edges: (f64, f64),
    /// By how much, at most.
    pub(crate) by: f64,
    pub(crate) samples: u64,
    /// When the first and the last of the samples were, in ms.
    pub(crate) times: (i64, i64),
}

impl Forced {
    fn merge(&mut self, other: &Self) {
        self.edges = (self.edges.0.min(other.edges.0), self.edges.1.max(other.edges.1));
        self.by = self.by.max(other.by);
        self.samples += other.samples;
        self.times = (self.times.0.min(other.times.0), self.times.1.max(other.times.1));
    }
}

impl fmt::Display for Forced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = [self.edges.0, self.edges.1].map(number::general);
        let [first, last] = [self.times.0, self.times.1].map(|ms| {
            let second = Timestamp::from_millis(ms - ms % 1000).to_string();
            second.replace(".000Z", "Z")
        });
        let (by, samples) = (number::rounded(self.by), self.samples);
        write!(
            f,
            ", from buckets {from} to {to}, with a max diff of {by}, over {samples} samples from \
             {first} to {last}"
        )
    }
}

impl Notice<'_> {
    fn is_warning(&self) -> bool {
        use Notice::{
            ForcedMonotonic, HistogramIgnored, HistogramsIgnoredInRange, IncompatibleTypes,
            NanFraction, NanQuantile, PossiblyNoCounter, ReconciledEdges, SkewedQuantile,
        };
        !matches!(
            self,
            ReconciledEdges { .. }
                | PossiblyNoCounter { .. }
                | ForcedMonotonic { .. }
                | IncompatibleTypes { .. }
                | HistogramIgnored { .. }
                | HistogramsIgnoredInRange { .. }
                | NanQuantile { .. }
                | SkewedQuantile { .. }
                | NanFraction { .. }
        )
    }
}

/// The metric's name at the end of a message, where it has one.
struct ForMetric<'a>(&'a str);

impl fmt::Display for ForMetric<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " for metric name {:?}", self.0) }
    }
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BadQuantile(q) => {
                write!(f, "quantile value should be between 0 and 1, got {}", number::general(q))
            }
            Self::BadRatio(ratio, to) => {
                let (ratio, to) = (number::general(ratio), number::general(to));
                write!(f, "ratio value should be between -1 and 1, got {ratio}, capping to {to}")
            }
            Self::BadBucketLabel { le, metric } => write!(
                f,
                "bucket label \"le\" is missing or has a malformed value of {le:?}{}",
                ForMetric(metric)
            ),
            Self::MixedFloatsHistograms { metric } => {
                write!(f, "encountered a mix of histograms and floats for metric name {metric:?}")
            }
            Self::MixedFloatsHistogramsInAggregation => {
                f.write_str("encountered a mix of histograms and floats for aggregation")
            }
            Self::MixedClassicNative { metric } => write!(
                f,
                "vector contains a mix of classic and native histograms{}",
                ForMetric(metric)
            ),
            Self::NotCounter { metric } => {
                write!(f, "this native histogram metric is not a counter: {metric:?}")
            }
            Self::NotGauge { metric } => {
                write!(f, "this native histogram metric is not a gauge: {metric:?}")
            }
            Self::MixedExponentialCustom { metric } => write!(
                f,
                "vector contains a mix of histograms with exponential and custom buckets schemas \
                 for metric name {metric:?}"
            ),
            Self::ConflictingResets { during } => {
                write!(f, "conflicting counter resets during histogram {during}")
            }
            Self::IncompatibleBuckets { op } => {
                write!(f, "incompatible bucket layout encountered for binary operator {op}")
            }
            Self::IneffectiveSort => f.write_str(
                "sort is ineffective for range queries since results are always ordered by labels",
            ),
            Self::ReconciledEdges { during } => {
                write!(f, "mismatched custom buckets were reconciled during {during}")
            }
            Self::PossiblyNoCounter { metric } => write!(
                f,
                "metric might not be a counter, name does not end in \
                 _total/_sum/_count/_bucket: {metric:?}"
            ),
            // What was forced is added up, and told in the end.
            Self::ForcedMonotonic { metric, .. } => write!(
                f,
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)\
                 {}",
                ForMetric(metric)
            ),
            Self::IncompatibleTypes { left, op, right } => write!(
                f,
                "incompatible sample types encountered for binary operator {op:?}: {left} {op} \
                 {right}"
            ),
            Self::HistogramIgnored { aggregation } => {
                write!(f, "ignored histogram in {aggregation} aggregation")
            }
            Self::HistogramsIgnoredInRange { metric } => write!(
                f,
                "ignored histograms in a range containing both floats and histograms for metric \
                 name {metric:?}"
            ),
            Self::NanQuantile { metric } => write!(
                f,
                "input to histogram_quantile has NaN observations, result is NaN{}",
                ForMetric(metric)
            ),
            Self::SkewedQuantile { metric } => write!(
                f,
                "input to histogram_quantile has NaN observations, result is skewed higher{}",
                ForMetric(metric)
            ),
            Self::NanFraction { metric } => write!(
                f,
                "input to histogram_fraction has NaN observations, which are excluded from all \
                 fractions{}",
                ForMetric(metric)
            ),
        }
    }
}

/// The notices of one query, each message once with the place where it came up last.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    warnings: Kind,
    infos: Kind,
    /// The newest notice, so that the same one at every step costs no memory.
    written: String,
}

#[derive(Debug, Default)]
struct Kind {
    messages: BTreeMap<String, (Span, Option<Forced>)>,
    omitted: usize,
}

impl Notices {
    /// Takes a notice down.
    pub(crate) fn add(&mut self, notice: &Notice<'_>, span: Span) {
        use fmt::Write as _;
        self.written.clear();
        let (kind, name) = match notice.is_warning() {
            true => (&mut self.warnings, "warning"),
            false => (&mut self.infos, "info"),
        };
        let _ = write!(self.written, "PromQL {name}: {notice}");
        let forced = match notice {
            Notice::ForcedMonotonic { forced, .. } => Some(*forced),
            _ => None,
        };
        let known = kind.messages.len();
        match kind.messages.get_mut(&self.written) {
            Some((at, before)) => {
                *at = span;
                if let (Some(before), Some(forced)) = (before, forced) {
                    before.merge(&forced);
                }
            }
            None if known < SHOWN => {
                kind.messages.insert(self.written.clone(), (span, forced));
            }
            None => kind.omitted += 1,
        }
    }

    /// Warnings and infos, with their places in `query`.
    pub(crate) fn into_texts(self, query: &str) -> (Vec<String>, Vec<String>) {
        (self.warnings.into_texts(query, "warning"), self.infos.into_texts(query, "info"))
    }
}

impl Kind {
    fn into_texts(self, query: &str, name: &str) -> Vec<String> {
        let placed = self.messages.into_iter().map(|(message, (span, forced))| {
            let (line, column) = crate::position(query, span);
            let forced = forced.map(|forced| forced.to_string()).unwrap_or_default();
            format!("{message}{forced} ({line}:{column})")
        });
        let omitted =
            (self.omitted > 0).then(|| format!("{} more {name} annotations omitted", self.omitted));
        placed.chain(omitted).collect()
    }
}
