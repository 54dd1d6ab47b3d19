//! `pushpull config`: the settings, each with where it comes from.

use std::{io::Write, process::ExitCode};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::serve::SETTINGS_HELP;
use crate::config::{self, ALL, Default, Flags, Raw, Setting, Value};

/// Show and check the settings
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(Show),
    Check(Check),
}

/// List every setting with its value and where that comes from
#[derive(Debug, Args)]
#[command(after_help = SETTINGS_HELP)]
struct Show {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags<true>,
}

/// Check every setting without starting anything
#[derive(Debug, Args)]
#[command(after_help = SETTINGS_HELP)]
struct Check {
    #[command(flatten)]
    flags: Flags<true>,
}

impl Config {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.action {
            Action::Show(show) => show.run()?,
            Action::Check(check) => {
                config::Config::load(&check.flags)?;
                eprintln!("every setting is valid");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    fn run(self) -> Result<()> {
        let raw = Raw::gather(&self.flags, config::environment())?;
        let mut out = std::io::stdout();
        if self.json {
            let shown: Vec<_> = ALL.iter().map(|setting| to_json(setting, raw.value(setting))).collect();
            writeln!(out, "{}", json!(shown))?;
        } else {
            let rows = ALL.iter().map(|setting| row(setting, raw.value(setting)));
            super::print_table(&mut out, rows)?;
        }
        // What is shown may still be wrong.
        config::Config::parse(&raw)?;
        Ok(())
    }
}

fn row(setting: &Setting, value: Option<&Value>) -> [String; 3] {
    let (text, origin) = match (value, setting.default) {
        (Some(_), _) if setting.is_secret() => ("(set, hidden)".to_owned(), None),
        (Some(value), _) if value.text.is_empty() => ("(none)".to_owned(), Some(value)),
        (Some(value), _) => (config::shown(&value.text), Some(value)),
        (None, Default::Off(words) | Default::Text(words) | Default::InData(words)) => {
            (format!("({words})"), None)
        }
    };
    let origin = origin.or(value).map_or_else(|| "default".to_owned(), |value| value.origin.to_string());
    [setting.name.to_owned(), text, origin]
}

fn to_json(setting: &Setting, value: Option<&Value>) -> serde_json::Value {
    json!({
        "name": setting.name,
        "value": value.filter(|_| !setting.is_secret()).map(|value| config::shown(&value.text)),
        "set": value.is_some(),
        "origin": value.map_or_else(|| "default".to_owned(), |value| value.origin.to_string()),
    })
}
