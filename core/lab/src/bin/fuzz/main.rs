//! Hostile input: segments that somebody has tampered with must raise errors, and nothing else.
//!
//! Every input follows from its seed. It runs in a worker process: whatever ends the worker, and
//! an input that does not end, is a failure, told in one line that runs it again.

mod arrays;
mod image;
mod mutate;
mod operate;
mod small;
mod sorted;
mod trees;
mod typed;
mod worker;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::fmt::Display;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};
use vasmem_lab::random;
use vasmem_memory::{Mapped, Memory, Ordering::Relaxed};
use worker::{BOARD_BYTES, ERRORS, INPUTS, KINDS, SEED};

/// What is mutated: anything, or the redo records of the dead.
pub const TARGETS: [&str; 2] = ["segments", "records"];
/// An input that takes longer hangs: by the processor's time, as the machine may be busy, and by
/// the clock for one that sleeps.
const DEADLINE: Duration = Duration::from_secs(5);
const CLOCK_DEADLINE: Duration = Duration::from_secs(120);
/// The search ends after so many failures.
const FAILURES_MAX: u64 = 10;
/// Runs this program.
const AGAIN: &str = "cargo run --profile fuzz -p vasmem-lab --bin fuzz --";
const USAGE: &str = "\
usage: fuzz segments|records [--seconds N] [--count N] [--seed N] [--workers N]
  --seconds  ends after so many seconds
  --count    ends after so many inputs
  --seed     seed of the first input; alone, of the only one
  --workers  processes (1)";

/// A failure of the search itself, in words.
pub type Outcome<T> = Result<T, String>;

/// A failure of `what`, in words.
pub fn told<T, E: Display>(what: &str, result: Result<T, E>) -> Outcome<T> {
    result.map_err(|error| format!("{what}: {error}"))
}

struct Options {
    target: String,
    seconds: Option<u64>,
    count: Option<u64>,
    seed: Option<u64>,
    workers: u64,
}

impl Options {
    fn parse(words: &[String]) -> Outcome<Options> {
        let (target, rest) = words.split_first().ok_or(USAGE)?;
        if !TARGETS.contains(&target.as_str()) {
            return Err(USAGE.into());
        }
        let mut options =
            Options { target: target.clone(), seconds: None, count: None, seed: None, workers: 1 };
        for pair in rest.chunks(2) {
            let [name, value] = pair else { return Err(USAGE.into()) };
            let value = told(name, value.parse())?;
            match name.as_str() {
                "--seconds" => options.seconds = Some(value),
                "--count" => options.count = Some(value),
                "--seed" => options.seed = Some(value),
                "--workers" => options.workers = value.max(1),
                _ => return Err(USAGE.into()),
            }
        }
        if options.seed.is_some() && options.seconds.is_none() && options.count.is_none() {
            options.count = Some(1);
        }
        Ok(options)
    }

    /// Inputs of worker number `index`.
    fn share(&self, index: u64) -> u64 {
        let count = self.count.unwrap_or(u64::MAX / 2);
        count / self.workers + u64::from(index < count % self.workers)
    }
}

/// A worker as its parent sees it.
struct Worker {
    index: u64,
    file: File,
    board: Mapped,
    child: Child,
    /// Inputs that it had done, and when that was seen to change, by the clock and by its own time.
    seen: (u64, Instant, Duration),
}

impl Worker {
    fn start(options: &Options, index: u64) -> Outcome<Worker> {
        let file: File = told("a board", memfd_create("board", MemfdFlags::CLOEXEC))?.into();
        told("a board", ftruncate(&file, BOARD_BYTES))?;
        let board = worker::board(&file)?;
        let first = options.seed.unwrap_or(0) + index;
        let child = spawn(options, &file, first, options.share(index))?;
        Ok(Worker { index, file, board, child, seen: (0, Instant::now(), Duration::ZERO) })
    }

    fn word(&self, at: u64) -> u64 {
        self.board.load(at, Relaxed)
    }

