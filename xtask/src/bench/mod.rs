//! `cargo xtask bench`: what one operation costs with lgtm and with its peers, side by side: all contenders in turn, in several
//! rounds, each time in a process of its own, against a backend that takes everything and keeps nothing. One table an operation.
//!
//! ```text
//! plan/: who does what ── measure.rs: in turn ── programs.rs, callgrind.rs: one process each ── report.rs, chart.rs: tables, charts
//! builds.rs: what a library costs before a program runs ── window.rs: the development stack's window with a full store
//! instructions.rs: the stored counts of the hot path
//! ```

mod builds;
mod callgrind;
mod chart;
mod instructions;
mod machine;
mod measure;
mod notes;
mod plan;
mod programs;
mod report;
mod statistics;
mod window;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::cargo;
use crate::stack::on_path;
use crate::table::thousands;
use measure::Bench;
use plan::Section;
use programs::Programs;

pub(crate) use instructions::check as check_instructions;
pub(crate) use programs::build;

/// The package of all programs.
const PACKAGE: &str = "lgtm-benches";
/// Cargo's profile where nobody has changed it.
const DEFAULT_RELEASE: &str = "default-release";

/// What `bench` does.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How often each contender has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only these tables, such as event, span-event, all, scrape, remote-write, flat-out, lives, growth, builds, window; a word that is none
    /// is answered with all of them.
    #[arg(long, value_delimiter = ',', value_name = "TABLE")]
    only: Vec<String>,
    /// Cargo's profile for the contenders: thin LTO.
    #[arg(long, default_value = "side-by-side")]
    profile: String,
    /// Leaves out the second build, with Cargo's default release profile, for event, span-event and all.
    #[arg(long)]
    without_default_release: bool,
    /// Adds what a library costs before a program runs: two programs outside the workspace, with lgtm and with
    /// init-tracing-opentelemetry, are built with nothing built before; it takes minutes.
    #[arg(long)]
    builds: bool,
    /// Leaves out the instructions, which valgrind counts: minutes too.
    #[arg(long)]
    without_instructions: bool,
    /// Does everything that many times less often.
    #[arg(long, default_value_t = 1, hide = true, value_parser = clap::value_parser!(u64).range(1..))]
    divide: u64,
    /// Writes docs/performance.md and its charts.
    #[arg(long)]
    write: bool,
    /// A few tables, once and with tiny numbers, of programs that are quick to build: whether the bench works, not what anything costs.
    #[arg(long, conflicts_with_all = ["write", "rounds", "only", "profile", "builds"])]
    smoke: bool,
    /// Only the instructions of the hot path, held against the stored ones: what `check instructions` does.
    #[arg(long, conflicts_with_all = ["write", "smoke", "only", "builds"])]
    instructions: bool,
    /// Stores them, instead of holding them against the stored ones.
    #[arg(long, requires = "instructions")]
    update: bool,
}

impl Options {
    /// Whether the bench works.
    pub(crate) fn smoke() -> Self {
        Self {
            rounds: 1,
            only: [
                "event",
                "span-event",
                "all",
                "counter",
                "scrape",
                "metric-threads",
                REMOTE_WRITE,
                FLAT_OUT,
                LIVES,
                GROWTH,
                WINDOW,
            ]
            .map(str::to_owned)
            .to_vec(),
            profile: "dev".to_owned(),
            without_default_release: true,
            builds: false,
            without_instructions: true,
            divide: 200,
            write: false,
            smoke: true,
            instructions: false,
            update: false,
        }
    }

    fn wants(&self, table: &str) -> bool {
        self.only.is_empty() || self.names(table)
    }

    fn names(&self, table: &str) -> bool {
        self.only.iter().any(|only| only == table)
    }
}

