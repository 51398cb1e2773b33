//! How long the others wait when a process is killed with node locks in its hands.
//!
//! A victim process touches some memory of its own, stops in the middle of a commit with all its
//! nodes locked, and gets SIGKILL. A writer that has waited for one of these nodes all along tells
//! when it has recovered the victim and committed itself. A reader reads the locked keys all the
//! time. The kernel frees a dead process's memory before its file locks, so the wait grows with the
//! memory that the dead process had touched.

mod place;
mod report;
mod roles;

use place::Place;
use report::{Row, Sample};
use roles::{MAP, Orders, Phase, Stage, Watched, after_all, sleeper};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::fmt::Display;
use std::process::{Child, Command, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use vasmem_engine::lab::Point;
use vasmem_engine::os::YIELDS;
use vasmem_memory::Access;
use vasmem_structs::HashMap;
use vasmem_structs::check::check;

/// Undecided, so recovery must undo it; and decided, so it must be completed. All nodes are locked.
const POINTS: [Point; 2] = [Point::Validated, Point::Committed];
/// The waiting writer has come to its longest pauses, and thus to the longest wait, by this round.
const SETTLED_ROUND: u32 = YIELDS + 8;
/// Kills of victims larger than this are fewer.
const LARGE_MIB: usize = 64;

const USAGE: &str = "\
usage: latency [--kills N] [--sizes MIB,MIB,...] [--json FILE]
  --kills  SIGKILLs for each size up to 64 MiB, a third of it above (300)
  --sizes  MiB of private memory that the victims touch (1,4,16,64,256,1024)
  --json   writes all samples there";

/// A failure in words; nothing here can go on after one.
type Outcome<T> = Result<T, String>;

fn told<T, E: Display>(what: &str, result: Result<T, E>) -> Outcome<T> {
    result.map_err(|error| format!("{what}: {error}"))
}

struct Options {
    kills: usize,
    sizes: Vec<usize>,
    json: Option<String>,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Options> {
        let mut options = Options { kills: 300, sizes: vec![1, 4, 16, 64, 256, 1024], json: None };
        while let Some(word) = words.next() {
            let value = words.next().ok_or(USAGE)?;
            match word.as_str() {
                "--kills" => options.kills = told("--kills", value.parse())?,
                "--sizes" => {
                    let sizes = value.split(',').map(str::parse).collect::<Result<_, _>>();
                    options.sizes = told("--sizes", sizes)?;
                }
                "--json" => options.json = Some(value),
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match &words[..] {
        [role, rest @ ..] if role == "victim" => victim(rest),
        _ => Options::parse(words.into_iter()).and_then(|options| run(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("latency: {text}");
            ExitCode::FAILURE
        }
    }
}

/// The other side of [`Killer::start`].
fn victim(words: &[String]) -> Outcome<()> {
    let [segment, locks, touch_mib, point, number] = words else { return Err(USAGE.into()) };
    let orders = Orders {
        touch_mib: told("MiB", touch_mib.parse())?,
        point: Point::named(point).ok_or("no such point")?,
        number: told("number", number.parse())?,
    };
    let place = told("open", Place::open(segment, locks))?;
    told("victim", roles::die(&place, &orders))
}

fn run(options: &Options) -> Outcome<()> {
    let place = told("segment", Place::new(1 << 20, 16 << 20))?;
    let before = report::load_average();
    println!("{}", report::WRITERS);
    let mut done = Vec::new();
    for &mib in &options.sizes {
        let kills = if mib > LARGE_MIB { options.kills.div_ceil(3) } else { options.kills };
        let row = one_size(&place, mib, kills)?;
        println!("{}", row.writers());
        done.push(row);
    }
    println!("{}", report::READERS);
    done.iter().for_each(|row| println!("{}", row.readers()));
    println!("\nload average: {before} before, {} after", report::load_average());
    if let Some(path) = &options.json {
        told(path, std::fs::write(path, report::json(&done, &before)))?;
        println!("{path}");
    }
    Ok(())
}

/// All kills of one size.
fn one_size(place: &Place, mib: usize, kills: usize) -> Outcome<Row> {
    let segment = told("attach", place.attach(Access::ReadWrite))?;
    let map = segment.write(&mut sleeper(), |tx| {
        match HashMap::open(tx, tx.segment.geometry.directory_at, MAP)? {
            Some((map, _)) => Ok(map),
            None => HashMap::create(tx, MAP, 0, 42),
        }
    });
    let map = told("map", map)?;
    told("first values", roles::swap_all(&segment, &map, 0, &mut sleeper()))?;
    let (stage, rounds) = (Stage::default(), AtomicU32::new(0));
    thread::scope(|scope| {
        let reader = scope.spawn(|| roles::read_on(place, &stage));
        let (orders, taken) = channel();
        let (done, results) = channel();
        let rounds = &rounds;
        scope.spawn(move || done.send(write_on(place, rounds, &taken, &done)));
        let killer = Killer { place, mib, stage: &stage, rounds, orders, results };
        let samples: Outcome<Vec<Sample>> = (0..kills as u64)
            .map(|turn| {
                let sample = killer.kill(turn)?;
                match told("check", check(&segment, &mut sleeper()))? {
                    broken if broken.is_empty() => Ok(sample),
                    broken => Err(format!("{mib} MiB, kill {turn}: {broken:?}")),
                }
            })
            .collect();
        drop(killer);
        stage.end();
        let read = reader.join().map_err(|_| "the reader panicked")?;
        match told("reader", read)? {
            Some(text) => Err(text),
            None => Row::new(mib, samples?, &stage),
        }
    })
}

/// What the waiting writer came to: when it had committed, and what it had found.
type Committed = Outcome<(Instant, Option<u64>)>;

/// The waiting writer: writes each number that it is sent.
fn write_on(
    place: &Place,
    rounds: &AtomicU32,
    numbers: &Receiver<u64>,
    done: &Sender<Committed>,
) -> Committed {
    let segment = told("attach", place.attach(Access::ReadWrite))?;
    let map = told("map", roles::open_map(&segment))?;
    loop {
        let number = numbers.recv().map_err(|_| "done")?;
        let mut patience = Watched::new(rounds);
        let found = told("writer", roles::swap_all(&segment, &map, number, &mut patience))?;
        done.send(Ok((Instant::now(), found))).map_err(|_| "nobody listens")?;
    }
}

/// Starts victims and kills them.
struct Killer<'a> {
    place: &'a Place,
    mib: usize,
    stage: &'a Stage,
    /// Rounds that the waiting writer has waited.
    rounds: &'a AtomicU32,
    orders: Sender<u64>,
    results: Receiver<Committed>,
}

impl Killer<'_> {
    /// One kill, at the points in turn.
    fn kill(&self, turn: u64) -> Outcome<Sample> {
        let decided = turn % 2 == 1;
        let expected = 2 * turn + u64::from(decided);
        let mut victim = self.start(POINTS[usize::from(decided)], 2 * turn + 1)?;
        let sample = self.kill_stopped(&mut victim, expected);
        if sample.is_err() {
            // It may be gone already.
            let _ = victim.kill();
        }
        sample.map(|sample| Sample { decided, ..sample })
    }

    /// Starts a victim; it stands still in its commit when this returns.
    fn start(&self, point: Point, number: u64) -> Outcome<Child> {
        let program = told("own path", std::env::current_exe())?;
        let words = [self.mib.to_string(), format!("{point:?}"), number.to_string()];
        let mut command = Command::new(program);
        command.arg("victim").args(self.place.paths()).args(words);
        let mut child = told("victim", command.spawn())?;
        let status = waitpid(Some(Pid::from_child(&child)), WaitOptions::UNTRACED);
        match told("victim", status)? {
            Some((_, status)) if status.stopped() => Ok(child),
            status => {
                let _ = child.kill();
                Err(format!("the victim did not stop in its commit: {status:?}"))
            }
        }
    }

    fn kill_stopped(&self, victim: &mut Child, expected: u64) -> Outcome<Sample> {
        self.rounds.store(0, SeqCst);
        told("writer", self.orders.send(after_all(expected)))?;
        while self.rounds.load(SeqCst) < SETTLED_ROUND {
            if let Ok(early) = self.results.try_recv() {
                return Err(format!("the writer did not wait: {early:?}"));
            }
            thread::sleep(Duration::from_micros(200));
        }
        self.stage.set(Phase::Held, expected);
        // At any instant of the writer's pause of 1 ms.
        thread::sleep(Duration::from_micros(2000 + expected * 379 % 1000));
        self.stage.set(Phase::Dying, expected);
        let start = Instant::now();
        told("kill", victim.kill())?;
        told("wait", victim.wait())?;
        let gone = start.elapsed();
        let (committed, found) = told("writer", self.results.recv())??;
        self.stage.set(Phase::Free, 0);
        if found != Some(expected) {
            return Err(format!("all keys should have been {expected}, found {found:?}"));
        }
        Ok(Sample { waited: committed - start, gone, decided: false })
    }
}
