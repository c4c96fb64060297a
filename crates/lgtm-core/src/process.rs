//! Which process this is: a `fork` copies everything but the worker's thread, and the copy must neither wait for it nor send what
//! is the parent's.

/// The process that something was made in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home(u32);

impl Home {
    pub(crate) fn here() -> Self {
        Self(std::process::id())
    }

    /// False in a child that was forked since.
    pub(crate) fn is_here(self) -> bool {
        std::process::id() == self.0
    }
}
