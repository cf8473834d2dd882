//! Arithmetic of splits, the same for every mesh backend.

use hms_ops_core::mesh::Split;
use hms_ops_core::name::Cluster;

#[cfg(feature = "in-process")]
mod toward;

#[cfg(feature = "in-process")]
pub(crate) use toward::toward;

/// The share of a cluster: 0 to 1.
pub(crate) fn share(split: &Split, cluster: &Cluster) -> f64 {
    let sum: u64 = split.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let weight = split.iter().find(|(c, _)| c == cluster).map_or(0, |(_, weight)| *weight);
    if sum == 0 { 0.0 } else { f64::from(weight) / sum as f64 }
}

/// Whether two splits send the same share to every cluster.
pub(crate) fn same_shares(a: &Split, b: &Split) -> bool {
    a.iter().chain(b).all(|(cluster, _)| (share(a, cluster) - share(b, cluster)).abs() < 1e-9)
}
