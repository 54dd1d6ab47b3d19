//! Writing applications.

use pushpull_domain::{App, AppId, AppNo, chance};
use pushpull_store::{NewApp, WriteError, columns::to_json};
use rusqlite::{OptionalExtension, params};

use super::{configured, later};
use crate::{
    codec::NO_MAX,
    fault::{Fault, inconsistent},
    tx::Tx,
};

/// Makes an application.
pub(super) fn create(tx: &mut Tx<'_>, new: &NewApp) -> Result<App, Fault> {
    let id = AppId::new(tx.now, chance::bytes(&*tx.shared.chance));
    let no: Option<u32> = tx
        .conn
        .query_row(
            "INSERT INTO app (id, environment, uid, name, rate_limit, metadata, version, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?7) ON CONFLICT DO NOTHING RETURNING no",
            params![
                id.to_string(),
                new.environment.0,
                new.uid.as_deref(),
                new.name,
                new.rate_limit,
                to_json(&new.metadata),
                tx.now.as_millis()
            ],
            |row| row.get(0),
        )
        .optional()?;
    let no = no.ok_or(WriteError::Taken("uid"))?;
    if no > NO_MAX {
        return Err(inconsistent("app", no, "more applications than numbers"));
    }
    Ok(App {
        no: AppNo(no),
        id,
        environment: new.environment,
        uid: new.uid.clone(),
        name: new.name.clone(),
        rate_limit: new.rate_limit,
        metadata: new.metadata.clone(),
        created_at: tx.now,
        updated_at: tx.now,
    })
}

/// Writes an application back, if it is still as it was read.
pub(super) fn update(tx: &mut Tx<'_>, app: App) -> Result<App, Fault> {
    let taken = match &app.uid {
        Some(uid) => tx.conn.query_row(
            "SELECT count(*) FROM app WHERE environment = ?1 AND uid = ?2 AND no <> ?3 AND deleted_at IS NULL",
            params![app.environment.0, &**uid, app.no.0],
            |row| row.get::<_, i64>(0),
        )?,
        None => 0,
    };
    if taken > 0 {
        return Err(WriteError::Taken("uid").into());
    }
    let updated_at = later(tx.now, app.updated_at);
    let written = tx.conn.execute(
        "UPDATE app SET uid = ?2, name = ?3, rate_limit = ?4, metadata = ?5, version = version + 1, updated_at = ?6
         WHERE no = ?1 AND updated_at = ?7 AND deleted_at IS NULL",
        params![
            app.no.0,
            app.uid.as_deref(),
            app.name,
            app.rate_limit,
            to_json(&app.metadata),
            updated_at.as_millis(),
            app.updated_at.as_millis()
        ],
    )?;
    if written == 0 {
        return Err(WriteError::Stale.into());
    }
    configured(tx, app.no);
    Ok(App { updated_at, ..app })
}
