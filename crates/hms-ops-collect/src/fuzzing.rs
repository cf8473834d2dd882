//! What fuzz targets do with bytes that anybody may have sent. For them and for tests alone.
//!
//! A function panics when a promise is broken, and says whether the bytes were what they should be.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hms_ops_core::labels::Labels;
use hms_ops_core::metadata::MetadataStore;
use hms_ops_core::sample::Sample;
use hms_ops_core::store::{MemoryStore, StoreExt};
use hms_ops_core::time::TimeRange;

use crate::remote::{Limits, RemoteWriter, Version, WriteError, deflate, encode_v1, encode_v2};

/// Writes a request, whose first byte says of which version it is and whether it is deflated. What
/// is stored of it can be sent in either version, and is the same then.
pub fn remote_write(bytes: &[u8]) -> bool {
    let Some((kind, rest)) = bytes.split_first() else { return false };
    let version = if kind & 1 == 0 { Version::V1 } else { Version::V2 };
    let deflated = |message: &[u8]| deflate(message).expect("it has less than 4 GiB");
    let body = if kind & 2 == 0 { deflated(rest) } else { rest.to_vec() };
    // Longer ones need a runtime.
    if body.len() > 1 << 20 {
        return false;
    }
    let Some(stored) = stored(version, &body) else { return false };
    let series = stored.iter().map(|(labels, samples)| (labels, &samples[..]));
    let (mut v1, mut v2) = (Vec::new(), Vec::new());
    encode_v1(series.clone(), &mut v1);
    encode_v2(series, &mut v2);
    for (version, message) in [(Version::V1, v1), (Version::V2, v2)] {
        let again = self::stored(version, &deflated(&message));
        assert_eq!(again.as_ref(), Some(&stored), "{version:?}");
    }
    true
}

/// What a store has that had nothing before; the second time a body changes nothing.
fn stored(version: Version, body: &[u8]) -> Option<Vec<(Labels, Vec<Sample>)>> {
    let store = Arc::new(MemoryStore::new());
    let limits = Limits { message_bytes: 1 << 20, ..Limits::default() };
    let metadata = Arc::new(MetadataStore::new());
    let writer = Arc::new(RemoteWriter::new(store.clone(), metadata, limits));
    let mut all = None;
    for _ in 0..2 {
        match now(writer.write(version, Bytes::copy_from_slice(body))) {
            Ok(_) => {}
            Err(WriteError::Store(error)) => panic!("{error}"),
            Err(_) => return None,
        }
        let found = now(store.collect(&[], TimeRange::ALL)).expect("it is in memory");
        assert!(all.is_none() || all.as_ref() == Some(&found), "it changes what is there already");
        all = Some(found);
    }
    all
}

/// What is in memory never makes anyone wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready,
        Poll::Pending => panic!("it waits"),
    }
}
