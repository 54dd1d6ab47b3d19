#![allow(unused_variables, clippy::unused_async, clippy::todo, reason = "not written yet")]
use pushpull_domain::EndpointNo;

use crate::{fault::Fault, tx::Tx};

pub(crate) async fn end_endpoint(tx: &mut Tx, no: EndpointNo) -> Result<usize, Fault> {
    todo!()
}
