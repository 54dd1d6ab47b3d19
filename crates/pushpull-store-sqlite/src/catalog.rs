//! The catalogue: environments, keys, applications, endpoints, event types.

mod apps;
mod endpoints;
mod keys;
mod modes;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pushpull_domain::{
    App, AppId, AppNo, AppSnapshot, Endpoint, EndpointNo, EndpointState, Environment, EnvironmentId,
    EnvironmentNo, EventType, EventTypeName, Health, KeyId, PushFrom, Timestamp,
    endpoint::DisabledReason,
    key::{ApiKey, KeyHash, PollerToken},
};
use pushpull_store::{
    AppListFilter, Catalog, Error, NewApp, Page, PageQuery, Ref, WriteError,
    columns::{self, to_json},
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    Sqlite,
    catalog_rows::{self as rows, Named},
    fault::Fault,
    list::{beyond, collect, cut, direction},
    trim,
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
                    Ok(columns::environment(&Named(row)))
                })?
        }))
    }

    fn first_environment(&self, id: EnvironmentId, name: &str) -> BoxFuture<'_, Result<Environment, Error>> {
        let name = name.to_owned();
        Box::pin(self.write(move |tx| {
            tx.conn.execute(
                "INSERT INTO environment (id, name, created_at)
                 SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM environment)",
                params![id.to_string(), name, tx.now.as_millis()],
            )?;
            tx.conn.query_row("SELECT * FROM environment ORDER BY no LIMIT 1", [], |row| {
                Ok(columns::environment(&Named(row)))
            })?
        }))
    }

    fn environments(&self) -> BoxFuture<'_, Result<Vec<Environment>, Error>> {
        Box::pin(self.read(|conn| {
            collect(conn, "SELECT * FROM environment ORDER BY no", (), |row| {
                columns::environment(&Named(row))
            })
        }))
    }

    fn put_key(&self, key: ApiKey) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(self.change(move |tx| keys::put(tx, &key, None)))
    }

    fn key(&self, hash: KeyHash) -> BoxFuture<'_, Result<Option<ApiKey>, Error>> {
        Box::pin(self.read(move |conn| keys::find(conn, hash)))
    }

    fn keys(&self, environment: EnvironmentNo) -> BoxFuture<'_, Result<Vec<ApiKey>, Error>> {
        Box::pin(self.read(move |conn| keys::all(conn, environment.0)))
    }

    fn put_poller_token(
        &self,
        new: PollerToken,
        old_until: Option<Timestamp>,
    ) -> BoxFuture<'_, Result<PollerToken, WriteError>> {
        Box::pin(self.change(move |tx| keys::put_poller_token(tx, new, old_until)))
    }

    fn poller_token(&self, endpoint: EndpointNo) -> BoxFuture<'_, Result<Option<PollerToken>, Error>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(
            self.read(move |conn| keys::poller_token(conn, &shared.sealer, endpoint, shared.clock.now())),
        )
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
        Box::pin(self.change(move |tx| apps::create(tx, &new)))
    }

    fn update_app(&self, app: App) -> BoxFuture<'_, Result<App, WriteError>> {
        Box::pin(self.change(move |tx| apps::update(tx, app)))
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
                if filter.with_disabled_endpoints_only {
                    "AND (EXISTS (SELECT 1 FROM endpoint WHERE app = app.no AND deleted_at IS NULL AND disabled_at IS NULL)
                         OR NOT EXISTS (SELECT 1 FROM endpoint WHERE app = app.no AND deleted_at IS NULL))"
                } else {
                    ""
                },
                beyond(&page),
                direction(&page),
            );
            let after = page.beyond.map(|id| id.to_string());
            let found = collect(conn, &sql, params![environment.0, after, page.limit + 1], |row| columns::app(&Named(row)))?;
            Ok(cut(found, &page))
        }))
    }

    fn create_endpoint(&self, endpoint: Endpoint) -> BoxFuture<'_, Result<Arc<Endpoint>, WriteError>> {
        Box::pin(self.change(move |tx| endpoints::create(tx, endpoint)))
    }

    fn update_endpoint_from(
        &self,
        endpoint: Endpoint,
        from: PushFrom,
    ) -> BoxFuture<'_, Result<Arc<Endpoint>, WriteError>> {
        Box::pin(self.change(move |tx| endpoints::update(tx, endpoint, &from)))
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
            tx.conn.execute("DELETE FROM api_key WHERE endpoint = ?1", [no.0])?;
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
            let (at, number) = columns::state_columns(EndpointState::Disabled { at: tx.now, reason });
            let app: Option<u32> = tx
                .conn
                .query_row(
                    "UPDATE endpoint SET disabled_at = ?2, disabled_reason = ?3, updated_at = max(updated_at + 1, ?2)
                     WHERE no = ?1 AND disabled_at IS NULL AND mode = 0 AND deleted_at IS NULL RETURNING app",
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

    fn hold_endpoint(&self, no: EndpointNo) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(self.write(move |tx| modes::hold(tx, no)))
    }

    fn draining_endpoints(&self) -> BoxFuture<'_, Result<Vec<(EndpointNo, AppNo)>, Error>> {
        Box::pin(self.read(modes::draining))
    }

    fn end_draining(&self, no: EndpointNo, since: Timestamp) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(self.write(move |tx| modes::end_draining(tx, no, since)))
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
                .query_row(params![environment.0, &*name], |row| Ok(columns::event_type(&Named(row))))
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
                |row| columns::event_type(&Named(row)),
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
