//! The catalogue: environments, keys, applications, endpoints, event types.

mod apps;
mod dispatched;
mod endpoints;
mod event_types;
mod keys;
mod modes;
mod rows;
mod snapshots;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pushpull_domain::{
    App, AppId, AppNo, AppSnapshot, Endpoint, EndpointNo, Environment, EnvironmentId, EnvironmentNo,
    EventType, EventTypeName, Health, KeyId, PushFrom, Timestamp,
    endpoint::DisabledReason,
    key::{ApiKey, KeyHash, PollerToken},
};
use pushpull_store::{
    AppListFilter, Catalog, Error, NewApp, Page, PageQuery, Ref, WriteError, columns, gather::beyond,
};

use crate::{
    Db, Postgres,
    fault::Fault,
    named::Named,
    tx::{News, Tx},
};

pub(crate) use snapshots::Snapshots;

/// The columns of an environment.
const ENVIRONMENT: &str = "no, id, name, created_at";

impl Postgres {
    /// Does a piece of work of the catalogue in a transaction of its own.
    fn configure<T, F>(&self, work: F) -> BoxFuture<'static, Result<T, WriteError>>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a Db, &'a mut Tx) -> BoxFuture<'a, Result<T, Fault>> + Send + 'static,
    {
        self.change(|db| async move {
            let mut tx = db.begin().await?;
            let done = work(&db, &mut tx).await?;
            tx.commit().await?;
            Ok(done)
        })
    }

    /// The same, of what only fails when storage does.
    fn note<T, F>(&self, work: F) -> BoxFuture<'static, Result<T, Error>>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a Db, &'a mut Tx) -> BoxFuture<'a, Result<T, Fault>> + Send + 'static,
    {
        let noted = self.configure(work);
        Box::pin(async move { noted.await.map_err(|error| Fault::Refused(error).into()) })
    }
}

