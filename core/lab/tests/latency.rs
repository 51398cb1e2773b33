//! A short run of `latency`: real processes, killed with locked nodes.

use std::process::{Command, Output};

fn latency(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latency"));
    command.args(words);
    command
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_kill_leaves_all_or_nothing_and_no_reader_waits() {
    let output = latency(&["--kills", "20", "--sizes", "1,4"]).output().unwrap();
    assert!(output.status.success(), "{}", error_of(&output));
}

#[test]
fn a_run_fails_when_the_dead_leave_locks_that_their_records_do_not_tell() {
    let mut command = latency(&["--kills", "2", "--sizes", "1"]);
    let output = command.env("VASMEM_MUTATION", "LockWithoutPrepared").output().unwrap();
    assert!(!output.status.success());
    assert!(error_of(&output).contains("Lock"), "{}", error_of(&output));
}

#[test]
fn unknown_words_are_refused() {
    let output = latency(&["--kill", "1"]).output().unwrap();
    assert!(!output.status.success());
    assert!(error_of(&output).contains("usage"), "{}", error_of(&output));
}
