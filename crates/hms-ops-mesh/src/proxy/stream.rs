//! A body on its way through: frame by frame, watched, and broken off when it stands still.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Is told what becomes of a body; dropped when nobody wants the rest of it.
pub(super) trait Watch: Unpin {
    /// It was read to its end.
    fn ended(self);
    /// It cannot be read further.
    fn broke(&mut self, why: &BoxError);
}

/// The sender is dropped in any case, which tells the receiver.
impl Watch for oneshot::Sender<()> {
    fn ended(self) {}
    fn broke(&mut self, _: &BoxError) {}
}

/// Passes a body on.
#[derive(Debug)]
pub(super) struct Stream<W> {
    body: Incoming,
    watch: Option<W>,
    patience: Duration,
    /// Runs while the body stands still.
    still: Option<Pin<Box<Sleep>>>,
}

impl<W: Watch> Stream<W> {
    pub(super) fn new(body: Incoming, patience: Duration, watch: W) -> Self {
        let mut stream = Self { body, watch: Some(watch), patience, still: None };
        stream.notice_end();
        stream
    }

    /// A body of known length is not asked again after its last frame.
    fn notice_end(&mut self) {
        if self.body.is_end_stream() {
            self.watch.take().into_iter().for_each(W::ended);
        }
    }

    fn stop(&mut self, why: BoxError) -> BoxError {
        self.watch.iter_mut().for_each(|watch| watch.broke(&why));
        self.watch = None;
        why
    }
}

impl<W: Watch> Body for Stream<W> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.still = None;
                self.notice_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.stop(error.into())))),
            Poll::Ready(None) => {
                self.watch.take().into_iter().for_each(W::ended);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let patience = self.patience;
                let still = self.still.get_or_insert_with(|| Box::pin(sleep(patience)));
                std::task::ready!(still.as_mut().poll(cx));
                let why = format!("the body stood still for {patience:?}");
                Poll::Ready(Some(Err(self.stop(why.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
