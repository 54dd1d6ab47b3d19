//! What is called: the API that takes messages, or the receiver itself with nothing between.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::Full;
use pushpull_domain::{
    Clock,
    signature::{Secret, Secrets, SignatureType, Signer},
};

use super::payload::Payloads;
use crate::{chance::SystemChance, clock::SystemClock};

/// What stands before the payload of a message, and after it.
const AROUND: (&str, &str) = (r#"{"eventType":"bench.message","payload":"#, "}");

/// Where requests go, and what they are.
pub(super) struct Target {
    address: SocketAddr,
    payloads: Arc<Payloads>,
    kind: Kind,
}

enum Kind {
    /// Messages of applications: of each in turn.
    Messages { paths: Vec<String>, authorization: HeaderValue },
    /// Signed deliveries, as a server would send them.
    Deliveries { signer: Box<Signer> },
}

impl Target {
    /// The messages of an application.
    pub(super) fn messages(
        address: SocketAddr,
        key: &str,
        app: &str,
        payloads: Arc<Payloads>,
    ) -> Result<Self> {
        Self::messages_in_turn(address, key, [app], payloads)
    }

    /// The messages of applications: one of each, then the next of each.
    pub(super) fn messages_in_turn<'a>(
        address: SocketAddr,
        key: &str,
        apps: impl IntoIterator<Item = &'a str>,
        payloads: Arc<Payloads>,
    ) -> Result<Self> {
        let paths = apps.into_iter().map(|app| format!("/api/v1/app/{app}/msg")).collect();
        let kind = Kind::Messages { paths, authorization: authorization(key)? };
        Ok(Self { address, payloads, kind })
    }

    /// A receiver, and the secret that it is to check with.
    pub(super) fn deliveries(address: SocketAddr, payloads: Arc<Payloads>) -> (Self, String) {
        let secret = Secret::generate(SignatureType::Hmac256, &SystemChance);
        let verifier = secret.to_verifier_text();
        let kind = Kind::Deliveries { signer: Box::new(Signer::new(&Secrets::new(secret))) };
        (Self { address, payloads, kind }, verifier)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The request of a message.
    pub(super) fn request(&self, message: usize) -> Result<Request<Full<Bytes>>> {
        let request =
            Request::builder().method(Method::POST).header(header::CONTENT_TYPE, "application/json");
        let request = match &self.kind {
            Kind::Messages { paths, authorization } => {
                let path = &paths[message % paths.len()];
                let body = message_body(&self.payloads, message);
                request.uri(path).header(header::AUTHORIZATION, authorization).body(Full::new(body))
            }
            Kind::Deliveries { signer } => {
                let (body, now) = (self.payloads.of(message), SystemClock.now());
                let id = format!("msg_{message:027}");
                request
                    .uri("/0")
                    .header("webhook-signature", signer.sign(&id, now, &body))
                    .header("webhook-timestamp", now.as_secs())
                    .header("webhook-id", id)
                    .body(Full::new(body))
            }
        };
        Ok(request?)
    }
}

/// What a key is sent as.
pub(super) fn authorization(key: &str) -> Result<HeaderValue> {
    let mut authorization = HeaderValue::try_from(format!("Bearer {key}"))?;
    authorization.set_sensitive(true);
    Ok(authorization)
}

/// The body of the call that sends a message.
pub(super) fn message_body(payloads: &Payloads, message: usize) -> Bytes {
    payloads.wrapped(message, AROUND.0, AROUND.1)
}
