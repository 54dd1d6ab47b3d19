//! What every handler works with.

use std::sync::Arc;

use pushpull_domain::{Chance, Clock, Timestamp, signature::SignatureType};
use pushpull_feed::Feed;
use pushpull_net::Policy;
use pushpull_store::{Log, Store};

use crate::{Origins, Parts, auth::Keyring, idempotency::Answered};

/// The API's state, shared by all requests.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) log: Arc<Log>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Arc<dyn Chance>,
    pub(crate) policy: Policy,
    pub(crate) signature_type: SignatureType,
    pub(crate) payload_max: usize,
    pub(crate) origins: Origins,
    pub(crate) public_url: String,
    pub(crate) keyring: Keyring,
    pub(crate) answered: Answered,
}

impl std::ops::Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Api {
    pub(crate) fn new(parts: Parts) -> Self {
        let keyring = Keyring::new(parts.jwt_secret.as_deref());
        Self(Arc::new(Inner {
            log: parts.log,
            feed: parts.feed,
            clock: parts.clock,
            chance: parts.chance,
            policy: parts.policy,
            signature_type: parts.signature_type,
            payload_max: parts.payload_max,
            origins: parts.origins,
            public_url: parts.public_url,
            keyring,
            answered: Answered::new(),
        }))
    }
}

impl Inner {
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        self.log.store()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