impl Catalog for Postgres {
    fn ensure_environment(&self, id: EnvironmentId, name: &str) -> BoxFuture<'_, Result<Environment, Error>> {
        let name = name.to_owned();
        self.note(move |_, tx| Box::pin(async move { environment(tx, id, &name).await }))
    }

    fn first_environment(&self, id: EnvironmentId, name: &str) -> BoxFuture<'_, Result<Environment, Error>> {
        let name = name.to_owned();
        self.note(move |_, tx| Box::pin(async move { first_environment(tx, id, &name).await }))
    }

    fn environments(&self) -> BoxFuture<'_, Result<Vec<Environment>, Error>> {
        self.read(|db| async move {
            let sql = format!("SELECT {ENVIRONMENT} FROM environment ORDER BY no");
            let rows = db.reads.lend().await?.query(&sql, &[]).await?;
            rows.iter().map(|row| columns::environment(&Named::new(row))).collect()
        })
    }

    fn put_key(&self, key: ApiKey) -> BoxFuture<'_, Result<(), WriteError>> {
        self.configure(move |_, tx| Box::pin(async move { keys::put(tx, &key, None).await }))
    }

    fn key(&self, hash: KeyHash) -> BoxFuture<'_, Result<Option<ApiKey>, Error>> {
        self.read(move |db| async move { keys::find(&*db.reads.lend().await?, hash).await })
    }

    fn keys(&self, environment: EnvironmentNo) -> BoxFuture<'_, Result<Vec<ApiKey>, Error>> {
        self.read(move |db| async move { keys::all(&*db.reads.lend().await?, environment).await })
    }

    fn revoke_key(&self, environment: EnvironmentNo, id: KeyId) -> BoxFuture<'_, Result<bool, Error>> {
        self.note(move |_, tx| Box::pin(keys::revoke(tx, environment, id)))
    }

    fn put_poller_token(
        &self,
        new: PollerToken,
        old_until: Option<Timestamp>,
    ) -> BoxFuture<'_, Result<PollerToken, WriteError>> {
        self.configure(move |db, tx| Box::pin(keys::put_poller_token(db, tx, new, old_until)))
    }

    fn poller_token(&self, endpoint: EndpointNo) -> BoxFuture<'_, Result<Option<PollerToken>, Error>> {
        self.read(move |db| async move { keys::poller_token(&db, &*db.reads.lend().await?, endpoint).await })
    }

    fn touch_keys(&self, used: Vec<(KeyHash, Timestamp)>) -> BoxFuture<'_, Result<(), Error>> {
        self.note(move |_, tx| Box::pin(async move { keys::touch(tx, &used).await }))
    }

    fn create_app(&self, new: NewApp) -> BoxFuture<'_, Result<App, WriteError>> {
        self.configure(move |db, tx| Box::pin(apps::create(db, tx, new)))
    }

    fn update_app(&self, app: App) -> BoxFuture<'_, Result<App, WriteError>> {
        self.configure(move |db, tx| Box::pin(apps::update(db, tx, app)))
    }

    fn delete_app(&self, no: AppNo) -> BoxFuture<'_, Result<(), WriteError>> {
        self.configure(move |_, tx| Box::pin(apps::delete(tx, no)))
    }

    fn app(
        &self,
        environment: EnvironmentNo,
        app: Ref<AppId>,
    ) -> BoxFuture<'_, Result<Option<Arc<AppSnapshot>>, Error>> {
        self.read(move |db| async move {
            let (condition, name) = match &app {
                Ref::Id(id) => ("app.environment = $1 AND app.id COLLATE \"C\" = $2", id.to_string()),
                Ref::Uid(uid) => ("app.environment = $1 AND app.uid = $2", uid.to_string()),
            };
            snapshots::snapshot(&db, condition, &[&environment.0.cast_signed(), &name]).await
        })
    }

    fn app_by_no(&self, no: AppNo) -> BoxFuture<'_, Result<Option<Arc<AppSnapshot>>, Error>> {
        self.read(
            move |db| async move { snapshots::snapshot(&db, "app.no = $1", &[&no.0.cast_signed()]).await },
        )
    }

    fn apps(
        &self,
        environment: EnvironmentNo,
        filter: AppListFilter,
        page: PageQuery<AppId>,
    ) -> BoxFuture<'_, Result<Page<App>, Error>> {
        self.read(
            move |db| async move { apps::list(&*db.reads.lend().await?, environment, filter, page).await },
        )
    }

    fn create_endpoint(&self, endpoint: Endpoint) -> BoxFuture<'_, Result<Arc<Endpoint>, WriteError>> {
        self.configure(move |db, tx| Box::pin(endpoints::create(db, tx, endpoint)))
    }

    fn update_endpoint_from(
        &self,
        endpoint: Endpoint,
        from: PushFrom,
    ) -> BoxFuture<'_, Result<Arc<Endpoint>, WriteError>> {
        self.configure(move |db, tx| {
            Box::pin(async move { endpoints::update(db, tx, endpoint, &from).await })
        })
    }

    fn delete_endpoint(&self, no: EndpointNo) -> BoxFuture<'_, Result<(), WriteError>> {
        self.configure(move |_, tx| Box::pin(endpoints::delete(tx, no)))
    }

    fn set_health(&self, no: EndpointNo, health: Health) -> BoxFuture<'_, Result<(), Error>> {
        self.note(move |db, tx| Box::pin(dispatched::set_health(db, tx, no, health)))
    }

    fn disable_endpoint(&self, no: EndpointNo, reason: DisabledReason) -> BoxFuture<'_, Result<bool, Error>> {
        self.note(move |db, tx| Box::pin(dispatched::disable(db, tx, no, reason)))
    }

    fn hold_endpoint(&self, no: EndpointNo) -> BoxFuture<'_, Result<bool, Error>> {
        self.note(move |db, tx| Box::pin(dispatched::hold(db, tx, no)))
    }

    fn draining_endpoints(&self) -> BoxFuture<'_, Result<Vec<(EndpointNo, AppNo)>, Error>> {
        self.read(|db| async move { dispatched::draining(&db).await })
    }

    fn end_draining(&self, no: EndpointNo, since: Timestamp) -> BoxFuture<'_, Result<bool, Error>> {
        self.note(move |db, tx| Box::pin(dispatched::end_draining(db, tx, no, since)))
    }

    fn create_event_type(&self, event_type: EventType) -> BoxFuture<'_, Result<EventType, WriteError>> {
        self.configure(move |_, tx| Box::pin(event_types::create(tx, event_type)))
    }

    fn update_event_type(&self, event_type: EventType) -> BoxFuture<'_, Result<EventType, WriteError>> {
        self.configure(move |_, tx| Box::pin(event_types::update(tx, event_type)))
    }

    fn delete_event_type(
        &self,
        environment: EnvironmentNo,
        name: EventTypeName,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        self.configure(move |_, tx| Box::pin(event_types::delete(tx, environment, name)))
    }

    fn event_type(
        &self,
        environment: EnvironmentNo,
        name: EventTypeName,
    ) -> BoxFuture<'_, Result<Option<EventType>, Error>> {
        self.read(
            move |db| async move { event_types::find(&*db.reads.lend().await?, environment, name).await },
        )
    }

    fn event_types(
        &self,
        environment: EnvironmentNo,
        include_archived: bool,
        page: PageQuery<EventTypeName>,
    ) -> BoxFuture<'_, Result<Page<EventType>, Error>> {
        self.read(move |db| async move {
            event_types::list(&*db.reads.lend().await?, environment, include_archived, page).await
        })
    }
}

