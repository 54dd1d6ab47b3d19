//! API keys: who may call, and for what.

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{AppId, AppNo, Chance, EndpointId, EndpointNo, EnvironmentNo, KeyId, Timestamp, chance};

/// What a key allows, in its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Admin,
    /// Sending messages, and reading applications and event types.
    Send,
    /// Reading everything but secrets.
    Read,
    /// Everything of one application but sending, and reading event types: what a customer's portal needs.
    App {
        /// The number of the application.
        no: AppNo,
        /// Its id.
        id: AppId,
    },
    /// Reading one endpoint's queue, and nothing else: what a reader elsewhere, or a browser, is given.
    Poller {
        /// The number of the endpoint's application.
        app: AppNo,
        /// The id of the application.
        app_id: AppId,
        /// The number of the endpoint.
        no: EndpointNo,
        /// Its id.
        id: EndpointId,
    },
}

impl Scope {
    /// The word for it in JSON and on the command line; an application's id for [`Scope::App`], an endpoint's
    /// for [`Scope::Poller`].
    pub fn to_text(&self) -> String {
        match self {
            Self::Admin => "admin".into(),
            Self::Send => "send".into(),
            Self::Read => "read".into(),
            Self::App { id, .. } => id.to_string(),
            Self::Poller { id, .. } => id.to_string(),
        }
    }
}

/// The hash under which a key is stored: SHA-256. A key has 256 bits of chance, so no slow hash is needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

impl KeyHash {
    /// The hash of a key as it was presented.
    pub fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }
}

/// A new key's text: `ppk_` and 256 bits of chance. Shown once, never stored.
pub fn generate_token(source: &dyn Chance) -> String {
    format!("ppk_{}", URL_SAFE_NO_PAD.encode(chance::bytes::<32>(source)))
}

/// A key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// Where it is valid.
    pub environment: EnvironmentNo,
    /// The hash of its text.
    pub hash: KeyHash,
    /// The first characters of its text, to know it by.
    pub prefix: String,
    /// What its owner calls it.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute; `None`: never.
    pub last_used_at: Option<Timestamp>,
    /// From then on it is refused; `None`: valid.
    pub revoked_at: Option<Timestamp>,
}

/// A key with [`Scope::Poller`] and its text, which is kept sealed: whoever may configure the endpoint is shown
/// it again.
#[derive(Clone, PartialEq, Eq)]
pub struct PollerToken {
    /// The key.
    pub key: ApiKey,
    /// Its text.
    pub text: String,
}

impl fmt::Debug for PollerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PollerToken({})", self.key.id)
    }
}
