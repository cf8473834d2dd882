//! How strict a shift is.

use std::time::Duration;

/// What a shift must show, and how long it may take.
///
/// ```
/// use std::time::Duration;
/// use hms_ops_mesh::ShiftRules;
///
/// let rules = ShiftRules { bake: Duration::from_secs(60), ..ShiftRules::default() };
/// assert_eq!(rules.min_requests, 20);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ShiftRules {
    /// Requests that each cluster which gains traffic must have answered since the shift. Also the
    /// least number of requests on which an error ratio is judged.
    pub min_requests: u64,
    /// How far a share of traffic may be off the wish: 0 to 1.
    ///
    /// A share `p` measured on `n` requests has the standard deviation √(p(1−p)/n) of a binomial
    /// distribution; a share is judged once two of them fit in the tolerance. At 0.1 that takes
    /// 100 requests for a share of 50 %, 36 for 10 %, none for 100 %.
    pub tolerance: f64,
    /// The error ratio above which a cluster that gains traffic is given up: 0 to 1.
    pub max_error_ratio: f64,
    /// For how long clusters without weight must answer nothing.
    pub quiet: Duration,
    /// How often the counters are read.
    pub poll: Duration,
    /// How long one reading of a cluster's counters may take.
    pub evidence_timeout: Duration,
    /// How long the counters have to show the new split.
    pub confirm_within: Duration,
    /// How long the new split must stay well after it was observed.
    pub bake: Duration,
    /// The least time between two shifts of a service.
    pub cool_down: Duration,
}

impl Default for ShiftRules {
    /// 20 requests, 10 points of tolerance, 10 % errors, 300 ms of quiet read every 100 ms, 10 s to
    /// confirm, 2 s of bake, no cool-down.
    fn default() -> Self {
        Self {
            min_requests: 20,
            tolerance: 0.1,
            max_error_ratio: 0.1,
            quiet: Duration::from_millis(300),
            poll: Duration::from_millis(100),
            evidence_timeout: Duration::from_secs(1),
            confirm_within: Duration::from_secs(10),
            bake: Duration::from_secs(2),
            cool_down: Duration::ZERO,
        }
    }
}