/// The environment with this id, made if there is none.
async fn environment(tx: &Tx, id: EnvironmentId, name: &str) -> Result<Environment, Fault> {
    tx.execute(
        "INSERT INTO environment (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
        &[&id.to_string(), &name, &tx.now.as_millis()],
    )
    .await?;
    let sql = format!("SELECT {ENVIRONMENT} FROM environment WHERE id = $1");
    columns::environment(&Named::new(&tx.query_one(&sql, &[&id.to_string()]).await?))
}

/// The environment that was made first. Of nodes that start at once one makes it.
async fn first_environment(tx: &Tx, id: EnvironmentId, name: &str) -> Result<Environment, Fault> {
    let sql = format!("SELECT {ENVIRONMENT} FROM environment ORDER BY no LIMIT 1");
    if let Some(first) = tx.query_opt(&sql, &[]).await? {
        return columns::environment(&Named::new(&first));
    }
    tx.execute("LOCK TABLE environment IN SHARE ROW EXCLUSIVE MODE", &[]).await?;
    match tx.query_opt(&sql, &[]).await? {
        Some(first) => columns::environment(&Named::new(&first)),
        None => environment(tx, id, name).await,
    }
}

/// The condition that a page begins beyond the item that `$2` names. Written for the page at hand: a plan that is made
/// for every value of `$2`, missing or not, reads the list from its start.
fn begins_beyond<K>(column: &str, page: &PageQuery<K>) -> String {
    match page.beyond {
        Some(_) => format!("{column} {} $2", beyond(page)),
        None => "$2::text IS NULL".to_owned(),
    }
}

/// A change's moment: after the one it replaces, so that `updated_at` tells them apart.
fn later(now: Timestamp, before: Timestamp) -> Timestamp {
    now.max(Timestamp::from_millis(before.as_millis() + 1))
}

/// It is not as it was read. If another node changed it, the news of that may not have come yet: what is remembered
/// here is forgotten, or who reads it again would be given the same.
fn stale(db: &Db, app: AppNo) -> Fault {
    db.tell(&News { configured: vec![app], ..News::default() });
    WriteError::Stale.into()
}

/// Notes that an application's configuration changed.
fn configured(tx: &mut Tx, app: AppNo) {
    tx.news.configured.push(app);
}

/// The same, of one whose row is not written otherwise.
async fn bump(tx: &mut Tx, app: AppNo) -> Result<(), Fault> {
    tx.execute("UPDATE app SET version = version + 1 WHERE no = $1", &[&app.0.cast_signed()]).await?;
    configured(tx, app);
    Ok(())
}
