//! What the page says above the tables that are not of the plan, and above the charts.

pub(super) const DEFAULT_RELEASE: &str = "\
    `cargo build --release` in a program that says nothing of profiles: no link-time optimisation between crates, sixteen units of each \
    crate. The operations of the first tables, in the same rounds. *Ratio* is the caller's time by that of the operation's first line; \
    the last column is the caller's time by that with the profile of the tables above.";

pub(super) const REMOTE_WRITE: &str = "\
    One push: every series is collected, encoded, compressed with snappy and sent by lgtm's worker; the program waits for it in `flush`. \
    Ten counters of 10,000 series, two labels each, with `job` and `instance`. The CPU time is that of all other threads, system calls \
    too; the backend, which unpacks and counts, is a process of its own. None of the peers has remote write. With 1.0 type, help and \
    unit go along once a minute, with 2.0 beside each series. The queue has 64 MiB: the end is a push and a marker for each series at \
    once, which is more than the default of 24 MiB.";

pub(super) const BUILDS: &str = "\
    A program of one span with an event in it, set up as the library's documentation shows: `lgtm::init()`, and \
    `TracingConfig::production().init_subscriber()` under `#[tokio::main]`. Cargo's default release profile, symbols stripped; two jobs, \
    an empty target folder, everything downloaded before. Crates are those of `cargo tree --edges normal`, macros too, without the \
    program's own; what both have is of the version that the workspace's Cargo.lock has. One build each.";

pub(super) const FLAT_OUT: &str = "\
    As fast as the threads can, without a pause; the backend shares the cores. Where the contender can make the caller wait for room, it \
    does (lgtm, `Overflow::Block`); the others drop. Received a second: items that came, by the time from the first to the end of the \
    shutdown. Each contender at its own default queue, unless it says otherwise.";

pub(super) const LIVES: &str = "\
    Medians. The start is that of all threads and connections that the library makes at once; the flush and the shutdown are those of a \
    pipeline in which nothing waits, but lgtm's last push of metrics. Wake-ups are voluntary context switches of all threads, over three \
    seconds in which the program does nothing.";

pub(super) const WINDOW: &str = "\
    The stack in a process of its own, with two connections (one for samples, which must come in order) of a client that has made all its requests before: the rates are those of \
    the server, until its answers. Requests have 1,000 items; spans are of traces of six over three services. Then each page asks what it \
    asks, of the full store; the first answer is what a person waits for.";

pub(super) const GROWTH: &str = "\
    Medians. CPU time of the caller for one operation; in the last chart and table that of all other threads, from the first item to the \
    end of the shutdown, by the items that arrived, made in bursts of 256: a worker whose cost grew faster than its items would show. \
    At 1,000 the connection and the end weigh.";
