//! `hms-ops tsdb stats`: how much there is, and what there is most of.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use hms_ops::core::labels::{Escaped, Label, Labels, NAME};
use hms_ops::core::sample::Sample;
use hms_ops::core::store::{SelectHint, Store};
use hms_ops::core::time::{TimeRange, Timestamp};
use serde::Serialize;

use super::progress::Progress;
use super::table::{bytes, counted, grouped, table};
use super::{Size, size_of};
use crate::screen::Paint;

pub(super) async fn run(dir: &Path, top: usize, json: bool) -> Result<()> {
    let store = super::open(dir)?;
    let size = size_of(dir)?;
    let mut progress = Progress::new();
    let (mut tally, mut samples) = (Tally::default(), Vec::new());
    let mut set = store.select(&[], TimeRange::ALL, &SelectHint::default()).await?;
    while set.advance()? {
        samples.clear();
        set.read(&mut samples)?;
        tally.add(set.labels(), &samples);
        progress.show(|| {
            let series = counted(tally.series, "series", "series");
            format!("{series}, {}", counted(tally.samples, "sample", "samples"))
        });
    }
    drop((set, progress));
    store.close()?;
    let stats = tally.stats(size, top);
    let paint = Paint::of(&std::io::stdout());
    super::print(&match json {
        true => format!("{}\n", serde_json::to_string(&stats)?),
        false => stats.text(paint),
    })
}

/// What is counted, series by series.
#[derive(Debug, Default)]
struct Tally {
    series: u64,
    samples: u64,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    /// Series and samples of each name.
    names: BTreeMap<String, (u64, u64)>,
    /// Series of each label, the name aside.
    labels: BTreeMap<Label, u64>,
}

impl Tally {
    fn add(&mut self, labels: &Labels, samples: &[Sample]) {
        self.series += 1;
        self.samples += samples.len() as u64;
        if let (Some(first), Some(last)) = (samples.first(), samples.last()) {
            self.from = Some(self.from.map_or(first.at, |from| from.min(first.at)));
            self.to = self.to.max(Some(last.at));
        }
        let name = self.names.entry(labels.name().unwrap_or_default().to_owned()).or_default();
        *name = (name.0 + 1, name.1 + samples.len() as u64);
        for (name, value) in labels.iter().filter(|(name, _)| *name != NAME) {
            let label = Label { name: name.into(), value: value.into() };
            *self.labels.entry(label).or_default() += 1;
        }
    }

    fn stats(self, size: Size, top: usize) -> Stats {
        let mut values: BTreeMap<&str, u64> = BTreeMap::new();
        for label in self.labels.keys() {
            *values.entry(&label.name).or_default() += 1;
        }
        let label_names =
            values.into_iter().map(|(label, values)| OfLabel { label: label.to_owned(), values });
        let label_names = most(label_names.collect(), top, |label| label.values);
        let metrics = self.names.len() as u64;
        let names = self.names.into_iter().map(|(name, (series, samples))| OfName {
            name,
            series,
            samples,
        });
        let pairs = self.labels.into_iter().map(|(Label { name, value }, series)| OfPair {
            label: name.to_string(),
            value: value.to_string(),
            series,
        });
        #[allow(clippy::cast_precision_loss, reason = "it is a ratio for people")]
        let bytes_per_sample = (self.samples > 0).then(|| size.bytes as f64 / self.samples as f64);
        Stats {
            series: self.series,
            samples: self.samples,
            metrics,
            from: self.from,
            to: self.to,
            blocks: size.blocks,
            bytes: size.bytes,
            bytes_per_sample,
            top_names: most(names.collect(), top, |name| name.series),
            top_labels: label_names,
            top_pairs: most(pairs.collect(), top, |pair| pair.series),
        }
    }
}

/// The `top` first by their number; of equal ones, in the order they had.
fn most<T>(mut all: Vec<T>, top: usize, number: impl Fn(&T) -> u64) -> Vec<T> {
    all.sort_by_key(|one| std::cmp::Reverse(number(one)));
    all.truncate(top);
    all
}

