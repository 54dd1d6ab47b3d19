#![allow(unused_variables, reason = "not written yet")]
use crate::Postgres;
use futures_util::future::BoxFuture;
use pushpull_domain::{AppId, EndpointId, Seq, Timestamp};
use pushpull_store::*;
use pushpull_store::{ConsumerKey, Error, Retention, Trimmed};
use std::{path::PathBuf, time::Duration};
impl Upkeep for Postgres {
    fn trim(&self, retention: Retention) -> BoxFuture<'_, Result<Trimmed, Error>> {
        todo!()
    }
    fn backup(&self, to: PathBuf) -> BoxFuture<'_, Result<(), Error>> {
        todo!()
    }
    fn ledger(&self) -> BoxFuture<'_, Result<Ledger, Error>> {
        todo!()
    }
    fn backlog(&self) -> BoxFuture<'_, Result<Backlog, Error>> {
        todo!()
    }
    fn size(&self) -> BoxFuture<'_, Result<Size, Error>> {
        todo!()
    }
    fn consumers_behind(
        &self,
        age: Duration,
        after: Option<ConsumerKey>,
    ) -> BoxFuture<'_, Result<Behind, Error>> {
        todo!()
    }
    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        todo!()
    }
    fn history(&self) -> u64 {
        todo!()
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        todo!()
    }
}
