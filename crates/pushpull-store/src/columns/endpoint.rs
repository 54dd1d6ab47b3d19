//! Endpoints, and their secrets, which are sealed.

use pushpull_domain::{
    AppNo, Batch, Chance, Endpoint, EndpointNo, EndpointState, Filter, Health, Mode, Secrets, Seq, Timestamp,
    endpoint::DisabledReason,
    seal::Sealer,
    signature::{OldSecret, Secret},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Columns, RowOf, to_json};

/// What is sealed of an endpoint's secrets.
#[derive(Serialize, Deserialize)]
struct SealedSecrets {
    current: String,
    old: Vec<(String, i64)>,
}

/// Where an endpoint's secrets are sealed for.
fn secrets_place(id: &str) -> String {
    format!("endpoint/{id}/secrets")
}

fn headers_place(id: &str) -> String {
    format!("endpoint/{id}/headers")
}

/// An endpoint's secrets, sealed.
pub fn seal_secrets(sealer: &Sealer, chance: &dyn Chance, endpoint: &Endpoint) -> Vec<u8> {
    let secrets = SealedSecrets {
        current: endpoint.secrets.current.to_text(),
        old: endpoint.secrets.old.iter().map(|o| (o.secret.to_text(), o.expires_at.as_millis())).collect(),
    };
    sealer.seal(&secrets_place(&endpoint.id.to_string()), to_json(&secrets).as_bytes(), chance)
}

/// An endpoint's headers, sealed.
pub fn seal_headers(sealer: &Sealer, chance: &dyn Chance, endpoint: &Endpoint) -> Vec<u8> {
    sealer.seal(&headers_place(&endpoint.id.to_string()), to_json(&endpoint.headers).as_bytes(), chance)
}

/// The two columns of a state.
pub fn state_columns(state: EndpointState) -> (Option<i64>, Option<u8>) {
    match state {
        EndpointState::Enabled => (None, None),
        EndpointState::Disabled { at, reason } => (Some(at.as_millis()), Some(reason as u8)),
    }
}

/// From `endpoint`.
pub fn endpoint<C: Columns>(row: &C, sealer: &Sealer) -> Result<Endpoint, C::Fault> {
    let row = RowOf { table: "endpoint", row };
    let id = row.text("id")?;
    Ok(Endpoint {
        no: EndpointNo(row.number("no")?),
        id: row.parsed("id")?,
        app: AppNo(row.number("app")?),
        uid: row.optional("uid")?,
        url: row.text("url")?.to_owned(),
        description: row.text("description")?.to_owned(),
        filter: Filter { event_types: row.json("event_types")?, channels: row.json("channels")? },
        mode: match row.number::<u8>("mode")? {
            0 => Mode::Push,
            1 => Mode::Pull,
            2 => Mode::Held,
            other => return Err(row.wrong(id, format_args!("mode {other}"))),
        },
        read_seq: Seq(row.number("read_seq")?),
        draining_since: row.optional_time("draining_since")?,
        state: row.state()?,
        health: Health {
            failing_since: row.optional_time("failing_since")?,
            notified: row.flag("failing_notified")?,
        },
        rate_limit: row.optional_number("rate_limit")?,
        retry_schedule: row.optional("retry_schedule")?,
        fifo: row.flag("fifo")?,
        batch: Batch { size: row.number("batch_size")?, wait_secs: row.number("batch_wait_secs")? },
        hold_when_failing: row.flag("hold_when_failing")?,
        headers: row.opened("headers", sealer, &headers_place(id))?,
        secrets: row.secrets(sealer, id)?,
        metadata: row.json("metadata")?.unwrap_or_default(),
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

impl<C: Columns> RowOf<'_, C> {
    /// A column of JSON that is sealed for a place.
    fn opened<T: DeserializeOwned>(&self, column: &str, sealer: &Sealer, place: &str) -> Result<T, C::Fault> {
        let value = sealer.open(place, self.bytes(column)?).map_err(|e| self.wrong(place, e))?;
        serde_json::from_slice(&value).map_err(|e| self.wrong(place, e))
    }

    fn secrets(&self, sealer: &Sealer, id: &str) -> Result<Secrets, C::Fault> {
        let texts: SealedSecrets = self.opened("secrets", sealer, &secrets_place(id))?;
        let read = |text: &str| Secret::parse(text).map_err(|e| self.wrong(id, e));
        let old = texts
            .old
            .iter()
            .map(|(text, until)| {
                Ok(OldSecret { secret: read(text)?, expires_at: Timestamp::from_millis(*until) })
            })
            .collect::<Result<_, C::Fault>>()?;
        Ok(Secrets { current: read(&texts.current)?, old })
    }

    fn state(&self) -> Result<EndpointState, C::Fault> {
        let Some(at) = self.optional_time("disabled_at")? else { return Ok(EndpointState::Enabled) };
        let reason = match self.row.number("disabled_reason")? {
            Some(1) => DisabledReason::Gone,
            Some(2) => DisabledReason::Failing,
            _ => DisabledReason::Owner,
        };
        Ok(EndpointState::Disabled { at, reason })
    }
}
