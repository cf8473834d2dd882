//! `hms-ops tsdb export`: samples as OpenMetrics text.
//!
//! Source: *OpenMetrics 1.0*, "Text Format". Nobody has stored the types of the metrics, so each name
//! is a family of its own, of type `unknown`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use hms_ops::core::labels::{Labels, NAME};
use hms_ops::core::matcher::{Matcher, Selector};
use hms_ops::core::name::stored_name;
use hms_ops::core::sample::{Sample, Value};
use hms_ops::core::store::{SelectHint, Store};
use hms_ops::core::time::{TimeRange, Timestamp};

use super::progress::Progress;
use super::table::{bytes, counted, grouped};
use crate::args::ExportArgs;
use crate::failure::{Misuse, say};
use crate::screen::plain;

pub(super) async fn run(dir: &Path, args: &ExportArgs) -> Result<()> {
    let wanted = Wanted::new(args)?;
    let store = super::open(dir)?;
    let written = match &args.output {
        None => {
            let out = io::stdout().lock();
            let progress = Progress::unless(out.is_terminal());
            let mut out = BufWriter::with_capacity(1 << 16, out);
            let written = write(&store, &wanted, &mut out, progress).await;
            written.context("cannot write to standard output")?
        }
        Some(path) => {
            let name = path.display();
            let file = File::create(path).with_context(|| format!("cannot write {name}"))?;
            let mut out = BufWriter::with_capacity(1 << 16, file);
            let written = write(&store, &wanted, &mut out, Progress::new()).await;
            let written = written.with_context(|| format!("cannot write {name}"))?;
            let size = bytes(out.get_ref().metadata()?.len());
            let samples = counted(written.samples, "sample", "samples");
            super::print(&format!("{}: {samples}, {size}\n", plain(&name.to_string())))?;
            written
        }
    };
    if let Some(left) = written.left.to_text() {
        say(&format!("left out, as the format cannot hold them: {left}"));
    }
    let damaged = store.stats().await.damaged;
    store.close()?;
    if damaged > 0 {
        let pieces = counted(damaged, "piece", "pieces");
        bail!("{pieces} of the history could not be read: damaged; `verify` names what");
    }
    Ok(())
}

/// Which samples are asked for.
#[derive(Debug)]
struct Wanted {
    /// Any of them; all series, if there is none.
    selectors: Vec<Selector>,
    range: TimeRange,
}

impl Wanted {
    fn new(args: &ExportArgs) -> Result<Self> {
        let parse = |text: &String| {
            let wrong = |error| Misuse(format!("--match {text:?}: {error}"));
            text.parse().map_err(wrong)
        };
        let selectors = args.selectors.iter().map(parse).collect::<Result<_, _>>()?;
        let start = args.from.unwrap_or(Timestamp::MIN);
        let range = TimeRange::new(start, args.to.unwrap_or(Timestamp::MAX));
        if range.end < range.start {
            return Err(Misuse(format!("--to {} is before --from {start}", range.end)).into());
        }
        Ok(Self { selectors, range })
    }

    fn accepts(&self, labels: &Labels) -> bool {
        self.selectors.is_empty() || self.selectors.iter().any(|s| s.accepts(labels))
    }

    /// The metric names of what is asked for, sorted; the empty one is that of series without name.
    async fn names(&self, store: &impl Store) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::from([String::new()]);
        let all: [&[Matcher]; 1] = [&[]];
        let matchers = self.selectors.iter().map(Selector::matchers);
        for matchers in matchers.chain(all.into_iter().filter(|_| self.selectors.is_empty())) {
            names.extend(store.label_values(NAME, matchers, self.range).await?);
        }
        Ok(names)
    }

    /// What is known to hold for all series of this name that are asked for.
    fn matchers(&self, name: &str) -> Vec<Matcher> {
        let mut matchers = vec![Matcher::equal(NAME, name)];
        if let [only] = self.selectors.as_slice() {
            matchers.extend_from_slice(only.matchers());
        }
        matchers
    }
}

/// What was written, and what could not be.
#[derive(Debug)]
struct Written {
    samples: u64,
    left: Left,
}

/// What this format cannot hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    stale: u64,
    histograms: u64,
    exemplars: u64,
    /// Series whose name, or the name of a label, is none in the format.
    series: u64,
}

impl Left {
    fn to_text(&self) -> Option<String> {
        let kinds = [
            (self.stale, "staleness marker", "staleness markers"),
            (self.histograms, "native histogram", "native histograms"),
            (self.exemplars, "exemplar", "exemplars"),
            (self.series, "series because of its name", "series because of their names"),
        ];
        let some = kinds.into_iter().filter(|(number, ..)| *number > 0);
        let some: Vec<_> = some.map(|(number, one, many)| counted(number, one, many)).collect();
        (!some.is_empty()).then(|| some.join(", "))
    }
}

