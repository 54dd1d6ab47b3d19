#![allow(unused_variables, clippy::unused_async, clippy::todo, reason = "not written yet")]
use pushpull_domain::{AppNo, EndpointNo, Seq};

use crate::{fault::Fault, tx::Tx};

pub(crate) async fn start_gathered(
    tx: &mut Tx,
    app: AppNo,
    endpoint: EndpointNo,
    after: Seq,
) -> Result<(), Fault> {
    todo!()
}

pub(crate) async fn start_withdrawal(tx: &mut Tx, app: AppNo, endpoint: EndpointNo) -> Result<(), Fault> {
    todo!()
}
