//! Environments, keys, applications and event types.

use pushpull_domain::{
    App, AppNo, Chance, EndpointNo, Environment, EnvironmentNo, EventType,
    key::{ApiKey, KeyHash, PollerToken, Scope},
    seal::Sealer,
};

use super::{Columns, RowOf};

/// From `environment`.
pub fn environment<C: Columns>(row: &C) -> Result<Environment, C::Fault> {
    let row = RowOf { table: "environment", row };
    Ok(Environment {
        no: EnvironmentNo(row.number("no")?),
        id: row.parsed("id")?,
        name: row.text("name")?.to_owned(),
        created_at: row.time("created_at")?,
    })
}

/// The three columns of a scope: its word, and what it is about.
pub fn scope_columns(scope: &Scope) -> (&'static str, Option<AppNo>, Option<EndpointNo>) {
    match scope {
        Scope::Admin => ("admin", None, None),
        Scope::Send => ("send", None, None),
        Scope::Read => ("read", None, None),
        Scope::App { no, .. } => ("app", Some(*no), None),
        Scope::Poller { app, no, .. } => ("poller", Some(*app), Some(*no)),
    }
}

/// From `api_key` with `app.id AS app_id` and `endpoint.id AS endpoint_id`.
pub fn api_key<C: Columns>(row: &C) -> Result<ApiKey, C::Fault> {
    let row = RowOf { table: "api_key", row };
    let scope = match row.text("scope")? {
        "admin" => Scope::Admin,
        "send" => Scope::Send,
        "read" => Scope::Read,
        "app" => Scope::App { no: AppNo(row.number("app")?), id: row.parsed("app_id")? },
        "poller" => Scope::Poller {
            app: AppNo(row.number("app")?),
            app_id: row.parsed("app_id")?,
            no: EndpointNo(row.number("endpoint")?),
            id: row.parsed("endpoint_id")?,
        },
        other => return Err(row.wrong(other, "scope")),
    };
    Ok(ApiKey {
        id: row.parsed("id")?,
        environment: EnvironmentNo(row.number("environment")?),
        hash: KeyHash(row.bytes("hash")?.try_into().map_err(|e| row.wrong("-", format_args!("hash: {e}")))?),
        prefix: row.text("prefix")?.to_owned(),
        name: row.text("name")?.to_owned(),
        scope,
        created_at: row.time("created_at")?,
        last_used_at: row.optional_time("last_used_at")?,
        revoked_at: row.optional_time("revoked_at")?,
    })
}

fn token_place(key: &str) -> String {
    format!("api_key/{key}/token")
}

/// A poller token's text, sealed.
pub fn seal_token(sealer: &Sealer, chance: &dyn Chance, token: &PollerToken) -> Vec<u8> {
    sealer.seal(&token_place(&token.key.id.to_string()), token.text.as_bytes(), chance)
}

/// From a row as [`api_key`] reads it, with the text.
pub fn poller_token<C: Columns>(row: &C, sealer: &Sealer) -> Result<PollerToken, C::Fault> {
    let key = api_key(row)?;
    let row = RowOf { table: "api_key", row };
    let place = token_place(&key.id.to_string());
    let text = sealer.open(&place, row.bytes("token")?).map_err(|e| row.wrong(&place, e))?;
    let text = String::from_utf8(text).map_err(|e| row.wrong(&place, e))?;
    Ok(PollerToken { key, text })
}

/// From `app`.
pub fn app<C: Columns>(row: &C) -> Result<App, C::Fault> {
    let row = RowOf { table: "app", row };
    Ok(App {
        no: AppNo(row.number("no")?),
        id: row.parsed("id")?,
        environment: EnvironmentNo(row.number("environment")?),
        uid: row.optional("uid")?,
        name: row.text("name")?.to_owned(),
        rate_limit: row.optional_number("rate_limit")?,
        metadata: row.json("metadata")?.unwrap_or_default(),
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// From `event_type`.
pub fn event_type<C: Columns>(row: &C) -> Result<EventType, C::Fault> {
    let row = RowOf { table: "event_type", row };
    Ok(EventType {
        environment: EnvironmentNo(row.number("environment")?),
        name: row.parsed("name")?,
        description: row.text("description")?.to_owned(),
        archived: row.flag("archived")?,
        deprecated: row.flag("deprecated")?,
        schemas: row.json("schemas")?,
        feature_flags: row.json("feature_flags")?,
        group_name: row.optional("group_name")?,
        retry_schedule: row.optional("retry_schedule")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
