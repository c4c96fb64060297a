//! `cargo xtask bench`: what one operation costs with lgtm and with its peers, side by side: all contenders in turn, in several
//! rounds, each time in a process of its own, against a backend that takes everything and keeps nothing. One table an operation.
//!
//! ```text
//! plan.rs: who does what ── measure.rs: in turn ── programs.rs, callgrind.rs: one process each ── report.rs, chart.rs: tables, charts
//! ```

mod callgrind;
mod chart;
mod instructions;
mod machine;
mod measure;
mod plan;
mod programs;
mod report;
mod statistics;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::cargo;
use crate::stack::on_path;
use measure::Bench;
use plan::Section;
use programs::Programs;

pub(crate) use instructions::check as check_instructions;
pub(crate) use programs::build;

/// The package of all programs.
const PACKAGE: &str = "lgtm-benches";
/// Cargo's profile where nobody has changed it.
const DEFAULT_RELEASE: &str = "default-release";
/// The profile of the program that counts allocations: they are the same in all, and this one is quick to build.
const COUNTING: &str = "dev";

/// What `bench` does.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How often each contender has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only these tables: the first words of the plan, such as event, span-event, all, scrape, flat-out, lives, growth.
    #[arg(long, value_delimiter = ',', value_name = "TABLE")]
    only: Vec<String>,
    /// Cargo's profile for the contenders.
    #[arg(long, default_value = "side-by-side")]
    profile: String,
    /// Leaves out the second build, with Cargo's default release profile, for the two main tables.
    #[arg(long)]
    without_default_release: bool,
    /// Leaves out the instructions.
    #[arg(long)]
    without_instructions: bool,
    /// Does everything that many times less often.
    #[arg(long, default_value_t = 1, hide = true, value_parser = clap::value_parser!(u64).range(1..))]
    divide: u64,
    /// Writes docs/performance.md and its charts.
    #[arg(long)]
    write: bool,
    /// A few tables, once and with tiny numbers, of programs that are quick to build: whether the bench works, not what anything costs.
    #[arg(long, conflicts_with_all = ["write", "rounds", "only", "profile"])]
    smoke: bool,
    /// Only the instructions of the hot path, held against the stored ones: what `check instructions` does.
    #[arg(long, conflicts_with_all = ["write", "smoke", "only"])]
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
            only: ["event", "span-event", "all", "counter", "scrape", "metric-threads", "flat-out", "lives"]
                .map(str::to_owned)
                .to_vec(),
            profile: "dev".to_owned(),
            without_default_release: true,
            without_instructions: true,
            divide: 200,
            write: false,
            smoke: true,
            instructions: false,
            update: false,
        }
    }

    fn wants(&self, table: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == table)
    }
}

const FLAT_OUT: &str = "flat-out";
const LIVES: &str = "lives";
const GROWTH: &str = "growth";

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
    let programs = built(&options.profile, "cost")?;
    let allocations = built(COUNTING, "allocations")?;
    let wants_default = !options.without_default_release && sections.iter().any(|section| section.is_main);
    let default_release = if wants_default { Some(built(DEFAULT_RELEASE, "cost")?) } else { None };
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
    if options.wants(FLAT_OUT) {
        tell(format!("\n### Flat out\n\n{FLAT_OUT_NOTE}\n\n{}", report::flat_out(&bench.flat_out()?)));
    }
    if options.wants(LIVES) {
        tell(format!("\n### Start, rest and end\n\n{LIVES_NOTE}\n\n{}", report::lives(&bench.lives()?)));
    }
    if options.wants(GROWTH) {
        tell(charts(&bench, options)?);
    }
    if options.write {
        write(options, valgrind.as_deref(), &text)?;
    }
    let lossy: Vec<&str> = measure::lossy(&measured);
    if !lossy.is_empty() {
        eprintln!("lgtm has lost items at a pace that its queue takes: {}", lossy.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

const FLAT_OUT_NOTE: &str = "As fast as the threads can, without a pause; the backend shares the cores. Where the contender can make \
    the caller wait for room, it does (lgtm, `Overflow::Block`); the others drop. Received a second: items that came, by the time from \
    the first to the end of the shutdown. Each contender at its own default queue, unless it says otherwise.";

const LIVES_NOTE: &str = "Medians. The start is that of all threads and connections that the library makes at once; the flush and the \
    shutdown are those of a pipeline in which nothing waits, but lgtm's last push of metrics. Wake-ups are voluntary context switches of all \
    threads, over three seconds in which the program does nothing.";

/// The sections that are wanted.
fn chosen(options: &Options) -> anyhow::Result<Vec<Section>> {
    let all = plan::sections();
    let mut known: Vec<&str> = all.iter().map(|section| section.key).collect();
    known.extend([FLAT_OUT, LIVES, GROWTH]);
    if let Some(unknown) = options.only.iter().find(|only| !known.contains(&only.as_str())) {
        bail!("there is no table `{unknown}`; accepted: {}", known.join(", "));
    }
    Ok(all.into_iter().filter(|section| options.wants(section.key)).collect())
}

fn built(profile: &str, program: &str) -> anyhow::Result<Programs> {
    Ok(Programs { cost: build(PACKAGE, program, profile)?, backend: build(PACKAGE, "backend", profile)? })
}

/// The charts, beside the page if it is written.
fn charts(bench: &Bench<'_>, options: &Options) -> anyhow::Result<String> {
    let scratch = tempfile::tempdir().context("no scratch folder")?;
    let folder = if options.write { docs().join(FOLDER) } else { scratch.path().to_owned() };
    std::fs::create_dir_all(&folder)?;
    let mut text = "\n### How the caller's cost grows\n".to_owned();
    for growth in plan::growths() {
        let curves = bench.growth(&growth)?;
        chart::write(&folder.join(format!("{}.svg", growth.file)), growth.title, growth.axis, &curves)?;
        text += &format!("\n![{}]({FOLDER}/{}.svg)\n\n", growth.title, growth.file);
        text += &report::curves(growth.axis, &curves);
    }
    Ok(text)
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
        assert_eq!(sections.len() + 2, Options::smoke().only.len());
        let wrong = Options { only: vec!["evnt".to_owned()], ..Options::smoke() };
        assert!(chosen(&wrong).unwrap_err().to_string().contains("no table `evnt`"));
    }
}