    /// Whether it is at its end; tells of a failure, and goes on behind it.
    fn look(&mut self, options: &Options, failures: &mut u64) -> Outcome<bool> {
        let done = self.word(INPUTS);
        if done != self.seen.0 {
            self.seen = (done, Instant::now(), self.used());
        }
        let ended = told("a worker", self.child.try_wait())?;
        let what = match ended {
            Some(status) if status.success() => return Ok(true),
            Some(status) => describe(status),
            None if self.used().saturating_sub(self.seen.2) > DEADLINE
                || self.seen.1.elapsed() > CLOCK_DEADLINE =>
            {
                self.stop();
                format!("no end after {} s", self.seen.1.elapsed().as_secs())
            }
            None => return Ok(false),
        };
        *failures += 1;
        let seed = self.word(SEED);
        let again = format!("{AGAIN} {} --seed {seed}", options.target);
        println!("FAILURE ({what}): {again}");
        self.board.store(INPUTS, done + 1, Relaxed);
        self.seen = (done + 1, Instant::now(), Duration::ZERO);
        let left = options.share(self.index).saturating_sub(done + 1);
        if left == 0 {
            return Ok(true);
        }
        self.child = spawn(options, &self.file, seed + options.workers, left)?;
        Ok(false)
    }

    /// Time of the processor that it has used.
    fn used(&self) -> Duration {
        const TICKS_PER_S: u64 = 100;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_default();
        // Behind its name, which may hold anything; user and system time are fields 14 and 15.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 =
            fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_S)
    }

    fn stop(&mut self) {
        // It may have ended by itself meanwhile.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(options: &Options, board: &File, seed: u64, count: u64) -> Outcome<Child> {
    let path = format!("/proc/{}/fd/{}", std::process::id(), board.as_raw_fd());
    let numbers = [seed, options.workers, count].map(|number| number.to_string());
    let program = told("this program", std::env::current_exe())?;
    let mut command = Command::new(program);
    command.args(["worker", &options.target, &path]).args(numbers);
    told("a worker", command.spawn())
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (_, Some(101)) => "panic".into(),
        (_, code) => format!("exit code {}", code.unwrap_or(-1)),
    }
}

fn search(options: &Options) -> Outcome<u64> {
    let begun = Instant::now();
    let started = (0..options.workers).map(|index| Worker::start(options, index));
    let mut workers = started.collect::<Outcome<Vec<_>>>()?;
    let mut running: Vec<bool> = vec![true; workers.len()];
    let (mut failures, mut told_at) = (0, Instant::now());
    let is_over = || options.seconds.is_some_and(|seconds| begun.elapsed().as_secs() >= seconds);
    while running.contains(&true) && !is_over() && failures < FAILURES_MAX {
        thread::sleep(Duration::from_millis(20));
        for (worker, running) in workers.iter_mut().zip(&mut running).filter(|(_, on)| **on) {
            *running = !worker.look(options, &mut failures)?;
        }
        if told_at.elapsed() > Duration::from_secs(10) {
            told_at = Instant::now();
            let inputs: u64 = workers.iter().map(|worker| worker.word(INPUTS)).sum();
            let a_second = inputs as f64 / begun.elapsed().as_secs_f64();
            println!("{inputs} inputs, {a_second:.0} a second, {failures} failures");
        }
    }
    workers.iter_mut().for_each(Worker::stop);
    let sum = |at| workers.iter().map(|worker| worker.word(at)).sum::<u64>();
    let kinds: Vec<_> = (0u64..)
        .zip(KINDS)
        .map(|(number, name)| (name, sum(ERRORS + number * 8)))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    let errors = if kinds.is_empty() { "no errors".into() } else { kinds.join(", ") };
    println!("fuzz {}: {} inputs, {failures} failures, {errors}", options.target, sum(INPUTS));
    Ok(failures)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match &words[..] {
        [role, target, board, numbers @ ..] if role == "worker" && numbers.len() == 3 => {
            let numbers = [0, 1, 2].map(|i| numbers[i].parse().unwrap_or(0));
            worker::work(target, board, numbers).map(|()| 0)
        }
        words => Options::parse(words).and_then(|options| search(&options)),
    };
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}
