//! A connection whose answers must be sent in time. Worker thread.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Fails when what is written has not left within the limit, however much of it trickles.
#[derive(Debug)]
pub(crate) struct Sending<S> {
    stream: S,
    limit: Duration,
    late: Pin<Box<Sleep>>,
    /// Whether something is written that was not flushed yet: the clock runs.
    under_way: bool,
}

impl<S> Sending<S> {
    /// An answer may take so long.
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, late: Box::pin(tokio::time::sleep(limit)), under_way: false }
    }

    /// An error if the answer that is under way is late; else the task is woken when it will be.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !std::mem::replace(&mut self.under_way, true) {
            self.late.as_mut().reset(Instant::now() + self.limit);
        }
        match self.late.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::from(io::ErrorKind::TimedOut)),
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sending<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sending<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // Asked for when all was written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.under_way = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn send_to_a_reader(every: Duration) -> io::Result<()> {
        let (ours, mut theirs) = tokio::io::duplex(8);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                if theirs.read(&mut [0; 4]).await.is_err() {
                    return;
                }
            }
        });
        let mut ours = Sending::new(ours, Duration::from_secs(30));
        for _ in 0..3 {
            ours.write_all(&[7; 40]).await?;
            ours.flush().await?;
            // Between two answers nothing is late.
            tokio::time::sleep(Duration::from_secs(100)).await;
        }
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_trickles_is_given_up_and_a_slow_one_in_time_is_not() {
        send_to_a_reader(Duration::from_secs(2)).await.unwrap();
        let late = send_to_a_reader(Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let never = send_to_a_reader(Duration::from_secs(100_000)).await.unwrap_err();
        assert_eq!(never.kind(), io::ErrorKind::TimedOut);
    }
}
