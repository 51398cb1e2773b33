//! Crash states of persistent memory: records what the structures do, builds what a power failure
//! may leave, recovers it, and compares it with what was promised.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use vasmem_engine::lab::Mutation;
use vasmem_lab::crash::defects::{DEFECTS, find, shrink};
use vasmem_lab::crash::explore::{Tally, hush_findings};
use vasmem_lab::crash::persists::{Verdict, score};
use vasmem_lab::crash::run::{LIMITS, Outcome, Plan, search};
use vasmem_lab::crash::workloads::{self, Workload};

const USAGE: &str = "\
usage: crash run [--seconds N] [--least N] [--second N] [--seed N] [--threads N] [--only WORDS]
       crash persists [--threads N] [--only WORDS] [--in WORDS]
       crash defects [--seconds N] [--threads N] [--only WORDS]
  run        tries crash states; persists leaves each flush and drain out in turn; defects switches
             each seeded defect of the engine on, finds it and makes what shows it short
  --seconds  ends after so many seconds (60), with defects for each of them
  --least    fewer distinct states are a failure (0)
  --second   fewer distinct states of a second crash are a failure (0)
  --seed     random workloads from this one on, when all others are done, until there are as many
             states as these two want; without them, until the time is up
  --threads  as many at a time (1)
  --only     only workloads, functions, or defects with these words in their names
  --in       only in workloads with these words in their names";

/// What the command line says.
#[derive(Clone, Default)]
struct Options {
    seconds: Option<u64>,
    least: u64,
    second: u64,
    seed: Option<u64>,
    threads: usize,
    only: String,
    within: String,
}

