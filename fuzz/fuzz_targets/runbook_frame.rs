//! What a runbook process says to its host, and the host to it, over the socket between them.
#![no_main]

use std::fmt::Debug;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use hms_ops_runbook::frame::{FrameReader, HostFrame, MAX_TOTAL, RunbookFrame, write};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;

fuzz_target!(|bytes: &[u8]| {
    // The first byte says where the rest is cut in two.
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let cut = usize::from(*cut).min(bytes.len());
    both::<RunbookFrame>(bytes, cut);
    both::<HostFrame>(bytes, cut);
});

/// The same bytes are the same frames, in one piece or in two; and a frame survives the way.
fn both<T: DeserializeOwned + Serialize + Debug>(bytes: &[u8], cut: usize) {
    let whole: Vec<T> = now(frames(FrameReader::new(bytes, MAX_TOTAL)));
    let pieces = bytes[..cut].chain(&bytes[cut..]);
    let pieces: Vec<T> = now(frames(FrameReader::new(pieces, MAX_TOTAL)));
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));

    for frame in whole {
        let mut written = Vec::new();
        if now(write(&mut written, &frame)).is_ok() {
            let read: T =
                now(FrameReader::new(&*written, MAX_TOTAL).next()).expect("it was written");
            assert_eq!(format!("{read:?}"), format!("{frame:?}"));
        }
    }
}

async fn frames<T: DeserializeOwned>(
    mut reader: FrameReader<impl tokio::io::AsyncRead + Unpin>,
) -> Vec<T> {
    let mut frames = Vec::new();
    while let Ok(frame) = reader.next().await {
        frames.push(frame);
    }
    frames
}

/// Bytes in memory never make anyone wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready,
        Poll::Pending => panic!("it waits"),
    }
}
