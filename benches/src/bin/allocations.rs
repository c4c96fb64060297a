//! As `cost`, with an allocator that counts: a program of its own, because counting takes time too.

fn main() -> anyhow::Result<()> {
    lgtm_benches::run(Some(|work| allocation_counter::measure(work).count_total))
}
