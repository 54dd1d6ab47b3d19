//! What is configured: environments, keys, applications, endpoints, event types.
//!
//! Lookups give an `Option`: whether absence is an error is the caller's to say. Writes are whole objects:
//! read, change, write back with the `updated_at` that was read, and read again on [`WriteError::Stale`].

use std::{ops::Bound, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use pushpull_domain::{
    App, AppId, AppNo, AppSnapshot, Endpoint, EndpointNo, Environment, EnvironmentId, EnvironmentNo,
    EventType, EventTypeName, Health, PushFrom, Timestamp, Uid,
    endpoint::DisabledReason,
    key::{ApiKey, KeyHash, PollerToken},
};

use crate::{Error, WriteError};

/// Names an application or an endpoint in a request: its id, or the user's uid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ref<Id> {
    /// By id.
    Id(Id),
    /// By uid.
    Uid(Uid),
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What was found, in the list's order whichever way the page was read.
    pub items: Vec<T>,
    /// Whether there is nothing beyond, in the direction that was read.
    pub done: bool,
    /// Set when the page came back short although there is more: as many rows were looked at, or as many bytes
    /// read, as one page may cost. The next one begins beyond the last item as ever; if there is none, beyond this
    /// place (a position, a seq, an attempt's number).
    pub reached: Option<u64>,
}

/// Which way a list goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest (or first by name) first.
    Ascending,
    /// Newest (or last by name) first.
    Descending,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug)]
pub struct PageQuery<K> {
    /// Begin beyond this item; `None`: at the list's start (or, going backwards, its end).
    pub beyond: Option<K>,
    /// Whether the items before `beyond` are wanted, not those after it.
    pub backwards: bool,
    /// The list's order.
    pub order: Order,
    /// Most items: 1 to 250.
    pub limit: usize,
}

/// Which applications a list leaves out.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppListFilter {
    /// Those without an endpoint.
    pub without_endpoints: bool,
    /// Those that have endpoints, all of them disabled.
    pub with_disabled_endpoints_only: bool,
}

/// A new application; the store gives it its number, id and times.
#[derive(Clone, Debug)]
pub struct NewApp {
    /// Where it will belong.
    pub environment: EnvironmentNo,
    /// The user's own name for it.
    pub uid: Option<Uid>,
    /// For people.
    pub name: String,
    /// Most deliveries a second.
    pub rate_limit: Option<u16>,
    /// Free pairs of text.
    pub metadata: pushpull_domain::Metadata,
}

/// How long a key is still listed after it was revoked or ended by itself: 7 days. Upkeep removes it then.
pub const REVOKED_KEYS_KEPT: Duration = Duration::from_hours(7 * 24);

/// Most poller tokens of an endpoint that are kept beside its current one: each may be valid for a while yet, and who
/// rotates on a timer needs a few.
pub const OLD_POLLER_TOKENS_MAX: usize = 16;

/// The catalogue.
pub trait Catalog: Send + Sync {
    /// The environment with this id, made on first sight with this name.
    fn ensure_environment(&self, id: EnvironmentId, name: &str) -> BoxFuture<'_, Result<Environment, Error>>;
    /// The environment that was made first; made like this if there is none.
    fn first_environment(&self, id: EnvironmentId, name: &str) -> BoxFuture<'_, Result<Environment, Error>>;
    /// All environments, in the order they were made.
    fn environments(&self) -> BoxFuture<'_, Result<Vec<Environment>, Error>>;

    /// Stores a key.
    fn put_key(&self, key: ApiKey) -> BoxFuture<'_, Result<(), WriteError>>;
    /// The key with this hash, revoked or not.
    fn key(&self, hash: KeyHash) -> BoxFuture<'_, Result<Option<ApiKey>, Error>>;
    /// All keys of an environment, in the order they were made.
    fn keys(&self, environment: EnvironmentNo) -> BoxFuture<'_, Result<Vec<ApiKey>, Error>>;
    /// Refuses a key from now on, also one that would end by itself later; `false`: there is no such key, or it
    /// was refused already.
    fn revoke_key(
        &self,
        environment: EnvironmentNo,
        id: pushpull_domain::KeyId,
    ) -> BoxFuture<'_, Result<bool, Error>>;
    /// Gives an endpoint a new poller token, from when on only this one is shown again. `old_until`: those it had
    /// end by then; `None`: nothing changes if it has one that is valid. What is its token now comes back. Of those
    /// it had, [`OLD_POLLER_TOKENS_MAX`] are kept: the others open nothing any more, those first that have ended, then
    /// those made first.
    /// `NotFound` if the endpoint is gone.
    fn put_poller_token(
        &self,
        new: PollerToken,
        old_until: Option<Timestamp>,
    ) -> BoxFuture<'_, Result<PollerToken, WriteError>>;
    /// An endpoint's poller token, if it has one that is valid.
    fn poller_token(&self, endpoint: EndpointNo) -> BoxFuture<'_, Result<Option<PollerToken>, Error>>;
    /// Notes when keys were last used.
    fn touch_keys(&self, used: Vec<(KeyHash, Timestamp)>) -> BoxFuture<'_, Result<(), Error>>;

