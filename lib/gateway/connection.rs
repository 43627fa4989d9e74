//! A connection to a gateway that knows whether a byte of the request has left us.
//!
//! Whether money may have moved hangs on that one bit, so it is not read out of error messages: the socket is wrapped in a
//! [`Gate`], through which every byte of a request must pass. The gate is shut until it is armed with the request's `send_by`; at the
//! first byte it looks at the monotonic clock, and either lets everything out or nothing.
//!
//! If it dies here: nothing was let out, or the caller's operation row says that it may have been.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio_util::task::AbortOnDropHandle;

use crate::service::planted::{self, Bug};

/// Response headers larger than this end the connection.
const HEADER_LIMIT: usize = 64 * 1024;

/// Watches over the bytes of one request at a time.
pub(super) struct Gate {
    made: Instant,
    /// Microseconds after `made`; 0 before the first request: shut.
    send_by_us: AtomicU64,
    passed: AtomicBool,
}

impl Gate {
    fn shut() -> Self {
        Self { made: Instant::now(), send_by_us: AtomicU64::new(0), passed: AtomicBool::new(false) }
    }

    fn arm(&self, send_by: Instant) {
        let send_by_us = send_by.saturating_duration_since(self.made).as_micros() as u64;
        self.passed.store(false, Ordering::SeqCst);
        self.send_by_us.store(send_by_us, Ordering::SeqCst);
    }

    fn is_open(&self) -> bool {
        let send_by = Duration::from_micros(self.send_by_us.load(Ordering::SeqCst));
        self.passed.load(Ordering::SeqCst) || self.made.elapsed() < send_by || planted::is(Bug::NoSendBy)
    }

    /// Whether a byte of the current request may have left.
    fn has_passed(&self) -> bool {
        self.passed.load(Ordering::SeqCst)
    }
}

/// A stream whose writes go through a gate. It sits above TLS, so what it counts is the request itself.
pub(super) struct Gated<S> {
    stream: S,
    gate: Arc<Gate>,
}

impl<S: Write + Unpin> Write for Gated<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.gate.is_open() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "too late to send")));
        }
        let passed_before = self.gate.passed.swap(true, Ordering::SeqCst);
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_pending() && !passed_before {
            // Nothing was taken: the clock is looked at again before the next try.
            self.gate.passed.store(false, Ordering::SeqCst);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: Read + Unpin> Read for Gated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

/// Why a request has no answer.
pub(super) enum Unanswered {
    /// No byte of it left; the request comes back if it never reached the connection, so that another may take it.
    NotSent { request: Option<Box<Request<Full<Bytes>>>>, why: String },
    /// Bytes of it may have left.
    Lost { why: String },
}

/// One HTTP/1.1 connection; one request at a time. Dropping it closes the socket.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    gate: Arc<Gate>,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    pub(super) async fn over<S>(stream: S) -> Result<Self, hyper::Error>
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let gate = Arc::new(Gate::shut());
        let gated = Gated { stream, gate: gate.clone() };
        let (sender, connection) = http1::Builder::new().max_buf_size(HEADER_LIMIT).handshake(gated).await?;
        // An error of the connection is told to whoever waits for an answer; with nobody waiting it is just closed.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, gate, _driver: AbortOnDropHandle::new(driver) })
    }

    /// False when the other side has closed it.
    pub(super) async fn is_usable(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether a byte of the request given to [`Connection::send`] may have left.
    pub(super) fn may_have_sent(&self) -> bool {
        self.gate.has_passed()
    }

    /// Sends the request once, or not at all. Nothing here ever sends it again.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        send_by: Instant,
    ) -> Result<Response<Incoming>, Unanswered> {
        self.gate.arm(send_by);
        self.sender.try_send_request(request).await.map_err(|refused| self.unanswered(refused))
    }

    fn unanswered(&self, mut refused: TrySendError<Request<Full<Bytes>>>) -> Unanswered {
        let request = refused.take_message().map(Box::new);
        let why = told(refused.error());
        if self.gate.has_passed() { Unanswered::Lost { why } } else { Unanswered::NotSent { request, why } }
    }
}

/// An error with its causes, in one line.
pub(super) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
