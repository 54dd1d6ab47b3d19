//! `pushpull key`: API keys, made, listed and revoked beside a running server or without one.

use std::{io::Write, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use pushpull_domain::{
    AppId, Environment, EnvironmentId, KeyId, Timestamp,
    key::{self, ApiKey, Scope},
};
use pushpull_store::{Ref, Store};
use serde_json::json;

use crate::{
    chance::SystemChance,
    config::{Flags, Place},
    keys, store,
};

/// Make, list and revoke API keys
#[derive(Debug, Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Create),
    Ls(Ls),
    Revoke(Revoke),
}

/// Make a key and print it, once, on stdout
#[derive(Debug, Args)]
#[command(after_help = "Example: pushpull key create --name billing --scope send")]
struct Create {
    /// What it is for, for people
    #[arg(long)]
    name: String,
    /// What it allows: admin, send, read, or the id of one application (app_...)
    #[arg(long)]
    scope: String,
    /// The environment it is valid in (org_...) [default: the first]
    #[arg(long)]
    environment: Option<EnvironmentId>,
    /// Print the key and all about it as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags<false>,
}

/// List keys, with when they were last used
#[derive(Debug, Args)]
struct Ls {
    /// Only those of this environment (org_...)
    #[arg(long)]
    environment: Option<EnvironmentId>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags<false>,
}

/// Refuse a key from now on
#[derive(Debug, Args)]
#[command(after_help = "Example: pushpull key revoke key_2JfTzyKyUqLBpBLHvQeSDEHUpcP")]
struct Revoke {
    /// Its id, as `key ls` shows it
    id: KeyId,
    #[command(flatten)]
    flags: Flags<false>,
}

impl Key {
    pub(super) fn run(self) -> Result<ExitCode> {
        let flags = match &self.action {
            Action::Create(Create { flags, .. })
            | Action::Ls(Ls { flags, .. })
            | Action::Revoke(Revoke { flags, .. }) => flags,
        };
        let place = Place::load(flags)?;
        super::runtime()?.block_on(async {
            let store = store::open_existing(&place).await?;
            let done = match self.action {
                Action::Create(create) => create.run(&*store).await,
                Action::Ls(ls) => ls.run(&*store).await,
                Action::Revoke(revoke) => revoke.run(&*store).await,
            };
            store.close().await;
            done
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Create {
    async fn run(self, store: &dyn Store) -> Result<()> {
        let environment = match self.environment {
            None => keys::first_environment(store).await?,
            Some(id) => environment(store, id).await?,
        };
        let scope = scope(store, &environment, &self.scope).await?;
        let token = key::generate_token(&SystemChance);
        let key = keys::new_key(&environment, &token, &self.name, scope);
        store.put_key(key.clone()).await.context("store the key")?;
        let mut out = std::io::stdout();
        if self.json {
            let mut shown = to_json(&environment, &key);
            shown["token"] = json!(token);
            writeln!(out, "{shown}")?;
        } else {
            writeln!(out, "{token}")?;
            eprintln!(
                "made {} ({}, scope {}): the key is shown this once",
                key.id,
                key.name,
                key.scope.to_text()
            );
            eprintln!("revoke it with: pushpull key revoke {}", key.id);
        }
        Ok(())
    }
}

impl Ls {
    async fn run(self, store: &dyn Store) -> Result<()> {
        let mut found = Vec::new();
        for environment in store.environments().await.context("list the environments")? {
            if self.environment.is_some_and(|wanted| wanted != environment.id) {
                continue;
            }
            for key in store.keys(environment.no).await.context("list the keys")? {
                found.push((environment.clone(), key));
            }
        }
        let mut out = std::io::stdout();
        if self.json {
            let shown: Vec<_> = found.iter().map(|(environment, key)| to_json(environment, key)).collect();
            writeln!(out, "{}", json!(shown))?;
            return Ok(());
        }
        let head = ["ID", "KEY", "SCOPE", "STATE", "CREATED", "LAST USED", "NAME"].map(String::from);
        let rows = found.iter().map(|(_, key)| row(key));
        super::print_table(&mut out, std::iter::once(head).chain(rows))?;
        if found.is_empty() {
            eprintln!("no keys: make one with `pushpull key create --name NAME --scope send`");
        }
        Ok(())
    }
}

fn row(key: &ApiKey) -> [String; 7] {
    let state = if key.revoked_at.is_some() { "revoked" } else { "valid" };
    let last_used = key.last_used_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    [
        key.id.to_string(),
        format!("{}...", key.prefix),
        key.scope.to_text(),
        state.to_owned(),
        key.created_at.to_string(),
        last_used,
        key.name.clone(),
    ]
}

fn to_json(environment: &Environment, key: &ApiKey) -> serde_json::Value {
    let moment = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "id": key.id,
        "prefix": key.prefix,
        "name": key.name,
        "scope": key.scope.to_text(),
        "environment": environment.id,
        "createdAt": key.created_at.to_string(),
        "lastUsedAt": moment(key.last_used_at),
        "revokedAt": moment(key.revoked_at),
    })
}

impl Revoke {
    async fn run(self, store: &dyn Store) -> Result<()> {
        for environment in store.environments().await.context("list the environments")? {
            let keys = store.keys(environment.no).await.context("list the keys")?;
            let Some(key) = keys.into_iter().find(|key| key.id == self.id) else { continue };
            if let Some(at) = key.revoked_at {
                eprintln!("{} ({}) was revoked before, at {at}", key.id, key.name);
                return Ok(());
            }
            store.revoke_key(environment.no, key.id).await.context("revoke the key")?;
            eprintln!("revoked {} ({})", key.id, key.name);
            return Ok(());
        }
        bail!("there is no key {}: `pushpull key ls` lists all", self.id)
    }
}

async fn environment(store: &dyn Store, id: EnvironmentId) -> Result<Environment> {
    let all = store.environments().await.context("list the environments")?;
    all.into_iter()
        .find(|environment| environment.id == id)
        .with_context(|| format!("there is no environment {id}"))
}

async fn scope(store: &dyn Store, environment: &Environment, text: &str) -> Result<Scope> {
    match text {
        "admin" => Ok(Scope::Admin),
        "send" => Ok(Scope::Send),
        "read" => Ok(Scope::Read),
        _ => {
            let Ok(id) = text.parse::<AppId>() else {
                bail!(
                    "scope `{text}` is none: write admin, send, read, or the id of an application (app_...)"
                );
            };
            let app = store.app(environment.no, Ref::Id(id)).await.context("look for the application")?;
            let app = app.with_context(|| format!("there is no application {id} in {}", environment.id))?;
            Ok(Scope::App { no: app.app.no, id })
        }
    }
}
