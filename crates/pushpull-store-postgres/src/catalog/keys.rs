//! Keys: found by their hash, and an endpoint's poller token by its endpoint.

use pushpull_domain::{
    EndpointNo, EnvironmentNo, KeyId, Timestamp,
    key::{ApiKey, KeyHash, PollerToken, Scope},
};
use pushpull_store::{OLD_POLLER_TOKENS_MAX, WriteError, columns};
use tokio_postgres::Row;

use super::endpoints::lock_app_of;
use crate::{Db, fault::Fault, named::Named, pool::Conn, tx::Tx};

/// A key of what is deleted opens nothing.
const ALIVE: &str =
    "SELECT k.hash, k.id, k.environment, k.prefix, k.name, k.scope, k.app, k.endpoint, k.token, k.created_at,
         k.last_used_at, k.revoked_at, app.id AS app_id, endpoint.id AS endpoint_id
     FROM api_key k
     LEFT JOIN app ON app.no = k.app AND app.deleted_at IS NULL
     LEFT JOIN endpoint ON endpoint.no = k.endpoint AND endpoint.deleted_at IS NULL
     WHERE (k.app IS NULL OR app.no IS NOT NULL) AND (k.endpoint IS NULL OR endpoint.no IS NOT NULL)";

/// Stores a key; `token`: its text, sealed, if it is to be shown again.
pub(super) async fn put(tx: &Tx, key: &ApiKey, token: Option<Vec<u8>>) -> Result<(), Fault> {
    let (scope, app, endpoint) = columns::scope_columns(&key.scope);
    let written = tx
        .execute(
            "INSERT INTO api_key (hash, id, environment, prefix, name, scope, app, endpoint, token, created_at,
                 last_used_at, revoked_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT DO NOTHING",
            &[
                &&key.hash.0[..],
                &key.id.to_string(),
                &key.environment.0.cast_signed(),
                &key.prefix,
                &key.name,
                &scope,
                &app.map(|no| no.0.cast_signed()),
                &endpoint.map(|no| no.0.cast_signed()),
                &token,
                &key.created_at.as_millis(),
                &key.last_used_at.map(Timestamp::as_millis),
                &key.revoked_at.map(Timestamp::as_millis),
            ],
        )
        .await?;
    if written == 1 { Ok(()) } else { Err(WriteError::Taken("key").into()) }
}

fn key(row: &Row) -> Result<ApiKey, Fault> {
    columns::api_key(&Named::new(row))
}

/// The key with this hash.
pub(super) async fn find(conn: &Conn, hash: KeyHash) -> Result<Option<ApiKey>, Fault> {
    let row = conn.query_opt(&format!("{ALIVE} AND k.hash = $1"), &[&&hash.0[..]]).await?;
    row.as_ref().map(key).transpose()
}

/// All keys of an environment.
pub(super) async fn all(conn: &Conn, environment: EnvironmentNo) -> Result<Vec<ApiKey>, Fault> {
    let sql = format!("{ALIVE} AND k.environment = $1 ORDER BY k.created_at, k.id COLLATE \"C\"");
    conn.query(&sql, &[&environment.0.cast_signed()]).await?.iter().map(key).collect()
}

/// Refuses a key from now on; `false`: it was refused already.
pub(super) async fn revoke(tx: &Tx, environment: EnvironmentNo, id: KeyId) -> Result<bool, Fault> {
    let revoked = tx
        .execute(
            "UPDATE api_key SET revoked_at = $3
             WHERE environment = $1 AND id = $2 AND (revoked_at IS NULL OR revoked_at > $3)",
            &[&environment.0.cast_signed(), &id.to_string(), &tx.now.as_millis()],
        )
        .await?;
    Ok(revoked == 1)
}

/// Notes when keys were last used. Other nodes do so too: in one order, and a later moment stays.
pub(super) async fn touch(tx: &Tx, used: &[(KeyHash, Timestamp)]) -> Result<(), Fault> {
    let hashes: Vec<&[u8]> = used.iter().map(|(hash, _)| &hash.0[..]).collect();
    let times: Vec<i64> = used.iter().map(|(_, at)| at.as_millis()).collect();
    tx.execute(
        "WITH used AS (
             SELECT hash, max(at) AS at FROM unnest($1::bytea[], $2::bigint[]) AS u (hash, at) GROUP BY hash
         ), locked AS MATERIALIZED (
             SELECT hash FROM api_key WHERE hash IN (SELECT hash FROM used) ORDER BY hash FOR UPDATE
         )
         UPDATE api_key k SET last_used_at = greatest(k.last_used_at, used.at)
         FROM locked JOIN used USING (hash) WHERE k.hash = locked.hash",
        &[&hashes, &times],
    )
    .await?;
    Ok(())
}

/// An endpoint's poller token that is valid at a moment: `$1` and `$2`.
fn valid_token() -> String {
    format!(
        "{ALIVE} AND k.endpoint = $1 AND k.token IS NOT NULL AND (k.revoked_at IS NULL OR k.revoked_at > $2)
         ORDER BY k.created_at DESC LIMIT 1"
    )
}

/// An endpoint's poller token that is valid now.
pub(super) async fn poller_token(
    db: &Db,
    conn: &Conn,
    endpoint: EndpointNo,
) -> Result<Option<PollerToken>, Fault> {
    let now = db.clock.now().as_millis();
    let row = conn.query_opt(&valid_token(), &[&endpoint.0.cast_signed(), &now]).await?;
    row.map(|row| columns::poller_token(&Named::new(&row), &db.sealer)).transpose()
}

/// Gives an endpoint a poller token.
pub(super) async fn put_poller_token(
    db: &Db,
    tx: &Tx,
    new: PollerToken,
    old_until: Option<Timestamp>,
) -> Result<PollerToken, Fault> {
    let Scope::Poller { no, .. } = new.key.scope else { return Err(WriteError::NotFound.into()) };
    // Of two who ask at once, the second is given the first's.
    lock_app_of(tx, no).await?.ok_or(WriteError::NotFound)?;
    let endpoint = no.0.cast_signed();
    let sql = "SELECT FROM endpoint WHERE no = $1 AND deleted_at IS NULL";
    tx.query_opt(sql, &[&endpoint]).await?.ok_or(WriteError::NotFound)?;
    if old_until.is_none()
        && let Some(row) = tx.query_opt(&valid_token(), &[&endpoint, &tx.now.as_millis()]).await?
    {
        return columns::poller_token(&Named::new(&row), &db.sealer);
    }
    // Nobody is shown an old one again: what is not kept cannot be lost.
    tx.execute(
        "UPDATE api_key SET token = NULL, revoked_at = least(revoked_at, $2) WHERE endpoint = $1",
        &[&endpoint, &old_until.map(Timestamp::as_millis)],
    )
    .await?;
    tx.execute(
        "DELETE FROM api_key WHERE hash IN (
             SELECT hash FROM api_key WHERE endpoint = $1
             ORDER BY coalesce(revoked_at <= $2, false), created_at DESC, id COLLATE \"C\" DESC OFFSET $3)",
        &[&endpoint, &tx.now.as_millis(), &(OLD_POLLER_TOKENS_MAX as i64)],
    )
    .await?;
    put(tx, &new.key, Some(columns::seal_token(&db.sealer, &*db.chance, &new))).await?;
    Ok(new)
}
