//! Samples what another exporter in this process renders, without HTTP.

use std::sync::Arc;

use hms_ops_core::labels::Labels;
use hms_ops_core::store::{Store, StoreError};
use hms_ops_core::time::Timestamp;

use super::series::ExposedSeries;
use super::{Limits, ScrapeError};
use crate::exposition::Format;

/// Writes expositions to a store, as scrapes of a target would, but nothing about the scrape.
///
/// Of its [`Limits`], the one on the body's bytes is the caller's to keep.
///
/// ```
/// use hms_ops_collect::exposition::Format;
/// use hms_ops_collect::scrape::{ExpositionSampler, Limits};
/// use hms_ops_core::{labels::Labels, store::MemoryStore, time::Timestamp};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), hms_ops_collect::scrape::ScrapeError> {
/// let labels = Labels::from_pairs([("service", "claims")]);
/// let mut sampler = ExpositionSampler::new(labels, Limits::default());
/// let (store, at) = (MemoryStore::new(), Timestamp::from_millis(1000));
/// let refused = sampler.sample(&store, b"claims_total 1\n", Format::Text, at).await?;
/// assert_eq!(refused, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ExpositionSampler {
    series: ExposedSeries,
}

impl ExpositionSampler {
    /// A sampler that puts `labels` on every series; what a series says otherwise under such a name
    /// is kept as `exported_name`.
    pub fn new(labels: Labels, limits: Limits) -> Self {
        Self { series: ExposedSeries::new(labels, limits, Arc::default(), Arc::default()) }
    }

    /// Writes the samples of `body`, stamped `at`, and ends the series that it no longer has;
    /// returns how many samples were refused.
    ///
    /// # Errors
    ///
    /// [`ScrapeError`] when the body is not an exposition, passes a limit, or could not be stored;
    /// then nothing of it is.
    pub async fn sample(
        &mut self,
        store: &dyn Store,
        body: &[u8],
        format: Format,
        at: Timestamp,
    ) -> Result<u64, ScrapeError> {
        let (refused, commit) = {
            let (batch, counts) = self.series.append(store, body, format, at)?;
            (counts.refused as u64, batch.commit())
        };
        commit.await?;
        Ok(refused)
    }

    /// Ends all series, as when a target is down.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when that could not be stored.
    pub async fn end(&mut self, store: &dyn Store, at: Timestamp) -> Result<(), StoreError> {
        let commit = {
            let mut batch = store.appender();
            self.series.end(&mut *batch, at)?;
            batch.commit()
        };
        commit.await
    }
}

#[cfg(test)]
mod tests {
    use hms_ops_core::sample::Exemplar;
    use hms_ops_core::store::{MemoryStore, StoreExt};
    use hms_ops_core::time::TimeRange;

    use super::*;

    #[tokio::test]
    async fn a_sampled_exposition_is_stored_as_a_scraped_one_and_nothing_beside_it() {
        let labels = Labels::from_pairs([("service", "svc")]);
        let mut sampler = ExpositionSampler::new(labels, Limits::default());
        let (store, at) = (MemoryStore::new(), Timestamp::from_millis);
        let body = b"m{service=\"own\"} 1\ngone 2\n";
        sampler.sample(&store, body, Format::Text, at(1000)).await.unwrap();
        sampler.sample(&store, b"m{service=\"own\"} 3\n", Format::Text, at(2000)).await.unwrap();

        let series = store.collect(&[], TimeRange::ALL).await.unwrap();
        let names: Vec<_> = series.iter().map(|(labels, _)| labels.to_string()).collect();
        let expected = [r#"gone{service="svc"}"#, r#"m{exported_service="own",service="svc"}"#];
        assert_eq!(names, expected);
        assert!(series[0].1[1].value.is_stale(), "{series:?}");
        assert_eq!(series[1].1[1].value.as_float(), Some(3.0));
    }

    #[tokio::test]
    async fn exemplars_are_stored_at_their_time_or_that_of_the_scrape() {
        let body = |exemplars: [&str; 3]| {
            let [a, b, c] = exemplars;
            format!(
                "# TYPE m counter\nm_total 1 # {a}\n# TYPE h histogram\n\
                 h_bucket{{le=\"1.0\"}} 1 # {b}\nh_bucket{{le=\"+Inf\"}} 2 # {c}\n# EOF\n"
            )
        };
        let mut sampler = ExpositionSampler::new(Labels::empty(), Limits::default());
        let (store, at) = (MemoryStore::new(), Timestamp::from_millis);
        for (time, exemplars) in [
            (10_000, ["{id=\"\\n\"} 0.5", "{id=\"1\"} 0.5 8", "{id=\"2\"} 3 99"]),
            // Too old, the same again, and from the future again.
            (20_000, ["{id=\"3\"} 1 5", "{id=\"1\"} 0.5 8", "{id=\"4\"} 3 99"]),
        ] {
            let body = body(exemplars);
            let refused =
                sampler.sample(&store, body.as_bytes(), Format::OpenMetrics, at(time)).await;
            assert_eq!(refused.unwrap(), 0);
        }

        let exemplar = |millis, id: &str, value| {
            let labels = Labels::from_pairs([("id", id)]);
            Exemplar { labels, value, at: at(millis) }
        };
        let bucket = |le: &str| Labels::metric("h_bucket").with("le", le);
        let expected = [
            (bucket("+Inf"), vec![exemplar(10_000, "2", 3.0), exemplar(20_000, "4", 3.0)]),
            (bucket("1"), vec![exemplar(8000, "1", 0.5)]),
            (Labels::metric("m_total"), vec![exemplar(10_000, "\n", 0.5)]),
        ];
        assert_eq!(store.exemplars(&[], TimeRange::ALL).await.unwrap(), expected);
        let samples = store.collect(&[], TimeRange::ALL).await.unwrap();
        assert!(samples.iter().all(|(_, samples)| samples.len() == 2), "{samples:?}");
    }

    #[tokio::test]
    async fn of_an_exposition_that_passes_a_limit_nothing_is_stored() {
        let limits = Limits { samples: 1, ..Limits::default() };
        let mut sampler = ExpositionSampler::new(Labels::empty(), limits);
        let (store, at) = (MemoryStore::new(), Timestamp::from_millis(1000));
        let error = sampler.sample(&store, b"a 1\nb 2\n", Format::Text, at).await.unwrap_err();
        assert_eq!(error.to_string(), "line 2: more than 1 samples");
        assert_eq!(store.stats().await.samples, 0);
    }
}