    /// Makes an application. `Taken("uid")` if its uid is in use.
    fn create_app(&self, new: NewApp) -> BoxFuture<'_, Result<App, WriteError>>;
    /// Writes an application back; `app.updated_at` is what was read, and comes back new.
    fn update_app(&self, app: App) -> BoxFuture<'_, Result<App, WriteError>>;
    /// Deletes an application: it, its endpoints and messages are gone from every answer at once, what is owed
    /// is cancelled, and the rows are removed by and by.
    fn delete_app(&self, no: AppNo) -> BoxFuture<'_, Result<(), WriteError>>;
    /// An application with its endpoints.
    fn app(
        &self,
        environment: EnvironmentNo,
        app: Ref<AppId>,
    ) -> BoxFuture<'_, Result<Option<Arc<AppSnapshot>>, Error>>;
    /// The same, by number.
    fn app_by_no(&self, no: AppNo) -> BoxFuture<'_, Result<Option<Arc<AppSnapshot>>, Error>>;
    /// One page of an environment's applications.
    fn apps(
        &self,
        environment: EnvironmentNo,
        filter: AppListFilter,
        page: PageQuery<AppId>,
    ) -> BoxFuture<'_, Result<Page<App>, Error>>;

    /// Makes an endpoint; its number, id and times are the store's to give. `Taken("uid")` if its uid is in use,
    /// `NotFound` if its application is gone.
    fn create_endpoint(&self, endpoint: Endpoint) -> BoxFuture<'_, Result<Arc<Endpoint>, WriteError>>;
    /// Writes an endpoint back; `endpoint.updated_at` is what was read, and comes back new. Its health is not
    /// written (that is the dispatcher's), except that enabling it, or pushing it again, begins its health anew.
    ///
    /// What a change of mode means is decided in the same transaction, and so `read_seq` and `draining_since` are the
    /// store's to give. It leaves push: nothing it is owed is due any more, and it drains. It is pushed again: `from`
    /// says where the dispatcher goes on, `read_seq` is that place, and what is owed beyond it becomes due;
    /// `WhichConsumer` if `from` names none that there is, or leaves open which of several.
    fn update_endpoint_from(
        &self,
        endpoint: Endpoint,
        from: PushFrom,
    ) -> BoxFuture<'_, Result<Arc<Endpoint>, WriteError>>;
    /// The same, going on where the readers are.
    fn update_endpoint(&self, endpoint: Endpoint) -> BoxFuture<'_, Result<Arc<Endpoint>, WriteError>> {
        self.update_endpoint_from(endpoint, PushFrom::Readers)
    }
    /// Deletes an endpoint: gone from every answer at once with its tokens, what it is owed is cancelled.
    fn delete_endpoint(&self, no: EndpointNo) -> BoxFuture<'_, Result<(), WriteError>>;
    /// Notes how an endpoint is failing.
    fn set_health(&self, no: EndpointNo, health: Health) -> BoxFuture<'_, Result<(), Error>>;
    /// Disables an endpoint, if it is enabled and pushed; `false`: it was not. One that is read meanwhile goes on.
    fn disable_endpoint(&self, no: EndpointNo, reason: DisabledReason) -> BoxFuture<'_, Result<bool, Error>>;
    /// Holds an endpoint that cannot be brought what it is owed, if it is enabled, pushed, and one that is to be held
    /// (it keeps order, or is set to be held when it fails); `false`: it was not. As when its mode is changed.
    fn hold_endpoint(&self, no: EndpointNo) -> BoxFuture<'_, Result<bool, Error>>;
    /// Endpoints that left push, and of which something may still be in flight.
    fn draining_endpoints(&self) -> BoxFuture<'_, Result<Vec<(EndpointNo, AppNo)>, Error>>;
    /// Nothing is in flight any more of an endpoint that left push at this moment; `false`: it is not draining since
    /// then. Safe to repeat.
    fn end_draining(&self, no: EndpointNo, since: Timestamp) -> BoxFuture<'_, Result<bool, Error>>;

    /// Makes an event type. `Taken("name")` if there is one of its name.
    fn create_event_type(&self, event_type: EventType) -> BoxFuture<'_, Result<EventType, WriteError>>;
    /// Writes an event type back; `updated_at` is what was read, and comes back new.
    fn update_event_type(&self, event_type: EventType) -> BoxFuture<'_, Result<EventType, WriteError>>;
    /// Removes an event type for good.
    fn delete_event_type(
        &self,
        environment: EnvironmentNo,
        name: EventTypeName,
    ) -> BoxFuture<'_, Result<(), WriteError>>;
    /// The event type of this name, archived or not.
    fn event_type(
        &self,
        environment: EnvironmentNo,
        name: EventTypeName,
    ) -> BoxFuture<'_, Result<Option<EventType>, Error>>;
    /// One page of an environment's event types, by name.
    fn event_types(
        &self,
        environment: EnvironmentNo,
        include_archived: bool,
        page: PageQuery<EventTypeName>,
    ) -> BoxFuture<'_, Result<Page<EventType>, Error>>;
}

/// A span of time, for lists.
pub type Span = (Bound<Timestamp>, Bound<Timestamp>);
