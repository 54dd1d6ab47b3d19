#![allow(unused_variables, reason = "not written yet")]
use crate::Postgres;
use futures_util::future::BoxFuture;
use pushpull_domain::{AppId, ConsumerName, EndpointId, EndpointNo, Holder, Seq, Timestamp};
use pushpull_store::*;
use pushpull_store::{Error, Page, PageQuery};
use std::time::Duration;
impl Consumers for Postgres {
    fn consumer(&self, key: ConsumerKey) -> BoxFuture<'_, Result<Option<Consumer>, Error>> {
        todo!()
    }
    fn consumers(
        &self,
        endpoint: EndpointNo,
        page: PageQuery<ConsumerName>,
    ) -> BoxFuture<'_, Result<Page<Consumer>, Error>> {
        todo!()
    }
    fn consumer_status(&self, key: ConsumerKey) -> BoxFuture<'_, Result<Option<ConsumerStatus>, Error>> {
        todo!()
    }
    fn create_consumer(
        &self,
        key: ConsumerKey,
        start: Option<Seq>,
        settings: ConsumerSettings,
    ) -> BoxFuture<'_, Asked<Consumer>> {
        todo!()
    }
    fn set_consumer(&self, key: ConsumerKey, settings: ConsumerSettings) -> BoxFuture<'_, Asked<Consumer>> {
        todo!()
    }
    fn delete_consumer(&self, key: ConsumerKey) -> BoxFuture<'_, Result<bool, Error>> {
        todo!()
    }
    fn touch_consumer(&self, key: ConsumerKey) -> BoxFuture<'_, Result<(), Error>> {
        todo!()
    }
    fn lease(&self, key: ConsumerKey, request: LeaseRequest) -> BoxFuture<'_, Asked<Consumer>> {
        todo!()
    }
    fn commit(
        &self,
        key: ConsumerKey,
        upto: Seq,
        holder: Option<Holder>,
        shown: bool,
    ) -> BoxFuture<'_, Asked<Consumer>> {
        todo!()
    }
    fn seek(&self, key: ConsumerKey, to: Seq) -> BoxFuture<'_, Asked<Consumer>> {
        todo!()
    }
    fn expire_consumers(&self) -> BoxFuture<'_, Result<Expired, Error>> {
        todo!()
    }
}