const REMOTE_WRITE: &str = "remote-write";
const FLAT_OUT: &str = "flat-out";
const LIVES: &str = "lives";
const GROWTH: &str = "growth";
const BUILDS: &str = "builds";
const WINDOW: &str = "window";
/// Beside those of the plan.
const OTHER_TABLES: [&str; 6] = [REMOTE_WRITE, FLAT_OUT, LIVES, GROWTH, BUILDS, WINDOW];

/// # Errors
/// If something cannot be built, run or written. Instructions that have grown are no error but an exit code.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.instructions {
        return instructions::run(options.update);
    }
    if options.smoke {
        return bench(&Options::smoke());
    }
    bench(options)
}

fn bench(options: &Options) -> anyhow::Result<ExitCode> {
    let sections = chosen(options)?;
    // All that is built first: while something is measured nothing is.
    let builds = if options.builds || options.names(BUILDS) { builds::measure()? } else { Vec::new() };
    let only_builds = options.only.iter().all(|only| only == BUILDS) && !options.only.is_empty();
    if only_builds {
        let text = told_builds(&builds);
        output!("{text}");
        if options.write {
            write(options, None, &text)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let backend = build(PACKAGE, "backend", &options.profile)?;
    let built = |program, profile: &str| {
        anyhow::Ok(Programs { cost: build(PACKAGE, program, profile)?, backend: backend.clone() })
    };
    let programs = built("cost", &options.profile)?;
    let allocations = built("allocations", &options.profile)?;
    let wants_default = !options.without_default_release && sections.iter().any(|section| section.is_main);
    let default_release = if wants_default { Some(built("cost", DEFAULT_RELEASE)?) } else { None };
    let valgrind = if options.without_instructions { None } else { on_path("valgrind") };
    if valgrind.is_none() && !options.without_instructions {
        eprintln!("no instructions: valgrind is not on the path");
    }
    let bench = Bench {
        options,
        programs: &programs,
        allocations: &allocations,
        default_release: default_release.as_ref(),
        valgrind: valgrind.as_deref(),
    };
    let measured = bench.sections(sections)?;
    // Said as soon as it is known: what fails later takes nothing away.
    let mut text = String::new();
    let mut tell = |part: String| {
        output!("{part}");
        text += &part;
    };
    tell(report::sections(&measured));
    let defaults = report::default_release(&measured);
    if !defaults.is_empty() {
        tell(titled("With Cargo's default release profile", notes::DEFAULT_RELEASE, &defaults));
    }
    let mut pushes = Vec::new();
    if options.wants(REMOTE_WRITE) {
        pushes = bench.remote_write()?;
        let title = format!("Remote write of {} series", thousands(plan::PUSHED_SERIES as u64));
        tell(titled(&title, notes::REMOTE_WRITE, &report::remote_write(&pushes)));
    }
    if options.wants(FLAT_OUT) {
        tell(titled("Flat out", notes::FLAT_OUT, &report::flat_out(&bench.flat_out()?)));
    }
    if options.wants(LIVES) {
        tell(titled("Start, rest and end", notes::LIVES, &report::lives(&bench.lives()?)));
    }
    if options.wants(GROWTH) {
        tell(charts(&bench, options)?);
    }
    if options.wants(WINDOW) {
        tell(titled("The window of the development stack, with a full store", notes::WINDOW, &full_stores(options)?));
    }
    tell(told_builds(&builds));
    if options.write {
        write(options, valgrind.as_deref(), &text)?;
    }
    let lossy: Vec<&str> = measure::lossy(&measured, &pushes);
    if !lossy.is_empty() {
        eprintln!("lgtm has lost items at a pace that its queue takes: {}", lossy.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn titled(title: &str, note: &str, table: &str) -> String {
    format!("\n### {title}\n\n{note}\n\n{table}")
}

/// The tables of the window.
fn full_stores(options: &Options) -> anyhow::Result<String> {
    let program = build(PACKAGE, "window", &options.profile)?;
    let mut outcomes = Vec::new();
    // The default of a stack, and that of the demo.
    for (mebibytes, items) in [(64, 400_000), (512, 1_600_000)] {
        let items = (items / options.divide).max(1000);
        outcomes.push(window::measure(&program, (mebibytes / options.divide).max(1), items, 20)?);
        if options.smoke {
            break;
        }
    }
    Ok(window::tables(&outcomes))
}

/// The table of builds, if there is one.
fn told_builds(builds: &[builds::Build]) -> String {
    if builds.is_empty() {
        return String::new();
    }
    titled("Before a program runs", notes::BUILDS, &report::builds(builds))
}

/// The sections that are wanted.
fn chosen(options: &Options) -> anyhow::Result<Vec<Section>> {
    let all = plan::sections();
    let mut known: Vec<&str> = all.iter().map(|section| section.key).collect();
    known.extend(OTHER_TABLES);
    if let Some(unknown) = options.only.iter().find(|only| !known.contains(&only.as_str())) {
        bail!("there is no table `{unknown}`; accepted: {}", known.join(", "));
    }
    Ok(all.into_iter().filter(|section| options.wants(section.key)).collect())
}

/// The charts, beside the page if it is written.
fn charts(bench: &Bench<'_>, options: &Options) -> anyhow::Result<String> {
    let scratch = tempfile::tempdir().context("no scratch folder")?;
    let folder = if options.write { docs().join(FOLDER) } else { scratch.path().to_owned() };
    std::fs::create_dir_all(&folder)?;
    let mut text = titled("How cost grows", notes::GROWTH, "");
    for growth in plan::growths() {
        let curves = bench.growth(&growth)?;
        chart::write(&folder.join(format!("{}.svg", growth.file)), growth.title, growth.axis, growth.cost, &curves)?;
        text += &format!("![{}]({FOLDER}/{}.svg)\n\n", growth.title, growth.file);
        text += &report::curves(growth.axis, &curves);
        text += "\n";
    }
    Ok(text.trim_end().to_owned() + "\n")
}

/// Where the charts are, beside the page.
const FOLDER: &str = "performance";

fn docs() -> PathBuf {
    cargo::workspace_root().join("docs")
}

fn write(options: &Options, valgrind: Option<&Path>, text: &str) -> anyhow::Result<()> {
    let path = docs().join("performance.md");
    let counted = if valgrind.is_some() {
        "Instructions are callgrind's, the difference of two runs of different length, divided; they vary by a few in a hundred where \
         threads meet."
    } else {
        "Instructions were not counted."
    };
    let asked = if options.only.is_empty() {
        String::new()
    } else {
        format!(" Only these tables were asked for: {}.", options.only.join(", "))
    };
    let page = format!(
        "# What it costs\n\nWritten by `cargo xtask bench --write`, on {}; contenders built with the profile `{}`. {}.\n\n\
         Each measurement is a process of its own, {} rounds, the contenders in turn within each round; the backend is another process, \
         takes everything and keeps nothing. Each contender is set up as its own documentation shows. *Caller* is the CPU time of the \
         calling thread for one operation, the median of the rounds; *other threads* that of all other threads of the process, until \
         everything is sent. *Ratio* is the caller's time by that of the first line. Allocations are the caller's. Operations come in \
         bursts, with pauses in which queues are emptied: *lost* is what did not arrive all the same. Times hold within this page \
         alone; ratios carry over. {counted}{asked}\n{text}",
        machine::describe(),
        options.profile,
        machine::versions()?,
        options.rounds,
    );
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("written: {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smoke_names_tables_that_exist() {
        let sections = chosen(&Options::smoke()).unwrap();
        assert_eq!(sections.len() + 5, Options::smoke().only.len());
        let wrong = Options { only: vec!["evnt".to_owned()], ..Options::smoke() };
        assert!(chosen(&wrong).unwrap_err().to_string().contains("no table `evnt`"));
    }
}
