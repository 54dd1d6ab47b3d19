//! Settings as flags of a command.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::settings::{ALL, Default, Given, Setting};

/// What was given as flags. `EVERY`: each setting has one; else only those that say where the data is.
#[derive(Clone, Debug, std::default::Default)]
pub(crate) struct Flags<const EVERY: bool>(Vec<(&'static Setting, String)>);

impl<const EVERY: bool> Flags<EVERY> {
    /// Each flag that was given, with its value.
    pub(crate) fn given(&self) -> &[(&'static Setting, String)] {
        &self.0
    }

    fn settings() -> impl Iterator<Item = &'static Setting> {
        ALL.iter().filter(|setting| match setting.given {
            Given::Place | Given::NotInFile => true,
            Given::Anywhere => EVERY,
            Given::EnvironmentOnly => false,
        })
    }
}

fn help(setting: &Setting) -> String {
    match setting.default {
        Default::Text("") => format!("{} [default: none]", setting.help),
        Default::Text(text) | Default::Off(text) => format!("{} [default: {text}]", setting.help),
        Default::InData(file) => format!("{} [default: DATA/{file}]", setting.help),
    }
}

impl<const EVERY: bool> Args for Flags<EVERY> {
    fn augment_args(command: Command) -> Command {
        let flags = Self::settings().map(|setting| {
            Arg::new(setting.name)
                .long(setting.flag())
                .value_name(setting.value)
                .help(help(setting))
                .help_heading("Settings")
        });
        command.args(flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const EVERY: bool> FromArgMatches for Flags<EVERY> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in Self::settings() {
            if let Some(text) = matches.get_one::<String>(setting.name) {
                self.0.push((setting, text.clone()));
            }
        }
        Ok(())
    }
}