/// What is printed. Times are milliseconds since the epoch; absent where there is no sample.
#[derive(Debug, Serialize)]
struct Stats {
    series: u64,
    samples: u64,
    /// Names of metrics.
    metrics: u64,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    blocks: u64,
    /// Of all files, the log among them.
    bytes: u64,
    bytes_per_sample: Option<f64>,
    top_names: Vec<OfName>,
    top_labels: Vec<OfLabel>,
    top_pairs: Vec<OfPair>,
}

#[derive(Debug, Serialize)]
struct OfName {
    name: String,
    series: u64,
    samples: u64,
}

#[derive(Debug, Serialize)]
struct OfLabel {
    label: String,
    values: u64,
}

#[derive(Debug, Serialize)]
struct OfPair {
    label: String,
    value: String,
    series: u64,
}

impl Stats {
    fn text(self, paint: Paint) -> String {
        let time = |at: Option<Timestamp>| at.map_or("-".to_owned(), |at| at.to_string());
        let per_sample = self.bytes_per_sample.map_or("-".to_owned(), |b| format!("{b:.2}"));
        let mut text = String::new();
        for (what, figure) in [
            ("series", grouped(self.series)),
            ("samples", grouped(self.samples)),
            ("metrics", grouped(self.metrics)),
            ("from", time(self.from)),
            ("to", time(self.to)),
            ("blocks", grouped(self.blocks)),
            ("on disk", bytes(self.bytes)),
            ("bytes/sample", per_sample),
        ] {
            text += &format!("{what:<12}  {figure}\n");
        }
        if self.series == 0 {
            return text;
        }
        let names = self.top_names.into_iter().map(|n| ([n.series, n.samples], n.name));
        let labels = self.top_labels.into_iter().map(|l| ([l.values], l.label));
        let pair = |p: OfPair| ([p.series], format!("{}=\"{}\"", p.label, Escaped(&p.value)));
        let pairs = self.top_pairs.into_iter().map(pair);
        for table in [
            table(["series", "samples"], "metric", names, paint),
            table(["values"], "label", labels, paint),
            table(["series"], "with", pairs, paint),
        ] {
            text += &format!("\n{table}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut tally = Tally::default();
        for (name, instances, length) in [("up", 3, 2), ("claims_total", 1200, 1)] {
            for instance in 0..instances {
                let labels = Labels::metric(name)
                    .with("instance", &instance.to_string())
                    .with("job", "a\"b");
                let sample =
                    |i: i64| Sample { at: Timestamp::from_millis(i * 1000), value: 1.0.into() };
                tally.add(&labels, &(0..length).map(sample).collect::<Vec<_>>());
            }
        }
        tally
    }

    #[test]
    fn people_read_figures_and_what_there_is_most_of() {
        let size = Size { blocks: 2, bytes: 5000 };
        let expected = r#"series        1,203
samples       1,206
metrics       2
from          1970-01-01T00:00:00.000Z
to            1970-01-01T00:00:01.000Z
blocks        2
on disk       4.9 KiB
bytes/sample  4.15

  series  samples  metric
   1,200    1,200  claims_total
       3        6  up

  values  label
   1,200  instance
       1  job

  series  with
   1,203  job="a\"b"
       2  instance="0"
"#;
        assert_eq!(tally().stats(size, 2).text(Paint::NONE), expected);
    }

    #[test]
    fn scripts_read_the_same_figures_whole() {
        let size = Size { blocks: 2, bytes: 1206 };
        let expected = concat!(
            r#"{"series":1203,"samples":1206,"metrics":2,"from":0,"to":1000,"blocks":2,"#,
            r#""bytes":1206,"bytes_per_sample":1.0,"#,
            r#""top_names":[{"name":"claims_total","series":1200,"samples":1200}],"#,
            r#""top_labels":[{"label":"instance","values":1200}],"#,
            r#""top_pairs":[{"label":"job","value":"a\"b","series":1203}]}"#
        );
        assert_eq!(serde_json::to_string(&tally().stats(size, 1)).unwrap(), expected);
    }

    #[test]
    fn history_without_samples_has_no_range() {
        let text = Tally::default().stats(Size::default(), 10).text(Paint::NONE);
        assert!(text.contains("\nfrom          -\nto            -\n"), "{text}");
        assert!(text.ends_with("bytes/sample  -\n"), "{text}");
    }
}
