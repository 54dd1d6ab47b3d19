#![allow(unused_variables, reason = "not written yet")]
use crate::Postgres;
use futures_util::future::BoxFuture;
use pushpull_domain::{Holder, Message, Seq, Timestamp};
use pushpull_store::*;
use pushpull_store::{Asked, ConsumerKey, Error, Gap, Page, PageQuery};
use std::{sync::Arc, time::Duration};
impl WorkQueue for Postgres {
    fn take(&self, key: ConsumerKey, take: Take) -> BoxFuture<'_, Asked<Taken>> {
        todo!()
    }
    fn answer(&self, key: ConsumerKey, answers: Answers) -> BoxFuture<'_, Asked<Answered>> {
        todo!()
    }
    fn parked(&self, key: ConsumerKey, page: PageQuery<Seq>) -> BoxFuture<'_, Result<Page<Parked>, Error>> {
        todo!()
    }
    fn replay(&self, key: ConsumerKey, only: Option<Vec<Seq>>) -> BoxFuture<'_, Asked<u64>> {
        todo!()
    }
}
