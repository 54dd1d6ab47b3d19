//! Writing applications.

use pushpull_domain::{App, AppId, AppNo, EnvironmentNo, chance};
use pushpull_store::{
    AppListFilter, NewApp, Page, PageQuery, WriteError,
    codec::NO_MAX,
    columns::{self, to_json},
    gather::{cut, direction},
};

use super::{begins_beyond, configured, later, rows::APP, stale};
use crate::{
    Db,
    fault::{Fault, inconsistent},
    named::Named,
    pool::Conn,
    tx::Tx,
};

/// Makes an application. One whose uid is taken uses up no number: there are not so many.
pub(super) async fn create(db: &Db, tx: &Tx, new: NewApp) -> Result<App, Fault> {
    let id = AppId::new(tx.now, chance::bytes(&*db.chance));
    let row = tx
        .query_opt(
            "INSERT INTO app (id, environment, uid, name, rate_limit, metadata, version, created_at, updated_at)
             SELECT $1, $2, $3, $4, $5, $6, 1, $7, $7
             WHERE NOT EXISTS (SELECT FROM app WHERE environment = $2 AND uid = $3 AND deleted_at IS NULL)
             ON CONFLICT DO NOTHING RETURNING no",
            &[
                &id.to_string(),
                &new.environment.0.cast_signed(),
                &new.uid.as_deref(),
                &new.name,
                &new.rate_limit.map(i32::from),
                &to_json(&new.metadata),
                &tx.now.as_millis(),
            ],
        )
        .await?;
    let no = row.ok_or(WriteError::Taken("uid"))?.get::<_, i32>(0).cast_unsigned();
    if no > NO_MAX {
        return Err(inconsistent("app", no, "more applications than numbers"));
    }
    Ok(App {
        no: AppNo(no),
        id,
        environment: new.environment,
        uid: new.uid,
        name: new.name,
        rate_limit: new.rate_limit,
        metadata: new.metadata,
        created_at: tx.now,
        updated_at: tx.now,
    })
}

/// Writes an application back, if it is still as it was read.
pub(super) async fn update(db: &Db, tx: &mut Tx, app: App) -> Result<App, Fault> {
    tx.lock_app(app.no).await?;
    let updated_at = later(tx.now, app.updated_at);
    let written = tx
        .execute(
            "UPDATE app SET uid = $2, name = $3, rate_limit = $4, metadata = $5, version = version + 1, updated_at = $6
             WHERE no = $1 AND updated_at = $7 AND deleted_at IS NULL",
            &[
                &app.no.0.cast_signed(),
                &app.uid.as_deref(),
                &app.name,
                &app.rate_limit.map(i32::from),
                &to_json(&app.metadata),
                &updated_at.as_millis(),
                &app.updated_at.as_millis(),
            ],
        )
        .await;
    match written {
        Ok(0) => return Err(stale(db, app.no)),
        Ok(_) => configured(tx, app.no),
        Err(fault) if fault.is_taken() == Some("app_uid") => return Err(WriteError::Taken("uid").into()),
        Err(fault) => return Err(fault),
    }
    Ok(App { updated_at, ..app })
}

/// Deletes an application with its endpoints.
pub(super) async fn delete(tx: &mut Tx, no: AppNo) -> Result<(), Fault> {
    if tx.lock_app(no).await?.is_none() {
        return Err(WriteError::NotFound.into());
    }
    let (app, now) = (no.0.cast_signed(), tx.now.as_millis());
    tx.execute("UPDATE app SET deleted_at = $2, version = version + 1 WHERE no = $1", &[&app, &now]).await?;
    tx.execute("UPDATE endpoint SET deleted_at = $2 WHERE app = $1 AND deleted_at IS NULL", &[&app, &now])
        .await?;
    configured(tx, no);
    Ok(())
}

/// One page of an environment's applications.
pub(super) async fn list(
    conn: &Conn,
    environment: EnvironmentNo,
    filter: AppListFilter,
    page: PageQuery<AppId>,
) -> Result<Page<App>, Fault> {
    let sql = format!(
        "SELECT {APP} FROM app WHERE environment = $1 AND deleted_at IS NULL AND {} {} {}
         ORDER BY id COLLATE \"C\" {} LIMIT $3",
        begins_beyond("id COLLATE \"C\"", &page),
        if filter.without_endpoints {
            "AND EXISTS (SELECT FROM endpoint e WHERE e.app = app.no AND e.deleted_at IS NULL)"
        } else {
            ""
        },
        if filter.with_disabled_endpoints_only {
            "AND (EXISTS (SELECT FROM endpoint e WHERE e.app = app.no AND e.deleted_at IS NULL AND e.disabled_at IS NULL)
                 OR NOT EXISTS (SELECT FROM endpoint e WHERE e.app = app.no AND e.deleted_at IS NULL))"
        } else {
            ""
        },
        direction(&page),
    );
    let after = page.beyond.map(|id| id.to_string());
    let rows = conn.query(&sql, &[&environment.0.cast_signed(), &after, &(page.limit as i64 + 1)]).await?;
    let found = rows.iter().map(|row| columns::app(&Named::new(row))).collect::<Result<_, Fault>>()?;
    Ok(cut(found, &page))
}
