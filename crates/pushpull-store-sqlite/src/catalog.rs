//! The catalogue: environments, keys, applications, endpoints, event types.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pushpull_domain::{
    App, AppId, AppNo, AppSnapshot, Endpoint, EndpointId, EndpointNo, EndpointState, Environment,
    EnvironmentId, EnvironmentNo, EventType, EventTypeName, Health, KeyId, Mode, Timestamp, chance,
    endpoint::DisabledReason,
    key::{ApiKey, KeyHash},
};
use pushpull_store::{AppListFilter, Catalog, Error, NewApp, Page, PageQuery, Ref, WriteError};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    Sqlite,
    catalog_rows::{self as rows, to_json},
    codec::NO_MAX,
    fault::{Fault, inconsistent},
    list::{beyond, collect, cut, direction},
    recovery, trim,
    tx::Tx,
};

impl Catalog for Sqlite {
    fn ensure_environment(&self, id: EnvironmentId, name: &str) -> BoxFuture<'_, Result<Environment, Error>> {
        let name = name.to_owned();
        Box::pin(self.write(move |tx| {
            tx.conn.execute(
                "INSERT INTO environment (id, name, created_at) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
                params![id.to_string(), name, tx.now.as_millis()],
            )?;
            tx.conn
                .query_row("SELECT * FROM environment WHERE id = ?1", [id.to_string()], |row| {
                    Ok(rows::environment(row))
                })?
        }))
    }

    fn environments(&self) -> BoxFuture<'_, Result<Vec<Environment>, Error>> {
        Box::pin(
            self.read(|conn| collect(conn, "SELECT * FROM environment ORDER BY no", (), rows::environment)),
        )
    }

    fn put_key(&self, key: ApiKey) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(self.change(move |tx| {
            let (scope, app) = rows::scope_word(&key.scope);
            let written = tx.conn.execute(
                "INSERT INTO api_key (hash, id, environment, prefix, name, scope, app, created_at, last_used_at,
                     revoked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
                params![
                    key.hash.0,
                    key.id.to_string(),
                    key.environment.0,
                    key.prefix,
                    key.name,
                    scope,
                    app,
                    key.created_at.as_millis(),
                    key.last_used_at.map(Timestamp::as_millis),
                    key.revoked_at.map(Timestamp::as_millis),
                ],
            )?;
            if written == 1 { Ok(()) } else { Err(WriteError::Taken("key").into()) }
        }))
    }

    fn key(&self, hash: KeyHash) -> BoxFuture<'_, Result<Option<ApiKey>, Error>> {
        Box::pin(self.read(move |conn| {
            conn.prepare_cached(
                "SELECT api_key.*, app.id AS app_id
                 FROM api_key LEFT JOIN app ON app.no = api_key.app AND app.deleted_at IS NULL
                 WHERE hash = ?1 AND (api_key.app IS NULL OR app.no IS NOT NULL)",
            )?
            .query_row([hash.0], |row| Ok(rows::api_key(row)))
            .optional()?
            .transpose()
        }))
    }

    fn keys(&self, environment: EnvironmentNo) -> BoxFuture<'_, Result<Vec<ApiKey>, Error>> {
        Box::pin(self.read(move |conn| {
            collect(
                conn,
                "SELECT api_key.*, app.id AS app_id
                 FROM api_key LEFT JOIN app ON app.no = api_key.app AND app.deleted_at IS NULL
                 WHERE api_key.environment = ?1 AND (api_key.app IS NULL OR app.no IS NOT NULL)
                 ORDER BY api_key.created_at, api_key.id",
                [environment.0],
                rows::api_key,
            )
        }))
    }

    fn revoke_key(&self, environment: EnvironmentNo, id: KeyId) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(self.write(move |tx| {
            let written = tx.conn.execute(
                "UPDATE api_key SET revoked_at = ?3
                 WHERE environment = ?1 AND id = ?2 AND (revoked_at IS NULL OR revoked_at > ?3)",
                params![environment.0, id.to_string(), tx.now.as_millis()],
            )?;
            Ok(written == 1)
        }))
    }

    fn touch_keys(&self, used: Vec<(KeyHash, Timestamp)>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.write(move |tx| {
            let mut touch = tx.conn.prepare_cached("UPDATE api_key SET last_used_at = ?2 WHERE hash = ?1")?;
            for (hash, at) in &used {
                touch.execute(params![hash.0, at.as_millis()])?;
            }
            Ok(())
        }))
    }

    fn create_app(&self, new: NewApp) -> BoxFuture<'_, Result<App, WriteError>> {
        Box::pin(self.change(move |tx| create_app(tx, &new)))
    }

    fn update_app(&self, app: App) -> BoxFuture<'_, Result<App, WriteError>> {
        Box::pin(self.change(move |tx| update_app(tx, app)))
    }

    fn delete_app(&self, no: AppNo) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(self.change(move |tx| {
            let now = tx.now.as_millis();
            let deleted = tx.conn.execute(
                "UPDATE app SET deleted_at = ?2, version = version + 1 WHERE no = ?1 AND deleted_at IS NULL",
                params![no.0, now],
            )?;
            if deleted == 0 {
                return Err(WriteError::NotFound.into());
            }
            tx.conn.execute(
                "UPDATE endpoint SET deleted_at = ?2 WHERE app = ?1 AND deleted_at IS NULL",
                params![no.0, now],
            )?;
            configured(tx, no);
            Ok(())
        }))
    }

    fn app(
        &self,
        environment: EnvironmentNo,
        app: Ref<AppId>,
    ) -> BoxFuture<'_, Result<Option<Arc<AppSnapshot>>, Error>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(self.read(move |conn| {
            let (sql, name) = match &app {
                Ref::Id(id) => (
                    "SELECT no FROM app WHERE environment = ?1 AND id = ?2 AND deleted_at IS NULL",
                    id.to_string(),
                ),
                Ref::Uid(uid) => (
                    "SELECT no FROM app WHERE environment = ?1 AND uid = ?2 AND deleted_at IS NULL",
                    uid.to_string(),
                ),
            };
            let no: Option<u32> = conn
                .prepare_cached(sql)?
                .query_row(params![environment.0, name], |row| row.get(0))
                .optional()?;
            no.map_or(Ok(None), |no| rows::snapshot(conn, &shared.sealer, AppNo(no)))
        }))
    }

    fn app_by_no(&self, no: AppNo) -> BoxFuture<'_, Result<Option<Arc<AppSnapshot>>, Error>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(self.read(move |conn| rows::snapshot(conn, &shared.sealer, no)))
    }

    fn apps(
        &self,
        environment: EnvironmentNo,
        filter: AppListFilter,
        page: PageQuery<AppId>,
    ) -> BoxFuture<'_, Result<Page<App>, Error>> {
        Box::pin(self.read_long(move |conn| {
            let sql = format!(
                "SELECT * FROM app WHERE environment = ?1 AND deleted_at IS NULL {} {} AND (?2 IS NULL OR id {} ?2)
                 ORDER BY id {} LIMIT ?3",
                if filter.without_endpoints {
                    "AND EXISTS (SELECT 1 FROM endpoint WHERE app = app.no AND deleted_at IS NULL)"
                } else {
                    ""
                },
                if filter.with_disabled_endpoints {
                    "AND NOT EXISTS (SELECT 1 FROM endpoint WHERE app = app.no AND deleted_at IS NULL
                         AND disabled_at IS NOT NULL)"
                } else {
                    ""
                },
                beyond(&page),
                direction(&page),
            );
            let after = page.beyond.map(|id| id.to_string());
            let found = collect(conn, &sql, params![environment.0, after, page.limit + 1], rows::app)?;
            Ok(cut(found, &page))
        }))
    }

    fn create_endpoint(&self, endpoint: Endpoint) -> BoxFuture<'_, Result<Arc<Endpoint>, WriteError>> {
        Box::pin(self.change(move |tx| create_endpoint(tx, endpoint)))
    }

    fn update_endpoint(&self, endpoint: Endpoint) -> BoxFuture<'_, Result<Arc<Endpoint>, WriteError>> {
        Box::pin(self.change(move |tx| update_endpoint(tx, endpoint)))
    }

    fn delete_endpoint(&self, no: EndpointNo) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(self.change(move |tx| {
            let app: Option<u32> = tx
                .conn
                .query_row(
                    "UPDATE endpoint SET deleted_at = ?2 WHERE no = ?1 AND deleted_at IS NULL RETURNING app",
                    params![no.0, tx.now.as_millis()],
                    |row| row.get(0),
                )
                .optional()?;
            let app = AppNo(app.ok_or(WriteError::NotFound)?);
            // The first of what it is owed ends at once, which is mostly all; the rest by and by.
            trim::end_endpoint(tx, no.0)?;
            bump(tx, app)
        }))
    }

    fn set_health(&self, no: EndpointNo, health: Health) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.write(move |tx| {
            tx.conn.execute(
                "UPDATE endpoint SET failing_since = ?2, failing_notified = ?3 WHERE no = ?1",
                params![no.0, health.failing_since.map(Timestamp::as_millis), health.notified],
            )?;
            Ok(())
        }))
    }

    fn disable_endpoint(&self, no: EndpointNo, reason: DisabledReason) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(self.write(move |tx| {
            let (at, number) = rows::state_columns(EndpointState::Disabled { at: tx.now, reason });
            let app: Option<u32> = tx
                .conn
                .query_row(
                    "UPDATE endpoint SET disabled_at = ?2, disabled_reason = ?3, updated_at = max(updated_at + 1, ?2)
                     WHERE no = ?1 AND disabled_at IS NULL AND deleted_at IS NULL RETURNING app",
                    params![no.0, at, number],
                    |row| row.get(0),
                )
                .optional()?;
            match app {
                Some(app) => bump(tx, AppNo(app)).map(|()| true),
                None => Ok(false),
            }
        }))
    }

    fn create_event_type(&self, event_type: EventType) -> BoxFuture<'_, Result<EventType, WriteError>> {
        Box::pin(self.change(move |tx| {
            let event_type = EventType { created_at: tx.now, updated_at: tx.now, ..event_type };
            let written = write_event_type(
                tx.conn,
                &event_type,
                "INSERT INTO event_type (environment, name, description, archived, deprecated, schemas, feature_flags,
                     group_name, retry_schedule, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING",
                event_type.created_at,
            )?;
            if written == 1 { Ok(event_type) } else { Err(WriteError::Taken("name").into()) }
        }))
    }

    fn update_event_type(&self, event_type: EventType) -> BoxFuture<'_, Result<EventType, WriteError>> {
        Box::pin(self.change(move |tx| {
            let read = event_type.updated_at;
            let event_type = EventType { updated_at: later(tx.now, read), ..event_type };
            let written = write_event_type(
                tx.conn,
                &event_type,
                "UPDATE event_type SET description = ?3, archived = ?4, deprecated = ?5, schemas = ?6,
                     feature_flags = ?7, group_name = ?8, retry_schedule = ?9, updated_at = ?11
                 WHERE environment = ?1 AND name = ?2 AND updated_at = ?10",
                read,
            )?;
            if written == 1 { Ok(event_type) } else { Err(WriteError::Stale.into()) }
        }))
    }

    fn delete_event_type(
        &self,
        environment: EnvironmentNo,
        name: EventTypeName,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(self.change(move |tx| {
            let deleted = tx.conn.execute(
                "DELETE FROM event_type WHERE environment = ?1 AND name = ?2",
                params![environment.0, &*name],
            )?;
            if deleted == 1 { Ok(()) } else { Err(WriteError::NotFound.into()) }
        }))
    }

    fn event_type(
        &self,
        environment: EnvironmentNo,
        name: EventTypeName,
    ) -> BoxFuture<'_, Result<Option<EventType>, Error>> {
        Box::pin(self.read(move |conn| {
            conn.prepare_cached("SELECT * FROM event_type WHERE environment = ?1 AND name = ?2")?
                .query_row(params![environment.0, &*name], |row| Ok(rows::event_type(row)))
                .optional()?
                .transpose()
        }))
    }

    fn event_types(
        &self,
        environment: EnvironmentNo,
        include_archived: bool,
        page: PageQuery<EventTypeName>,
    ) -> BoxFuture<'_, Result<Page<EventType>, Error>> {
        Box::pin(self.read(move |conn| {
            let sql = format!(
                "SELECT * FROM event_type WHERE environment = ?1 AND (?2 OR NOT archived)
                 AND (?3 IS NULL OR name {} ?3) ORDER BY name {} LIMIT ?4",
                beyond(&page),
                direction(&page),
            );
            let after = page.beyond.as_deref();
            let found = collect(
                conn,
                &sql,
                params![environment.0, include_archived, after, page.limit + 1],
                rows::event_type,
            )?;
            Ok(cut(found, &page))
        }))
    }
}

