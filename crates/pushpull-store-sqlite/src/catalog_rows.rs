//! Rows of the catalogue as domain types.

use std::sync::Arc;

use pushpull_domain::{
    App, AppNo, AppSnapshot, Batch, Endpoint, EndpointNo, EndpointState, Environment, EnvironmentNo,
    EventType, EventTypeName, Filter, Health, Metadata, Mode, RetrySchedule, Secrets, Seq, Timestamp, Uid,
    endpoint::{CustomHeaders, DisabledReason},
    key::{ApiKey, KeyHash, PollerToken, Scope},
    seal::Sealer,
    signature::{OldSecret, Secret},
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use crate::fault::{Fault, inconsistent};

/// A column of text that is a domain type.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    table: &'static str,
    row: &Row<'_>,
    column: &str,
) -> Result<T, Fault> {
    let text: String = row.get(column)?;
    text.parse().map_err(|e| inconsistent(table, &text, format!("{column}: {e}")))
}

fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(
    table: &'static str,
    row: &Row<'_>,
    column: &str,
) -> Result<Option<T>, Fault> {
    let Some(text) = row.get::<_, Option<String>>(column)? else { return Ok(None) };
    text.parse().map(Some).map_err(|e| inconsistent(table, &text, format!("{column}: {e}")))
}

/// A column of JSON.
fn json<T: serde::de::DeserializeOwned>(
    table: &'static str,
    row: &Row<'_>,
    column: &str,
) -> Result<Option<T>, Fault> {
    let Some(text) = row.get::<_, Option<String>>(column)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|e| inconsistent(table, column, e))
}

/// A value as a column of JSON.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("maps, lists and texts are JSON")
}

