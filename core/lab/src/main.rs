//! Runs every seeded defect of the commit protocol against the tests that must notice it:
//! `cargo run -p vasmem-lab --release -- mutations [NAME...]`.

mod catchers;
mod mutations;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((command, names)) if command == "mutations" => match mutations::run(names) {
            Ok(0) => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(2)
            }
        },
        _ => {
            eprintln!("usage: vasmem-lab mutations [NAME...]");
            ExitCode::from(2)
        }
    }
}