/// Writes all that is asked for, name by name: series of one name need not be neighbours in the
/// store, since labels such as `A` come before the name.
async fn write(
    store: &impl Store,
    wanted: &Wanted,
    out: &mut impl Write,
    mut progress: Progress,
) -> Result<Written> {
    let exemplars = store.exemplars(&[], wanted.range).await?;
    let exemplars = exemplars.iter().filter(|(labels, _)| wanted.accepts(labels));
    let exemplars = exemplars.map(|(_, some)| some.len() as u64).sum();
    let mut written = Written { samples: 0, left: Left { exemplars, ..Left::default() } };
    let names = wanted.names(store).await?;
    let mut samples = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let matchers = wanted.matchers(name);
        let mut set = store.select(&matchers, wanted.range, &SelectHint::default()).await?;
        while set.advance()? {
            let labels = set.labels();
            if !wanted.accepts(labels) {
                continue;
            }
            if !can_be_said(labels) {
                written.left.series += 1;
                continue;
            }
            let series = labels.to_string();
            samples.clear();
            set.read(&mut samples)?;
            write_series(&series, &samples, out, &mut written)?;
            progress.show(|| {
                let (number, all) = (grouped(number as u64), grouped(names.len() as u64 - 1));
                let samples = counted(written.samples, "sample", "samples");
                format!("metric {number} of {all}, {samples}")
            });
        }
    }
    out.write_all(b"# EOF\n")?;
    out.flush()?;
    Ok(written)
}

fn write_series(
    series: &str,
    samples: &[Sample],
    out: &mut impl Write,
    written: &mut Written,
) -> io::Result<()> {
    for sample in samples {
        match sample.value {
            Value::Histogram(_) => written.left.histograms += 1,
            Value::Float(_) if sample.value.is_stale() => written.left.stale += 1,
            Value::Float(value) => {
                writeln!(out, "{series} {} {}", Number(value), Seconds(sample.at))?;
                written.samples += 1;
            }
        }
    }
    Ok(())
}

/// Whether the names are as the format has them.
fn can_be_said(labels: &Labels) -> bool {
    let is_name = |name: &str| stored_name(name) == name;
    labels.name().is_some_and(is_name)
        && labels.iter().all(|(name, _)| is_name(name) && !name.contains(':'))
}

/// A number in the shortest form that reads as the same.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            v if v.is_nan() => f.write_str("NaN"),
            v if v.is_infinite() => f.write_str(if v > 0.0 { "+Inf" } else { "-Inf" }),
            // Without an exponent, these would be up to hundreds of digits.
            v if v != 0.0 && !(1e-6..1e21).contains(&v.abs()) => write!(f, "{v:e}"),
            v => write!(f, "{v}"),
        }
    }
}

/// A timestamp in seconds since the epoch.
struct Seconds(Timestamp);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let sign = if millis < 0 { "-" } else { "" };
        let (seconds, millis) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
        write!(f, "{sign}{seconds}")?;
        if millis > 0 { write!(f, ".{millis:03}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_and_spelled_as_the_format_has_them() {
        for (value, text) in [
            (0.1, "0.1"),
            (-0.0, "-0"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e308"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (-f64::NAN, "NaN"),
        ] {
            assert_eq!(Number(value).to_string(), text);
        }
    }

    #[test]
    fn times_are_seconds() {
        for (millis, text) in [
            (0, "0"),
            (1_767_225_600_000, "1767225600"),
            (1_767_225_600_050, "1767225600.050"),
            (-1, "-0.001"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            assert_eq!(Seconds(Timestamp::from_millis(millis)).to_string(), text);
        }
    }

    #[test]
    fn a_name_that_the_format_does_not_have_is_known() {
        let of = |name: &str, label: &str| Labels::from_pairs([(NAME, name), (label, "x")]);
        assert!(can_be_said(&of("a:b", "_C")) && can_be_said(&Labels::metric("up")));
        for labels in [of("a.b", "c"), of("größe", "c"), of("a", "b:c"), of("a", "1b"), of("", "c")]
        {
            assert!(!can_be_said(&labels), "{labels}");
        }
    }

    #[test]
    fn what_is_left_out_is_counted_in_words() {
        assert_eq!(Left::default().to_text(), None);
        let left = Left { stale: 1, histograms: 1234, exemplars: 0, series: 2 };
        let text = "1 staleness marker, 1,234 native histograms, 2 series because of their names";
        assert_eq!(left.to_text().as_deref(), Some(text));
    }
}
