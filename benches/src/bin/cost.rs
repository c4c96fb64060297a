//! What one operation costs under one contender: see the package's library.

fn main() -> anyhow::Result<()> {
    lgtm_benches::run(None)
}
