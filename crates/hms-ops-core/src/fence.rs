//! The fence: what tells the effects of one writer from those of the next.

use serde::{Deserialize, Serialize};

/// The right to write, and to act: every effect carries the epoch, so that what a paused writer
/// does late can be refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Who holds it.
    pub holder: String,
    /// Grows with each new holder.
    pub epoch: u64,
}