pub(crate) fn time(row: &Row<'_>, column: &str) -> Result<Timestamp, rusqlite::Error> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

fn optional_time(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, rusqlite::Error> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

pub(crate) fn environment(row: &Row<'_>) -> Result<Environment, Fault> {
    Ok(Environment {
        no: EnvironmentNo(row.get("no")?),
        id: parsed("environment", row, "id")?,
        name: row.get("name")?,
        created_at: time(row, "created_at")?,
    })
}

/// The three columns of a scope: its word, and what it is about.
pub(crate) fn scope_columns(scope: &Scope) -> (&'static str, Option<u32>, Option<u32>) {
    match scope {
        Scope::Admin => ("admin", None, None),
        Scope::Send => ("send", None, None),
        Scope::Read => ("read", None, None),
        Scope::App { no, .. } => ("app", Some(no.0), None),
        Scope::Poller { app, no, .. } => ("poller", Some(app.0), Some(no.0)),
    }
}

/// From `api_key` with `app.id AS app_id` and `endpoint.id AS endpoint_id`.
pub(crate) fn api_key(row: &Row<'_>) -> Result<ApiKey, Fault> {
    let scope = match row.get::<_, String>("scope")?.as_str() {
        "admin" => Scope::Admin,
        "send" => Scope::Send,
        "read" => Scope::Read,
        "app" => Scope::App { no: AppNo(row.get("app")?), id: parsed("api_key", row, "app_id")? },
        "poller" => Scope::Poller {
            app: AppNo(row.get("app")?),
            app_id: parsed("api_key", row, "app_id")?,
            no: EndpointNo(row.get("endpoint")?),
            id: parsed("api_key", row, "endpoint_id")?,
        },
        other => return Err(inconsistent("api_key", other, "scope")),
    };
    Ok(ApiKey {
        id: parsed("api_key", row, "id")?,
        environment: EnvironmentNo(row.get("environment")?),
        hash: KeyHash(row.get("hash")?),
        prefix: row.get("prefix")?,
        name: row.get("name")?,
        scope,
        created_at: time(row, "created_at")?,
        last_used_at: optional_time(row, "last_used_at")?,
        revoked_at: optional_time(row, "revoked_at")?,
    })
}

fn token_place(key: &str) -> String {
    format!("api_key/{key}/token")
}

/// A poller token's text, sealed.
pub(crate) fn seal_token(
    sealer: &Sealer,
    chance: &dyn pushpull_domain::Chance,
    token: &PollerToken,
) -> Vec<u8> {
    sealer.seal(&token_place(&token.key.id.to_string()), token.text.as_bytes(), chance)
}

/// From a row as [`api_key`] reads it, with the text.
pub(crate) fn poller_token(row: &Row<'_>, sealer: &Sealer) -> Result<PollerToken, Fault> {
    let key = api_key(row)?;
    let place = token_place(&key.id.to_string());
    let sealed: Vec<u8> = row.get("token")?;
    let broken = |what: String| inconsistent("api_key", &place, what);
    let text = sealer.open(&place, &sealed).map_err(|e| broken(e.to_string()))?;
    let text = String::from_utf8(text).map_err(|e| broken(e.to_string()))?;
    Ok(PollerToken { key, text })
}

pub(crate) fn app(row: &Row<'_>) -> Result<App, Fault> {
    Ok(App {
        no: AppNo(row.get("no")?),
        id: parsed("app", row, "id")?,
        environment: EnvironmentNo(row.get("environment")?),
        uid: optional::<Uid>("app", row, "uid")?,
        name: row.get("name")?,
        rate_limit: row.get("rate_limit")?,
        metadata: json::<Metadata>("app", row, "metadata")?.unwrap_or_default(),
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

pub(crate) fn event_type(row: &Row<'_>) -> Result<EventType, Fault> {
    Ok(EventType {
        environment: EnvironmentNo(row.get("environment")?),
        name: parsed::<EventTypeName>("event_type", row, "name")?,
        description: row.get("description")?,
        archived: row.get("archived")?,
        deprecated: row.get("deprecated")?,
        schemas: json("event_type", row, "schemas")?,
        feature_flags: json("event_type", row, "feature_flags")?,
        group_name: row.get("group_name")?,
        retry_schedule: optional::<RetrySchedule>("event_type", row, "retry_schedule")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

/// What is sealed of an endpoint's secrets.
#[derive(Serialize, Deserialize)]
struct SealedSecrets {
    current: String,
    old: Vec<(String, i64)>,
}

/// Where an endpoint's secrets are sealed for.
fn secrets_place(id: &str) -> String {
    format!("endpoint/{id}/secrets")
}

fn headers_place(id: &str) -> String {
    format!("endpoint/{id}/headers")
}

/// An endpoint's secrets, sealed.
pub(crate) fn seal_secrets(
    sealer: &Sealer,
    chance: &dyn pushpull_domain::Chance,
    endpoint: &Endpoint,
) -> Vec<u8> {
    let secrets = SealedSecrets {
        current: endpoint.secrets.current.to_text(),
        old: endpoint.secrets.old.iter().map(|o| (o.secret.to_text(), o.expires_at.as_millis())).collect(),
    };
    sealer.seal(&secrets_place(&endpoint.id.to_string()), to_json(&secrets).as_bytes(), chance)
}

/// An endpoint's headers, sealed.
pub(crate) fn seal_headers(
    sealer: &Sealer,
    chance: &dyn pushpull_domain::Chance,
    endpoint: &Endpoint,
) -> Vec<u8> {
    sealer.seal(&headers_place(&endpoint.id.to_string()), to_json(&endpoint.headers).as_bytes(), chance)
}

fn open<T: serde::de::DeserializeOwned>(sealer: &Sealer, place: &str, column: &[u8]) -> Result<T, Fault> {
    let value = sealer.open(place, column).map_err(|e| inconsistent("endpoint", place, e))?;
    serde_json::from_slice(&value).map_err(|e| inconsistent("endpoint", place, e))
}

fn secrets(sealer: &Sealer, id: &str, column: &[u8]) -> Result<Secrets, Fault> {
    let texts: SealedSecrets = open(sealer, &secrets_place(id), column)?;
    let read = |text: &str| Secret::parse(text).map_err(|e| inconsistent("endpoint", id, e));
    let old = texts
        .old
        .iter()
        .map(|(text, until)| {
            Ok(OldSecret { secret: read(text)?, expires_at: Timestamp::from_millis(*until) })
        })
        .collect::<Result<_, Fault>>()?;
    Ok(Secrets { current: read(&texts.current)?, old })
}

fn state(row: &Row<'_>) -> Result<EndpointState, Fault> {
    let Some(at) = optional_time(row, "disabled_at")? else { return Ok(EndpointState::Enabled) };
    let reason = match row.get::<_, Option<u8>>("disabled_reason")? {
        Some(1) => DisabledReason::Gone,
        Some(2) => DisabledReason::Failing,
        _ => DisabledReason::Owner,
    };
    Ok(EndpointState::Disabled { at, reason })
}

/// The two columns of a state.
pub(crate) fn state_columns(state: EndpointState) -> (Option<i64>, Option<u8>) {
    match state {
        EndpointState::Enabled => (None, None),
        EndpointState::Disabled { at, reason } => (Some(at.as_millis()), Some(reason as u8)),
    }
}

pub(crate) fn endpoint(row: &Row<'_>, sealer: &Sealer) -> Result<Endpoint, Fault> {
    let id: String = row.get("id")?;
    let sealed_secrets: Vec<u8> = row.get("secrets")?;
    let sealed_headers: Vec<u8> = row.get("headers")?;
    Ok(Endpoint {
        no: EndpointNo(row.get("no")?),
        id: parsed("endpoint", row, "id")?,
        app: AppNo(row.get("app")?),
        uid: optional::<Uid>("endpoint", row, "uid")?,
        url: row.get("url")?,
        description: row.get("description")?,
        filter: Filter {
            event_types: json("endpoint", row, "event_types")?,
            channels: json("endpoint", row, "channels")?,
        },
        mode: match row.get::<_, u8>("mode")? {
            0 => Mode::Push,
            1 => Mode::Pull,
            2 => Mode::Held,
            other => return Err(inconsistent("endpoint", id, format!("mode {other}"))),
        },
        read_seq: Seq(row.get("read_seq")?),
        draining_since: optional_time(row, "draining_since")?,
        state: state(row)?,
        health: Health {
            failing_since: optional_time(row, "failing_since")?,
            notified: row.get("failing_notified")?,
        },
        rate_limit: row.get("rate_limit")?,
        retry_schedule: optional("endpoint", row, "retry_schedule")?,
        fifo: row.get("fifo")?,
        batch: Batch { size: row.get("batch_size")?, wait_secs: row.get("batch_wait_secs")? },
        hold_when_failing: row.get("hold_when_failing")?,
        headers: open::<CustomHeaders>(sealer, &headers_place(&id), &sealed_headers)?,
        secrets: secrets(sealer, &id, &sealed_secrets)?,
        metadata: json::<Metadata>("endpoint", row, "metadata")?.unwrap_or_default(),
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

/// An application by number, with its endpoints.
pub(crate) fn snapshot(
    conn: &Connection,
    sealer: &Sealer,
    no: AppNo,
) -> Result<Option<Arc<AppSnapshot>>, Fault> {
    let mut query = conn.prepare_cached("SELECT * FROM app WHERE no = ?1 AND deleted_at IS NULL")?;
    let mut rows = query.query([no.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (app, version) = (app(row)?, row.get("version")?);
    let mut query =
        conn.prepare_cached("SELECT * FROM endpoint WHERE app = ?1 AND deleted_at IS NULL ORDER BY no")?;
    let mut rows = query.query([no.0])?;
    let mut endpoints = Vec::new();
    while let Some(row) = rows.next()? {
        endpoints.push(Arc::new(endpoint(row, sealer)?));
    }
    Ok(Some(Arc::new(AppSnapshot { app, version, endpoints })))
}

/// An endpoint by number, unless it is deleted.
pub(crate) fn endpoint_by_no(
    conn: &Connection,
    sealer: &Sealer,
    no: EndpointNo,
) -> Result<Option<Endpoint>, Fault> {
    conn.prepare_cached("SELECT * FROM endpoint WHERE no = ?1 AND deleted_at IS NULL")?
        .query_row([no.0], |row| Ok(endpoint(row, sealer)))
        .optional()?
        .transpose()
}