/// A change's moment: after the one it replaces, so that `updated_at` tells them apart.
fn later(now: Timestamp, before: Timestamp) -> Timestamp {
    now.max(Timestamp::from_millis(before.as_millis() + 1))
}

/// Notes that an application's configuration changed.
fn configured(tx: &mut Tx<'_>, app: AppNo) {
    tx.memory.apps.remove(&app);
    tx.news.configured.push(app);
}

fn bump(tx: &mut Tx<'_>, app: AppNo) -> Result<(), Fault> {
    tx.conn.execute("UPDATE app SET version = version + 1 WHERE no = ?1", [app.0])?;
    configured(tx, app);
    Ok(())
}

fn create_app(tx: &mut Tx<'_>, new: &NewApp) -> Result<App, Fault> {
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

fn update_app(tx: &mut Tx<'_>, app: App) -> Result<App, Fault> {
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

fn create_endpoint(tx: &mut Tx<'_>, endpoint: Endpoint) -> Result<Arc<Endpoint>, Fault> {
    let alive: Option<u32> = tx
        .conn
        .query_row("SELECT no FROM app WHERE no = ?1 AND deleted_at IS NULL", [endpoint.app.0], |row| {
            row.get(0)
        })
        .optional()?;
    if alive.is_none() {
        return Err(WriteError::NotFound.into());
    }
    let endpoint = Endpoint {
        id: EndpointId::new(tx.now, chance::bytes(&*tx.shared.chance)),
        health: Health::default(),
        created_at: tx.now,
        updated_at: tx.now,
        ..endpoint
    };
    refuse_taken_uid(tx.conn, &endpoint, None)?;
    tx.conn.execute(
        "INSERT INTO endpoint (id, app, url, description, mode, fifo, headers, secrets, metadata, created_at,
             updated_at) VALUES (?1, ?2, '', '', 0, 0, x'', x'', '{}', ?3, ?3)",
        params![endpoint.id.to_string(), endpoint.app.0, tx.now.as_millis()],
    )?;
    let no = u32::try_from(tx.conn.last_insert_rowid()).unwrap_or(u32::MAX);
    if no > NO_MAX {
        return Err(inconsistent("endpoint", no, "more endpoints than numbers"));
    }
    let endpoint = Endpoint { no: EndpointNo(no), ..endpoint };
    write_endpoint(tx, &endpoint, endpoint.updated_at)?;
    bump(tx, endpoint.app)?;
    Ok(Arc::new(endpoint))
}

fn refuse_taken_uid(conn: &Connection, endpoint: &Endpoint, but: Option<EndpointNo>) -> Result<(), Fault> {
    let Some(uid) = &endpoint.uid else { return Ok(()) };
    let taken: i64 = conn.query_row(
        "SELECT count(*) FROM endpoint WHERE app = ?1 AND uid = ?2 AND no IS NOT ?3 AND deleted_at IS NULL",
        params![endpoint.app.0, &**uid, but.map(|no| no.0)],
        |row| row.get(0),
    )?;
    if taken > 0 { Err(WriteError::Taken("uid").into()) } else { Ok(()) }
}

/// Writes all columns but health, if the row is still as it was read.
fn write_endpoint(tx: &Tx<'_>, endpoint: &Endpoint, read: Timestamp) -> Result<(), Fault> {
    let (disabled_at, disabled_reason) = rows::state_columns(endpoint.state);
    let sealer = &tx.shared.sealer;
    let written = tx.conn.prepare_cached(
        "UPDATE endpoint SET uid = ?3, url = ?4, description = ?5, event_types = ?6, channels = ?7, mode = ?8,
             disabled_at = ?9, disabled_reason = ?10, rate_limit = ?11, retry_schedule = ?12, fifo = ?13,
             headers = ?14, secrets = ?15, metadata = ?16, updated_at = ?17
         WHERE no = ?1 AND updated_at = ?2 AND deleted_at IS NULL",
    )?
    .execute(params![
        endpoint.no.0,
        read.as_millis(),
        endpoint.uid.as_deref(),
        endpoint.url,
        endpoint.description,
        endpoint.filter.event_types.as_ref().map(to_json),
        endpoint.filter.channels.as_ref().map(to_json),
        endpoint.mode as u8,
        disabled_at,
        disabled_reason,
        endpoint.rate_limit,
        endpoint.retry_schedule.as_ref().map(ToString::to_string),
        endpoint.fifo,
        rows::seal_headers(sealer, &*tx.shared.chance, endpoint),
        rows::seal_secrets(sealer, &*tx.shared.chance, endpoint),
        to_json(&endpoint.metadata),
        endpoint.updated_at.as_millis(),
    ])?;
    if written == 0 { Err(WriteError::Stale.into()) } else { Ok(()) }
}

fn update_endpoint(tx: &mut Tx<'_>, endpoint: Endpoint) -> Result<Arc<Endpoint>, Fault> {
    let read = endpoint.updated_at;
    refuse_taken_uid(tx.conn, &endpoint, Some(endpoint.no))?;
    let Some(before) = rows::endpoint_by_no(tx.conn, &tx.shared.sealer, endpoint.no)? else {
        return Err(WriteError::NotFound.into());
    };
    let enabled = endpoint.is_enabled() && !before.is_enabled();
    let health = if enabled { Health::default() } else { before.health };
    let endpoint = Endpoint { updated_at: later(tx.now, read), health, ..endpoint };
    write_endpoint(tx, &endpoint, read)?;
    if enabled {
        tx.conn.execute(
            "UPDATE endpoint SET failing_since = NULL, failing_notified = 0 WHERE no = ?1",
            [endpoint.no.0],
        )?;
        tx.news.rescheduled.push(endpoint.no);
    }
    if endpoint.mode == Mode::Push && before.mode != Mode::Push {
        recovery::start_gathered(tx, endpoint.app, endpoint.no)?;
    }
    bump(tx, endpoint.app)?;
    Ok(Arc::new(endpoint))
}

/// `?1` to `?9` are the columns, `?10` the moment that was read, `?11` the new one.
fn write_event_type(
    conn: &Connection,
    event_type: &EventType,
    sql: &str,
    read: Timestamp,
) -> Result<usize, rusqlite::Error> {
    conn.prepare_cached(sql)?.execute(params![
        event_type.environment.0,
        &*event_type.name,
        event_type.description,
        event_type.archived,
        event_type.deprecated,
        event_type.schemas.as_ref().map(|raw| raw.get()),
        event_type.feature_flags.as_ref().map(to_json),
        event_type.group_name,
        event_type.retry_schedule.as_ref().map(ToString::to_string),
        read.as_millis(),
        event_type.updated_at.as_millis(),
    ])
}
