//! What was given, and where: flag before environment before file before default.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    Problems,
    flags::Flags,
    settings::{self, Default, Given, PREFIX, Setting},
};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag.
    Flag(String),
    /// A variable of the environment.
    Environment(String),
    /// The TOML file.
    File {
        /// Which.
        path: PathBuf,
        /// Where in it, from 1.
        line: usize,
    },
    /// Nobody gave one.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Environment(variable) => f.write_str(variable),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// Its text.
    pub(crate) text: String,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

/// Every value that there is. A setting that is off has none.
#[derive(Clone, Debug)]
pub(crate) struct Raw(BTreeMap<&'static str, Value>);

impl Raw {
    /// Puts flags, environment, file and defaults together.
    pub(crate) fn gather<const EVERY: bool>(
        flags: &Flags<EVERY>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut values = BTreeMap::new();
        for (setting, text) in flags.given() {
            values.insert(setting.name, Value { text: text.clone(), origin: Origin::Flag(setting.flag()) });
        }
        for (setting, value) in from_environment(environment, &mut problems) {
            values.entry(setting.name).or_insert(value);
        }
        if let Some(file) = values.get(settings::CONFIG.name) {
            let path = Path::new(&file.text);
            match std::fs::read_to_string(path) {
                Ok(text) => {
                    for (setting, value) in from_file(path, &text, &mut problems) {
                        values.entry(setting.name).or_insert(value);
                    }
                }
                Err(error) => problems.add(format!("config: {} (from {}): {error}", file.text, file.origin)),
            }
        }
        let mut raw = Self(values);
        raw.fill_in();
        problems.or(raw)
    }

    fn fill_in(&mut self) {
        let data = match (self.0.get(settings::DATA.name), settings::DATA.default) {
            (Some(value), _) => value.text.clone(),
            (None, Default::Text(text) | Default::InData(text) | Default::Off(text)) => text.to_owned(),
        };
        for setting in settings::ALL {
            let text = match setting.default {
                Default::Text(text) => text.to_owned(),
                Default::InData(file) => Path::new(&data).join(file).display().to_string(),
                Default::Off(_) => continue,
            };
            self.0.entry(setting.name).or_insert(Value { text, origin: Origin::Default });
        }
    }

    /// The value of a setting; `None`: it is off.
    pub(crate) fn value(&self, setting: &Setting) -> Option<&Value> {
        self.0.get(setting.name)
    }
}

/// Variables that Kubernetes gives to every container beside a service named `pushpull`.
fn is_of_kubernetes(variable: &str) -> bool {
    let rest = variable.strip_prefix(PREFIX).unwrap_or_default();
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}

fn from_environment(
    environment: impl Iterator<Item = (String, String)>,
    problems: &mut Problems,
) -> Vec<(&'static Setting, Value)> {
    let mut found = Vec::new();
    for (variable, text) in environment {
        if !variable.starts_with(PREFIX) || is_of_kubernetes(&variable) {
            continue;
        }
        let Some(setting) = settings::ALL.iter().find(|setting| setting.variable() == variable) else {
            let known: Vec<String> = settings::ALL.iter().map(Setting::variable).collect();
            problems.add(unknown("environment variable", &variable, &known));
            continue;
        };
        // `NAME=` in a compose file means that it is not set, unless nothing is a value of its own.
        if !text.is_empty() || takes_nothing(setting) {
            found.push((setting, Value { text, origin: Origin::Environment(variable) }));
        }
    }
    found
}

/// Whether an empty text is a value of this setting: an empty list.
fn takes_nothing(setting: &Setting) -> bool {
    [&settings::RETRY_SCHEDULE, &settings::EGRESS_ALLOW, &settings::TRUSTED_PROXIES]
        .iter()
        .any(|list| list.name == setting.name)
}

fn from_file(path: &Path, text: &str, problems: &mut Problems) -> Vec<(&'static Setting, Value)> {
    let line_at = |byte: usize| 1 + text.bytes().take(byte).filter(|b| *b == b'\n').count();
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let line = line_at(error.span().unwrap_or_default().start);
            problems.add(format!("{} line {line}: {}", path.display(), error.message()));
            return Vec::new();
        }
    };
    let in_file = |setting: &&Setting| matches!(setting.given, Given::Place | Given::Anywhere);
    let mut found = Vec::new();
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let line = line_at(key.span().start);
        let place = format!("{} line {line}", path.display());
        let Some(setting) = settings::ALL.iter().filter(in_file).find(|s| s.name == key.get_ref()) else {
            let known: Vec<&str> = settings::ALL.iter().filter(in_file).map(|s| s.name).collect();
            problems.add(format!("{place}: {}", unknown("key", key.get_ref(), &known)));
            continue;
        };
        let Some(text) = text_of(value.get_ref()) else {
            let kind = value.get_ref().type_str();
            problems.add(format!(
                "{place}: {} cannot be a {kind}: write text, a number, true, false or a list of texts",
                setting.name
            ));
            continue;
        };
        found.push((setting, Value { text, origin: Origin::File { path: path.to_owned(), line } }));
    }
    found
}

/// A value of the file as it would stand in the environment; `None`: it has no such form.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            texts.map(|texts| texts.join(","))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

/// How alike two names are, 0 to 1; what all variables start with says nothing.
fn likeness(a: &str, b: &str) -> f64 {
    let rest = |name: &'_ str| name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase();
    strsim::jaro_winkler(&rest(a), &rest(b))
}

/// Names what is unknown, and what was probably meant.
fn unknown(kind: &str, name: &str, known: &[impl AsRef<str>]) -> String {
    let near = known
        .iter()
        .map(|known| (likeness(name, known.as_ref()), known.as_ref()))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, meant)) => format!("unknown {kind} `{name}`: did you mean `{meant}`?"),
        None => format!("unknown {kind} `{name}`: `pushpull config show` lists all there are"),
    }
}