impl Options {
    fn parse(words: &[String]) -> Result<Options, String> {
        let mut options = Options { threads: 1, ..Options::default() };
        for pair in words.chunks(2) {
            let [name, value] = pair else { return Err(USAGE.into()) };
            let number = || value.parse::<u64>().map_err(|_| format!("{value} is no number"));
            match &name[..] {
                "--seconds" => options.seconds = Some(number()?),
                "--least" => options.least = number()?,
                "--second" => options.second = number()?,
                "--seed" => options.seed = Some(number()?),
                "--threads" => options.threads = number()?.max(1) as usize,
                "--only" => options.only = value.clone(),
                "--in" => options.within = value.clone(),
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}

fn row(name: &str, tally: &Tally) {
    let Tally { exist, drawn, distinct, second, exhausted, points } = *tally;
    println!(
        "| {name:<45} | {exist:9.3e} | {drawn:>9} | {distinct:>9} | {second:>9} | {exhausted:>6} | \
         {points:>6} |"
    );
}

fn heading(what: &str) {
    println!(
        "| {what:<45} | {:>9} | {:>9} | {:>9} | {:>9} | {:>6} | {:>6} |",
        "exist", "drawn", "distinct", "second", "points", "of"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
}

fn tell(outcome: &Outcome) {
    row(&outcome.name, &outcome.tally);
    for failure in &outcome.failures {
        let name = &outcome.name;
        println!("FAILURE in {name}, crash {}: {}", failure.crashes, failure.what);
        println!("    {}", failure.lines);
        println!("    again: {AGAIN} --only '{name}'");
    }
}

/// Runs this program.
const AGAIN: &str = "cargo run --profile fuzz -p vasmem-lab --bin crash -- run";

fn run(options: &Options) -> Result<ExitCode, String> {
    let begun = Instant::now();
    let until = begun + Duration::from_secs(options.seconds.unwrap_or(60));
    let plan = Plan { limits: LIMITS, until, omitted: None };
    let failed = AtomicU64::new(0);
    let mut chosen = workloads::all();
    chosen.retain(|workload| workload.name.contains(&options.only));
    heading("workload");
    let wants = options.least.max(options.second) > 0;
    let has_all = |tally: &Tally| tally.distinct >= options.least && tally.second >= options.second;
    let groups = Mutex::new(BTreeMap::<String, Tally>::new());
    let enough = |tally: &Tally| wants && has_all(tally);
    let tally = search(&chosen, options.seed, options.threads, &plan, enough, |outcome| {
        failed.fetch_add(outcome.failures.len() as u64, Relaxed);
        tell(outcome);
        let mut groups = groups.lock().unwrap_or_else(|broken| broken.into_inner());
        groups.entry(Workload::group(&outcome.name).into()).or_default().add(&outcome.tally);
    })?;
    let (failed, groups) = (failed.into_inner(), groups.into_inner());
    println!();
    heading("group");
    groups.unwrap_or_else(|broken| broken.into_inner()).iter().for_each(|(name, t)| row(name, t));
    row("all", &tally);
    let Tally { distinct, second, .. } = tally;
    let a_second = distinct as f64 / begun.elapsed().as_secs_f64() / options.threads as f64;
    println!("{a_second:.0} states a second and thread");
    if !has_all(&tally) {
        let Options { least, second, .. } = options;
        println!("too few: {least} distinct states are wanted, and {second} of second crashes");
    }
    println!("crash: {distinct} distinct states, {second} of second crashes, {failed} failures");
    let good = failed == 0 && distinct > 0 && has_all(&tally);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a row for every flush and drain of the engine.
fn persists(options: &Options) -> Result<ExitCode, String> {
    println!("| in | left out | noticed by | after states |\n|---|---|---|--:|");
    let caught = AtomicU64::new(0);
    let mut chosen = workloads::all();
    chosen.retain(|workload| workload.name.contains(&options.within));
    let missed = score(&chosen, &options.only, options.threads, |call, verdict| {
        let place = format!("| `{}` {} | `{}` |", call.file, call.function, call.text);
        match verdict {
            Verdict::Caught(name, states) => {
                caught.fetch_add(1, Relaxed);
                println!("{place} {name} | {states} |");
            }
            Verdict::Redundant(reason) => println!("{place} nobody: {reason} | |"),
            Verdict::Missed(true) => println!("{place} **nobody** | |"),
            Verdict::Missed(false) => println!("{place} **nobody came by** | |"),
        }
    })?;
    println!("\npersists: {} caught, {missed} missed", caught.into_inner());
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the process that has a defect switched on prints: events, states, what happened.
fn seek(options: &Options) -> Result<ExitCode, String> {
    let until = Instant::now() + Duration::from_secs(options.seconds.unwrap_or(60));
    let mut chosen = workloads::all();
    chosen.retain(|workload| workload.name.contains(&options.within));
    let Some(found) = find(&chosen, until)? else { return Ok(ExitCode::SUCCESS) };
    let (name, states) = (found.workload.name.clone(), found.states);
    let first = found.events();
    let found = shrink(found, until);
    let (events, crashes) = (found.events(), found.failure.crashes);
    println!("{name}\t{states}\t{first}\t{events}\t{crashes}\t{}", found.failure.what);
    Ok(ExitCode::FAILURE)
}

/// Prints a row for every seeded defect that only a crash shows.
fn defects(options: &Options) -> Result<ExitCode, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let seconds = options.seconds.unwrap_or(60);
    let told = |mutation: Option<Mutation>, within: &str| {
        let mut command = Command::new(&program);
        command
            .args(["seek", "--seconds", &seconds.to_string(), "--in", within])
            .env_remove("VASMEM_MUTATION");
        if let Some(mutation) = mutation {
            command.env("VASMEM_MUTATION", format!("{mutation:?}"));
        }
        let output =
            command.stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
        Ok::<_, String>(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    };
    println!(
        "| defect | in the study | found in | states | events | shrunk to | crashes | seconds |"
    );
    println!("|---|---|---|--:|--:|--:|--:|--:|");
    let chosen: Vec<_> = DEFECTS
        .iter()
        .filter(|(mutation, ..)| format!("{mutation:?}").contains(&options.only))
        .collect();
    let (next, missed, long) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                while let Some((mutation, study, within)) = chosen.get(next.fetch_add(1, Relaxed)) {
                    let begun = Instant::now();
                    let text = told(Some(*mutation), within).unwrap_or_default();
                    let seconds = begun.elapsed().as_secs_f64();
                    let fields: Vec<&str> = text.split('\t').collect();
                    if let [name, states, first, events, crashes, _] = fields[..] {
                        let is_long = events.parse::<u64>().is_ok_and(|events| events > EVENTS_MAX);
                        long.fetch_add(u64::from(is_long), Relaxed);
                        println!(
                            "| {mutation:?} | {study} | {name} | {states} | {first} | {events} | \
                                  {crashes} | {seconds:.1} |"
                        );
                    } else {
                        missed.fetch_add(1, Relaxed);
                        println!("| {mutation:?} | {study} | **nothing** | | | | | {seconds:.1} |");
                    }
                }
            });
        }
    });
    let sound = told(None, "")?.is_empty();
    let (missed, long) = (missed.into_inner(), long.into_inner());
    println!(
        "\ndefects: {} found, {missed} missed, {long} in more than {EVENTS_MAX} events",
        chosen.len() as u64 - missed
    );
    println!("without any defect: {}", if sound { "nothing found" } else { "a failure" });
    Ok(if missed + long == 0 && sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What shows a defect is to be no longer than this.
const EVENTS_MAX: u64 = 12;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match &words[..] {
        [command, rest @ ..] => {
            hush_findings();
            let task: fn(&Options) -> Result<ExitCode, String> = match &command[..] {
                "run" => run,
                "persists" => persists,
                "defects" => defects,
                "seek" => seek,
                _ => return usage(),
            };
            Options::parse(rest).and_then(|options| task(&options))
        }
        _ => return usage(),
    };
    done.unwrap_or_else(|text| {
        eprintln!("{text}");
        ExitCode::from(2)
    })
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
