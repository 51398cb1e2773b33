//! Builds the tests of engine and structures, runs them without any defect, then each defect's
//! catchers with it. A test that hangs has not noticed anything: waits in the tests are bounded.

use crate::catchers::{Catcher, of_mutation};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use vasmem_engine::lab::Mutation;
use vasmem_lab::crash::defects::DEFECTS;

/// The longest of the tests takes a tenth of it on an idle machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How a test ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    Hung,
}

/// Runs the named mutations, or all that have catchers, or are not left to `crash defects`; returns
/// how many nobody noticed.
///
/// # Errors
/// If the tests cannot be built or run, or if one fails without any defect.
pub fn run(names: &[String]) -> io::Result<u32> {
    let mut chosen = Vec::new();
    for name in names {
        let found = Mutation::named(name);
        chosen.push(found.ok_or_else(|| io::Error::other(format!("no mutation {name}")))?);
    }
    if chosen.is_empty() {
        let by_crashes = |one| DEFECTS.iter().any(|(mutation, ..)| *mutation == one);
        let by_tests = |one| !of_mutation(one).is_empty() || !by_crashes(one);
        let all = Mutation::ALL.iter().copied().filter(|&one| one != Mutation::None);
        chosen.extend(all.filter(|&one| by_tests(one)));
    }
    let binaries = build()?;
    check_without(&binaries, &chosen)?;
    println!("| mutation | what it does | caught by | after |\n|---|---|---|---|");
    let mut missed = 0;
    for &mutation in &chosen {
        missed += u32::from(!is_caught(&binaries, mutation)?);
    }
    println!("\nmutations: {} caught, {missed} missed", chosen.len() as u32 - missed);
    Ok(missed)
}

/// Tests must pass without a defect, or their failing says nothing.
fn check_without(binaries: &HashMap<String, PathBuf>, chosen: &[Mutation]) -> io::Result<()> {
    let mut done: Vec<Catcher> = Vec::new();
    for &catcher in chosen.iter().flat_map(|&mutation| of_mutation(mutation)) {
        if done.contains(&catcher) {
            continue;
        }
        done.push(catcher);
        if execute(binaries, catcher, Mutation::None)?.0 != End::Passed {
            let name = format!("{}::{}", catcher.target, catcher.test);
            return Err(io::Error::other(format!("{name} does not pass without any defect")));
        }
    }
    Ok(())
}

/// Runs the catchers of one mutation and prints its line of the table.
fn is_caught(binaries: &HashMap<String, PathBuf>, mutation: Mutation) -> io::Result<bool> {
    let mut all = !of_mutation(mutation).is_empty();
    let (mut by, mut after) = (Vec::new(), Vec::new());
    for &catcher in of_mutation(mutation) {
        let (end, time) = execute(binaries, catcher, mutation)?;
        let note = match end {
            End::Failed => "",
            End::Passed => " **missed**",
            End::Hung => " **hung**",
        };
        all &= end == End::Failed;
        by.push(format!("`{}::{}`{note}", catcher.target, catcher.test));
        after.push(format!("{:.2} s", time.as_secs_f64()));
    }
    let (by, after) = (by.join("<br>"), after.join("<br>"));
    println!("| {mutation:?} | {} | {by} | {after} |", mutation.text());
    Ok(all)
}

/// Runs one test in a process of its own.
fn execute(
    binaries: &HashMap<String, PathBuf>,
    catcher: Catcher,
    mutation: Mutation,
) -> io::Result<(End, Duration)> {
    let binary = binaries.get(catcher.target);
    let binary = binary.ok_or_else(|| io::Error::other(format!("no tests {}", catcher.target)))?;
    let mut command = Command::new(binary);
    command.args([catcher.test, "--exact"]).env("RUST_BACKTRACE", "0");
    command.stdout(Stdio::piped()).stderr(Stdio::null()).env_remove("VASMEM_MUTATION");
    if mutation != Mutation::None {
        command.env("VASMEM_MUTATION", format!("{mutation:?}"));
    }
    let begin = Instant::now();
    let mut child = command.spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begin.elapsed() > TIMEOUT {
            child.kill()?;
            child.wait()?;
            return Ok((End::Hung, begin.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("its output is piped"))?;
    let output = io::read_to_string(stdout)?;
    if !output.contains("running 1 test\n") {
        return Err(io::Error::other(format!("no test {}::{}", catcher.target, catcher.test)));
    }
    Ok((if status.success() { End::Passed } else { End::Failed }, begin.elapsed()))
}

/// Test targets of the structures; the others have names of the engine's.
const STRUCTS: [&str; 4] = ["array_kills", "small_kills", "typed", "typed_kills"];

/// Builds all test targets of the engine, the models under `--cfg loom`, and those of the
/// structures; their binaries by name.
fn build() -> io::Result<HashMap<String, PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let mut plain = cargo(&root, "vasmem-engine");
    let mut loom = cargo(&root, "vasmem-engine");
    let mut structs = cargo(&root, "vasmem-structs");
    structs.args(STRUCTS.iter().flat_map(|name| ["--test", name]));
    loom.args(["--test", "loom"]).env("RUSTFLAGS", "--cfg loom");
    loom.env("CARGO_TARGET_DIR", target.join("loom"));
    let mut binaries = executables(plain.arg("--tests"))?;
    binaries.extend(executables(&mut loom)?);
    binaries.extend(executables(&mut structs)?);
    Ok(binaries)
}

fn cargo(root: &Path, package: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["test", "--no-run", "-p", package]);
    command.args(["--features", "lab", "--message-format", "json-render-diagnostics"]);
    command
}

/// Test binaries that cargo reports, by the name of their target.
fn executables(command: &mut Command) -> io::Result<HashMap<String, PathBuf>> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(io::Error::other("the tests do not build"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().filter_map(|line| {
        let path = PathBuf::from(text_after(line, "\"executable\":\"")?);
        let name = path.file_name()?.to_str()?.rsplit_once('-')?.0.to_owned();
        Some((name, path))
    });
    Ok(found.collect())
}

/// The text between `key` and the next quote.
fn text_after<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_once(key)?.1.split('"').next()
}
