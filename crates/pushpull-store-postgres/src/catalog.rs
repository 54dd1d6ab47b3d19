#![allow(unused_variables, reason = "not written yet")]
use crate::Postgres;
use futures_util::future::BoxFuture;
use pushpull_domain::{
    App, AppId, AppNo, AppSnapshot, Endpoint, EndpointNo, Environment, EnvironmentId, EnvironmentNo,
    EventType, EventTypeName, Health, Timestamp, Uid,
    endpoint::{DisabledReason, PushFrom},
    key::{ApiKey, KeyHash, PollerToken},
};
use pushpull_store::*;
use pushpull_store::{Error, WriteError};
use std::{ops::Bound, sync::Arc, time::Duration};
impl Catalog for Postgres {
    fn ensure_environment(&self, id: EnvironmentId, name: &str) -> BoxFuture<'_, Result<Environment, Error>> {
        todo!()
    }
    fn environments(&self) -> BoxFuture<'_, Result<Vec<Environment>, Error>> {
        todo!()
    }
    fn put_key(&self, key: ApiKey) -> BoxFuture<'_, Result<(), WriteError>> {
        todo!()
    }
    fn key(&self, hash: KeyHash) -> BoxFuture<'_, Result<Option<ApiKey>, Error>> {
        todo!()
    }
    fn keys(&self, environment: EnvironmentNo) -> BoxFuture<'_, Result<Vec<ApiKey>, Error>> {
        todo!()
    }
    fn revoke_key(
        &self,
        environment: EnvironmentNo,
        id: pushpull_domain::KeyId,
    ) -> BoxFuture<'_, Result<bool, Error>> {
        todo!()
    }
    fn put_poller_token(
        &self,
        new: PollerToken,
        old_until: Option<Timestamp>,
    ) -> BoxFuture<'_, Result<PollerToken, WriteError>> {
        todo!()
    }
    fn poller_token(&self, endpoint: EndpointNo) -> BoxFuture<'_, Result<Option<PollerToken>, Error>> {
        todo!()
    }
    fn touch_keys(&self, used: Vec<(KeyHash, Timestamp)>) -> BoxFuture<'_, Result<(), Error>> {
        todo!()
    }
    fn create_app(&self, new: NewApp) -> BoxFuture<'_, Result<App, WriteError>> {
        todo!()
    }
    fn update_app(&self, app: App) -> BoxFuture<'_, Result<App, WriteError>> {
        todo!()
    }
    fn delete_app(&self, no: AppNo) -> BoxFuture<'_, Result<(), WriteError>> {
        todo!()
    }
    fn app(
        &self,
        environment: EnvironmentNo,
        app: Ref<AppId>,
    ) -> BoxFuture<'_, Result<Option<Arc<AppSnapshot>>, Error>> {
        todo!()
    }
    fn app_by_no(&self, no: AppNo) -> BoxFuture<'_, Result<Option<Arc<AppSnapshot>>, Error>> {
        todo!()
    }
    fn apps(
        &self,
        environment: EnvironmentNo,
        filter: AppListFilter,
        page: PageQuery<AppId>,
    ) -> BoxFuture<'_, Result<Page<App>, Error>> {
        todo!()
    }
    fn create_endpoint(&self, endpoint: Endpoint) -> BoxFuture<'_, Result<Arc<Endpoint>, WriteError>> {
        todo!()
    }
    fn update_endpoint_from(
        &self,
        endpoint: Endpoint,
        from: PushFrom,
    ) -> BoxFuture<'_, Result<Arc<Endpoint>, WriteError>> {
        todo!()
    }
    fn delete_endpoint(&self, no: EndpointNo) -> BoxFuture<'_, Result<(), WriteError>> {
        todo!()
    }
    fn set_health(&self, no: EndpointNo, health: Health) -> BoxFuture<'_, Result<(), Error>> {
        todo!()
    }
    fn disable_endpoint(&self, no: EndpointNo, reason: DisabledReason) -> BoxFuture<'_, Result<bool, Error>> {
        todo!()
    }
    fn hold_endpoint(&self, no: EndpointNo) -> BoxFuture<'_, Result<bool, Error>> {
        todo!()
    }
    fn draining_endpoints(&self) -> BoxFuture<'_, Result<Vec<(EndpointNo, AppNo)>, Error>> {
        todo!()
    }
    fn end_draining(&self, no: EndpointNo, since: Timestamp) -> BoxFuture<'_, Result<bool, Error>> {
        todo!()
    }
    fn create_event_type(&self, event_type: EventType) -> BoxFuture<'_, Result<EventType, WriteError>> {
        todo!()
    }
    fn update_event_type(&self, event_type: EventType) -> BoxFuture<'_, Result<EventType, WriteError>> {
        todo!()
    }
    fn delete_event_type(
        &self,
        environment: EnvironmentNo,
        name: EventTypeName,
    ) -> BoxFuture<'_, Result<(), WriteError>> {
        todo!()
    }
    fn event_type(
        &self,
        environment: EnvironmentNo,
        name: EventTypeName,
    ) -> BoxFuture<'_, Result<Option<EventType>, Error>> {
        todo!()
    }
    fn event_types(
        &self,
        environment: EnvironmentNo,
        include_archived: bool,
        page: PageQuery<EventTypeName>,
    ) -> BoxFuture<'_, Result<Page<EventType>, Error>> {
        todo!()
    }
}
