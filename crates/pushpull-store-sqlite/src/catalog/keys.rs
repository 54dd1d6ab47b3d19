//! Keys: found by their hash, and an endpoint's poller token by its endpoint.

use pushpull_domain::{
    EndpointNo, Timestamp,
    key::{ApiKey, KeyHash, PollerToken, Scope},
};
use pushpull_store::{OLD_POLLER_TOKENS_MAX, WriteError, columns};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{catalog_rows::Named, fault::Fault, list::collect, tx::Tx};

/// A key of what is deleted opens nothing.
const ALIVE: &str = "SELECT api_key.*, app.id AS app_id, endpoint.id AS endpoint_id FROM api_key
     LEFT JOIN app ON app.no = api_key.app AND app.deleted_at IS NULL
     LEFT JOIN endpoint ON endpoint.no = api_key.endpoint AND endpoint.deleted_at IS NULL
     WHERE (api_key.app IS NULL OR app.no IS NOT NULL) AND (api_key.endpoint IS NULL OR endpoint.no IS NOT NULL)";

/// Stores a key; `token`: its text, sealed, if it is to be shown again.
pub(super) fn put(tx: &Tx<'_>, key: &ApiKey, token: Option<Vec<u8>>) -> Result<(), Fault> {
    let (scope, app, endpoint) = columns::scope_columns(&key.scope);
    let written = tx.conn.execute(
        "INSERT INTO api_key (hash, id, environment, prefix, name, scope, app, endpoint, token, created_at,
             last_used_at, revoked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT DO NOTHING",
        params![
            key.hash.0,
            key.id.to_string(),
            key.environment.0,
            key.prefix,
            key.name,
            scope,
            app.map(|no| no.0),
            endpoint.map(|no| no.0),
            token,
            key.created_at.as_millis(),
            key.last_used_at.map(Timestamp::as_millis),
            key.revoked_at.map(Timestamp::as_millis),
        ],
    )?;
    if written == 1 { Ok(()) } else { Err(WriteError::Taken("key").into()) }
}

/// The key with this hash.
pub(super) fn find(conn: &Connection, hash: KeyHash) -> Result<Option<ApiKey>, Fault> {
    conn.prepare_cached(&format!("{ALIVE} AND hash = ?1"))?
        .query_row([hash.0], |row| Ok(columns::api_key(&Named(row))))
        .optional()?
        .transpose()
}

/// All keys of an environment.
pub(super) fn all(conn: &Connection, environment: u32) -> Result<Vec<ApiKey>, Fault> {
    let sql = format!("{ALIVE} AND api_key.environment = ?1 ORDER BY api_key.created_at, api_key.id");
    collect(conn, &sql, [environment], |row| columns::api_key(&Named(row)))
}

/// An endpoint's poller token that is valid now.
pub(super) fn poller_token(
    conn: &Connection,
    sealer: &pushpull_domain::seal::Sealer,
    endpoint: EndpointNo,
    now: Timestamp,
) -> Result<Option<PollerToken>, Fault> {
    conn.prepare_cached(&format!(
        "{ALIVE} AND api_key.endpoint = ?1 AND token IS NOT NULL
         AND (api_key.revoked_at IS NULL OR api_key.revoked_at > ?2)"
    ))?
    .query_row(params![endpoint.0, now.as_millis()], |row| Ok(columns::poller_token(&Named(row), sealer)))
    .optional()?
    .transpose()
}

/// Gives an endpoint a poller token.
pub(super) fn put_poller_token(
    tx: &Tx<'_>,
    new: PollerToken,
    old_until: Option<Timestamp>,
) -> Result<PollerToken, Fault> {
    let Scope::Poller { no, .. } = new.key.scope else { return Err(WriteError::NotFound.into()) };
    let is_alive: bool = tx.conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM endpoint WHERE no = ?1 AND deleted_at IS NULL)",
        [no.0],
        |row| row.get(0),
    )?;
    if !is_alive {
        return Err(WriteError::NotFound.into());
    }
    if old_until.is_none()
        && let Some(current) = poller_token(tx.conn, &tx.shared.sealer, no, tx.now)?
    {
        return Ok(current);
    }
    // Nobody is shown an old one again: what is not kept cannot be lost.
    tx.conn.execute(
        "UPDATE api_key SET token = NULL,
             revoked_at = iif(?2 IS NULL, revoked_at, min(coalesce(revoked_at, ?2), ?2)) WHERE endpoint = ?1",
        params![no.0, old_until.map(Timestamp::as_millis)],
    )?;
    tx.conn.execute(
        "DELETE FROM api_key WHERE hash IN (
             SELECT hash FROM api_key INDEXED BY api_key_endpoint WHERE endpoint = ?1
             ORDER BY coalesce(revoked_at <= ?2, 0), created_at DESC, id DESC LIMIT -1 OFFSET ?3)",
        params![no.0, tx.now.as_millis(), OLD_POLLER_TOKENS_MAX],
    )?;
    put(tx, &new.key, Some(columns::seal_token(&tx.shared.sealer, &*tx.shared.chance, &new)))?;
    Ok(new)
}
