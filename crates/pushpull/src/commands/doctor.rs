//! `pushpull doctor`: one line a check, with the fix as a command. Safe to paste: no secret is shown.

mod checks;

use std::{io::Write, process::ExitCode};

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::serve::SETTINGS_HELP;
use crate::config::{Config, Flags};

/// Check that a server can run here, and say how to mend what is wrong
#[derive(Debug, Args)]
#[command(after_help = SETTINGS_HELP)]
pub(crate) struct Doctor {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags<true>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// A server runs, but not as it should.
    Warn,
    /// No server runs like this.
    Fail,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    /// What is so.
    what: String,
    /// What to do about it; nothing if all is well.
    fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, what: what.into(), fix: None }
    }

    fn warn(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, what: what.into(), fix: Some(fix.into()) }
    }

    fn fail(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, what: what.into(), fix: Some(fix.into()) }
    }
}

impl Doctor {
    pub(super) fn run(self) -> Result<ExitCode> {
        let findings = match Config::load(&self.flags) {
            Ok(config) => super::runtime()?.block_on(checks::all(&config)),
            Err(problems) => vec![Finding::fail(
                "config",
                problems.to_string().replace('\n', ";"),
                "pushpull config check",
            )],
        };
        let mut out = std::io::stdout();
        if self.json {
            writeln!(out, "{}", json!(findings.iter().map(to_json).collect::<Vec<_>>()))?;
        } else {
            for Finding { check, verdict, what, fix } in &findings {
                let fix = fix.as_ref().map(|fix| format!(": {fix}")).unwrap_or_default();
                writeln!(out, "{:<5} {check:<14} {what}{fix}", verdict.as_str())?;
            }
        }
        let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn to_json(finding: &Finding) -> serde_json::Value {
    json!({
        "check": finding.check,
        "verdict": finding.verdict.as_str(),
        "what": finding.what,
        "fix": finding.fix,
    })
}
