#![allow(unused_variables, reason = "not written yet")]
use crate::Postgres;
use futures_util::future::BoxFuture;
use pushpull_domain::{EndpointNo, Seq};
use pushpull_store::Error;
use pushpull_store::*;
impl Audits for Postgres {
    fn audit(
        &self,
        endpoint: EndpointNo,
        after: Option<Seq>,
        upto: Option<Seq>,
    ) -> BoxFuture<'_, Result<AuditPage, Error>> {
        todo!()
    }
}
