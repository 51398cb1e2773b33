//! Samples, and what is told of them.

use crate::Outcome;
use crate::roles::{Phase, Reads, Stage};
use std::fs::read_to_string;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// One kill.
pub struct Sample {
    /// From the kill to the waiting writer's own commit.
    pub waited: Duration,
    /// From the kill to the kernel's word that the victim is gone.
    pub gone: Duration,
    /// Whether the victim's commit was decided.
    pub decided: bool,
}

/// Reads of one phase, in all; times in us.
struct Seen {
    count: u64,
    p50: f64,
    p999: f64,
    longest: f64,
    retries: u64,
}

impl Seen {
    fn of(reads: &Reads) -> Seen {
        Seen {
            count: reads.count(),
            p50: reads.quantile_ns(0.5) as f64 / 1e3,
            p999: reads.quantile_ns(0.999) as f64 / 1e3,
            longest: reads.longest_ns.load(SeqCst) as f64 / 1e3,
            retries: reads.retries.load(SeqCst),
        }
    }

    fn line(&self) -> String {
        let Seen { count, p50, p999, longest, retries } = self;
        format!("{count:>9} {p50:>5.2} {p999:>6.2} {longest:>7.0} {retries:>7}")
    }

    fn json(&self) -> String {
        let Seen { count, p50, p999, longest, retries } = self;
        format!(
            "{{\"count\": {count}, \"median us\": {p50:.3}, \"p99.9 us\": {p999:.3}, \
             \"longest us\": {longest:.1}, \"retries\": {retries}}}"
        )
    }
}

/// All that was seen at one size.
pub struct Row {
    mib: usize,
    samples: Vec<Sample>,
    /// By phase.
    reads: [Seen; 3],
}

impl Row {
    /// Fails if the reader did not get through while the lock was held.
    pub fn new(mib: usize, samples: Vec<Sample>, stage: &Stage) -> Outcome<Row> {
        let reads = [Phase::Free, Phase::Held, Phase::Dying].map(|p| Seen::of(stage.reads(p)));
        let held = &reads[Phase::Held as usize];
        if held.count < samples.len() as u64 || held.retries > 0 {
            let Seen { count, retries, .. } = held;
            return Err(format!("the reader was held up: {count} reads, {retries} retries"));
        }
        Ok(Row { mib, samples, reads })
    }

    fn sorted_ms(&self, figure: impl Fn(&Sample) -> Duration) -> Vec<f64> {
        let mut all: Vec<f64> =
            self.samples.iter().map(|s| figure(s).as_secs_f64() * 1e3).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// A row of the table of [`WRITERS`].
    pub fn writers(&self) -> String {
        let (waited, gone) = (self.sorted_ms(|s| s.waited), self.sorted_ms(|s| s.gone));
        let figures = [(&waited, 0.5), (&waited, 0.9), (&waited, 0.99), (&waited, 1.0)];
        let figures = figures.into_iter().chain([(&gone, 0.5), (&gone, 0.99)]);
        let cells: String =
            figures.map(|(all, part)| format!(" {:>8.2}", quantile(all, part))).collect();
        format!("{:>5} {:>6}{cells}", self.mib, self.samples.len())
    }

    /// A row of the table of [`READERS`].
    pub fn readers(&self) -> String {
        let [_, held, dying] = &self.reads;
        format!("{:>5} {}  {}", self.mib, held.line(), dying.line())
    }

    fn json(&self) -> String {
        let waited = self.sorted_ms(|s| s.waited);
        let list = |figure: &dyn Fn(&Sample) -> String| {
            self.samples.iter().map(figure).collect::<Vec<_>>().join(", ")
        };
        let ms = |time: Duration| format!("{:.4}", time.as_secs_f64() * 1e3);
        let [free, held, dying] = self.reads.each_ref().map(Seen::json);
        format!(
            r#"{{"MiB": {}, "median ms": {:.4}, "p90 ms": {:.4}, "p99 ms": {:.4}, "max ms": {:.4},
  "waited ms": [{}],
  "gone ms": [{}],
  "decided": [{}],
  "reads": {{"free": {free}, "held": {held}, "dying": {dying}}}}}"#,
            self.mib,
            quantile(&waited, 0.5),
            quantile(&waited, 0.9),
            quantile(&waited, 0.99),
            quantile(&waited, 1.0),
            list(&|s| ms(s.waited)),
            list(&|s| ms(s.gone)),
            list(&|s| s.decided.to_string()),
        )
    }
}

/// The smallest figure that `part` of all do not exceed.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// What is shown while it is measured.
pub const WRITERS: &str = "\
A process that touched MiB of memory is killed with locked nodes, in the middle of a commit.
goes on: ms from the kill until a writer that waits for the lock has recovered the dead one's commit
(every second one undone, every second one completed) and done its own.
gone: ms from the kill until the kernel says that the process is gone.

  MiB  kills  goes on      p90      p99      max     gone      p99";

/// What is shown at the end.
pub const READERS: &str = "
Reads of the locked keys, us: while the lock is held, and from the kill to the waiting writer's
commit. The longest are those during which the system ran something else. A read waits for nothing:
while the lock is held, none had to begin again.

  MiB      held   p50  p99.9 longest retries     dying   p50  p99.9 longest retries";

/// The machine's load average.
pub fn load_average() -> String {
    line_of("/proc/loadavg")
}

fn line_of(path: &str) -> String {
    read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

/// Everything, to draw and to keep.
pub fn json(rows: &[Row], load_before: &str) -> String {
    let rows: Vec<String> = rows.iter().map(Row::json).collect();
    let kernel = line_of("/proc/sys/kernel/osrelease");
    let huge = line_of("/sys/kernel/mm/transparent_hugepage/enabled");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load_after = load_average();
    format!(
        "{{\"kernel\": \"{kernel}\", \"cores\": {cores}, \"huge pages\": \"{huge}\",\n\
         \"load average\": [\"{load_before}\", \"{load_after}\"],\n\"sizes\": [\n{}\n]}}\n",
        rows.join(",\n")
    )
}
