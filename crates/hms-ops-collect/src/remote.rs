//! Prometheus' remote protocols, served: remote write 1.0 and 2.0, and remote read.
//!
//! Sources: *Prometheus Remote-Write 1.0* and *2.0 specification*; `remote.proto` and `types.proto`
//! of Prometheus; its write and read handlers for what the specifications leave open.

pub(crate) mod histogram;
mod read;
#[cfg(feature = "http")]
mod routes;
pub(crate) mod snappy;
mod write;

pub use self::read::{ReadError, read};
#[cfg(feature = "http")]
pub use self::routes::router;
pub use self::snappy::{SnappyError, deflate};
pub use self::write::{
    Refused, RemoteWriter, Version, WriteError, WriteStats, Written, encode_metadata_v1, encode_v1,
    encode_v2,
};

/// How much one request may bring or ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body as it is sent; 16 MiB.
    pub body_bytes: usize,
    /// Bytes of a message, which is a body inflated, in either direction; 64 MiB.
    pub message_bytes: usize,
    /// Samples of a write; 1,000,000. A histogram weighs as much as it has buckets, and an exemplar as
    /// it has labels, each and one more.
    pub samples: usize,
    /// Labels of a series; 128.
    pub labels: usize,
    /// Bytes of the name of a label; 1,024.
    pub name_bytes: usize,
    /// Bytes of the value of a label; 4 KiB.
    pub value_bytes: usize,
    /// Bytes of memory for the series that senders of each version have named before; 256 MiB.
    pub cache_bytes: usize,
    /// Samples of an answer to a read, histograms by weight; 2,000,000.
    pub read_samples: usize,
    /// Queries of a read; 64.
    pub queries: usize,
    /// Requests that are read and answered at once; 16. More wait.
    pub requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            message_bytes: 64 << 20,
            samples: 1_000_000,
            labels: 128,
            name_bytes: 1024,
            value_bytes: 4 << 10,
            cache_bytes: 256 << 20,
            read_samples: 2_000_000,
            queries: 64,
            requests: 16,
        }
    }
}
