//! Checks that CI runs: `cargo xtask tidy` compares the tree with what its documents and tables say.

mod graph;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy

  tidy   check the arrows between crates, their names and pages, the bans and licences of deny.toml,
         the table of dependencies, the length of files, and that no test sleeps or is skipped";

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks there")]
fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => {}
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    }
    let findings = tidy::run()?;
    for finding in &findings {
        println!("tidy: {finding}");
    }
    if findings.is_empty() {
        println!("tidy: nothing to say");
        return Ok(ExitCode::SUCCESS);
    }
    println!("tidy: {} to put right", findings.len());
    Ok(ExitCode::FAILURE)
}
