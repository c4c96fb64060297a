//! Without the feature `spool`: a spool that there cannot be. The compiler takes out whatever asks it for something.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

#[derive(Debug)]
pub(crate) struct Spool(Infallible);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Position;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct End;

#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) end: End,
    pub(crate) holds_any: bool,
    pub(crate) recovered: u64,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) items: u32,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

#[derive(Debug)]
#[expect(dead_code, reason = "none is ever made")]
pub(crate) enum Next {
    Record(Position, Record),
    Expired(u32),
    Damaged(u64),
    Empty,
}

impl Spool {
    pub(crate) fn is_durable(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn max_age(&self) -> Duration {
        match self.0 {}
    }

    pub(crate) fn bytes(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) async fn append(&self, _: Vec<Record>, _: usize) -> Result<Vec<Position>, Infallible> {
        match self.0 {}
    }

    pub(crate) async fn next(&self, _: End) -> Next {
        match self.0 {}
    }

    pub(crate) async fn state(&self) -> State {
        match self.0 {}
    }

    pub(crate) fn acknowledge(&self, _: Position) {
        match self.0 {}
    }

    pub(crate) async fn close(&self) {
        match self.0 {}
    }
}
