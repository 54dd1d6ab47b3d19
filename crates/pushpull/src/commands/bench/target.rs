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

/// The event type of every message.
const EVENT_TYPE: &str = "bench.message";

/// Where requests go, and what they are.
pub(super) struct Target {
    address: SocketAddr,
    payloads: Arc<Payloads>,
    kind: Kind,
}

enum Kind {
    /// Messages of an application.
    Messages { path: String, authorization: HeaderValue, before: String },
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
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}"))?;
        authorization.set_sensitive(true);
        let before = format!(r#"{{"eventType":"{EVENT_TYPE}","payload":"#);
        let kind = Kind::Messages { path: format!("/api/v1/app/{app}/msg"), authorization, before };
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
            Kind::Messages { path, authorization, before } => {
                let body = self.payloads.wrapped(message, before, "}");
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
