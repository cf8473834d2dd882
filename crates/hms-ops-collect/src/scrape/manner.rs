//! How a target is asked, and what is made of its answer.

use std::sync::Arc;

use super::relabel::Rule;
use crate::client::Access;
use crate::exposition::Format;

/// What the formats that are read are asked for by, unless a job says otherwise.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;q=0.8,\
                        text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// How a target is asked, and what is made of its answer; the same for all targets of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) access: Arc<Access>,
    /// The formats, as the header `Accept` names them.
    pub(crate) accept: String,
    pub(crate) gzip: bool,
    /// The format of an answer that does not say which it has.
    pub(crate) fallback: Format,
    /// What a series says of itself wins over what is known of its target.
    pub(crate) honor_labels: bool,
    /// A sample is stored at the time that it states.
    pub(crate) honor_timestamps: bool,
    /// A series whose samples state their time ends like others when it is no longer there.
    pub(crate) track_timestamps_staleness: bool,
    pub(crate) relabel: Vec<Rule>,
    pub(crate) kept: KeptLimits,
    /// Why it is not asked at all.
    pub(crate) refused: Option<String>,
}

/// How much may be left of a scrape once its series have the labels under which they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptLimits {
    pub(crate) samples: usize,
    /// Labels of a series, its name and those of the target included.
    pub(crate) labels: usize,
    pub(crate) name_bytes: usize,
    pub(crate) value_bytes: usize,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            access: Arc::default(),
            accept: ACCEPTED.to_owned(),
            gzip: true,
            fallback: Format::Text,
            honor_labels: false,
            honor_timestamps: false,
            track_timestamps_staleness: false,
            relabel: Vec::new(),
            kept: KeptLimits::default(),
            refused: None,
        }
    }
}

impl Default for KeptLimits {
    fn default() -> Self {
        let any = usize::MAX;
        Self { samples: any, labels: any, name_bytes: any, value_bytes: any }
    }
}
