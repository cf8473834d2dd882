//! Metrics that a service sends as OTLP, in protobuf and in JSON.
#![no_main]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hms_ops_collect::otlp::{Encoding, MetricsReceiver};
use hms_ops_core::metadata::MetadataStore;
use hms_ops_core::name::stored_name;
use hms_ops_core::store::{MemoryStore, StoreExt};
use hms_ops_core::time::TimeRange;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let store = Arc::new(MemoryStore::with_limits(1000, 10));
        let metadata = Arc::new(MetadataStore::new());
        let receiver = Arc::new(MetricsReceiver::new(store.clone(), metadata));
        if now(receiver.receive(body.to_vec().into(), encoding)).is_err() {
            continue;
        }
        let stored = now(store.collect(&[], TimeRange::ALL)).expect("memory can be read");
        for (labels, _) in &stored {
            let name = labels.name().expect("every series has a name");
            assert_eq!(stored_name(name), name);
            for (label, _) in labels.iter() {
                assert_eq!(stored_name(label), label);
                assert!(!label.contains(':'), "{label}");
            }
        }
        // Once more, with handles that are known.
        now(receiver.receive(body.to_vec().into(), encoding)).expect("it was taken before");
        assert_eq!(now(store.collect(&[], TimeRange::ALL)).expect("as before"), stored);
    }
});

/// What a store in memory answers at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}
