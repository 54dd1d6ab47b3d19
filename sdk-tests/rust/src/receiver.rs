//! A receiver of webhooks that verifies each on arrival, with every verifier there is for this language.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ed25519_compact::{KeyPair, PublicKey, Seed, Signature};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use svix::models::{ApplicationOut, EndpointIn, EndpointOut};
use tokio::{net::TcpListener, sync::watch, time::timeout};

/// A webhook that arrived.
#[derive(Clone, Debug)]
pub struct Hook {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Hook {
    /// A header's text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The message's id.
    pub fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }
}

/// What the receiver answers: status, headers, text.
pub type Answer = (u16, &'static [(&'static str, &'static str)], String);

/// Says what the nth webhook is answered, from 0.
type Answerer = Box<dyn Fn(usize, &Hook) -> Answer + Send + Sync>;

/// A receiver, and what arrived there.
pub struct Inbox {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Answerer,
    secrets: Mutex<Vec<String>>,
    arrived: watch::Sender<Vec<Hook>>,
    faults: Mutex<Vec<String>>,
}

impl Inbox {
    /// A receiver that answers 204.
    pub async fn new() -> Self {
        Self::answering(|_, _| (204, &[], String::new())).await
    }

    /// A receiver that answers as it is told.
    pub async fn answering(answer: impl Fn(usize, &Hook) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            secrets: Mutex::default(),
            arrived: watch::Sender::default(),
            faults: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                let service = service_fn(move |request| take(Arc::clone(&shared), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, shared }
    }

    /// An endpoint whose webhooks arrive here and are verified by its secret. `more` says what else it is.
    pub async fn endpoint(&self, app: &ApplicationOut, more: impl FnOnce(&mut EndpointIn)) -> EndpointOut {
        let mut given = EndpointIn::new(self.url.clone());
        given.secret = Some(new_secret());
        more(&mut given);
        self.verify_by(given.secret.iter().filter(|secret| secret.starts_with("whsec_")).cloned());
        crate::svix().endpoint().create(app.id.clone(), given, None).await.unwrap()
    }

    /// From now on, each of these secrets must verify what arrives.
    pub fn verify_by(&self, secrets: impl IntoIterator<Item = String>) {
        *self.shared.secrets.lock().unwrap() = secrets.into_iter().collect();
    }

    /// Those that verify now.
    pub fn secrets(&self) -> Vec<String> {
        self.shared.secrets.lock().unwrap().clone()
    }

    /// Waits until `count` webhooks have arrived, each verified, and gives them.
    pub async fn wait(&self, count: usize) -> Vec<Hook> {
        let mut arrived = self.shared.arrived.subscribe();
        let enough = arrived.wait_for(|hooks| hooks.len() >= count);
        let hooks = match timeout(Duration::from_secs(10), enough).await {
            Ok(hooks) => hooks.unwrap().clone(),
            Err(_) => panic!("{} of {count} webhooks arrived", self.shared.arrived.borrow().len()),
        };
        assert_eq!(*self.shared.faults.lock().unwrap(), Vec::<String>::new());
        hooks
    }

    /// As [`wait`](Self::wait), but gives the messages' ids, sorted.
    pub async fn ids(&self, count: usize) -> Vec<String> {
        let mut ids: Vec<String> = self.wait(count).await.iter().map(Hook::id).collect();
        ids.sort();
        ids
    }
}

async fn take(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let hook = Hook { headers: parts.headers, body: body.collect().await.unwrap().to_bytes() };
    let secrets = shared.secrets.lock().unwrap().clone();
    let faults: Vec<String> = secrets.iter().filter_map(|secret| check(secret, &hook).err()).collect();
    let (status, headers, text) = if faults.is_empty() {
        (shared.answer)(shared.arrived.borrow().len(), &hook)
    } else {
        // Not taken, so that a test sees it even if it only looks at how attempts ended.
        (400, &[][..], faults.join(", "))
    };
    shared.faults.lock().unwrap().extend(faults);
    shared.arrived.send_modify(|hooks| hooks.push(hook));
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status.try_into().unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Verifies a webhook by both families of headers, and sees that the same verifiers refuse a changed one.
fn check(secret: &str, hook: &Hook) -> Result<(), String> {
    let told = |error: &dyn std::error::Error| format!("{}: {error}", hook.id());
    for family in ["svix", "webhook"] {
        let mut signed = HeaderMap::new();
        let mut standard = HeaderMap::new();
        for name in ["id", "timestamp", "signature"] {
            let value = HeaderValue::from_str(hook.header(&format!("{family}-{name}"))).unwrap();
            signed.insert(http::HeaderName::try_from(format!("{family}-{name}")).unwrap(), value.clone());
            standard.insert(http::HeaderName::try_from(format!("webhook-{name}")).unwrap(), value);
        }
        let verifier = svix::Webhook::new(secret).map_err(|e| told(&e))?;
        verifier.verify(&hook.body, &signed).map_err(|e| told(&e))?;
        let verifier = standardwebhooks::Webhook::new(secret).map_err(|e| told(&e))?;
        verifier.verify(&hook.body, &standard).map_err(|e| told(&e))?;
    }
    let changed = Hook { body: [&hook.body, &b" "[..]].concat().into(), ..hook.clone() };
    if is_refused(secret, &changed) { Ok(()) } else { Err(format!("{}: a changed body verifies", hook.id())) }
}

/// Whether both verifiers refuse it for its signature.
pub fn is_refused(secret: &str, hook: &Hook) -> bool {
    let by_svix = svix::Webhook::new(secret).unwrap().verify(&hook.body, &hook.headers);
    let by_standard = standardwebhooks::Webhook::new(secret).unwrap().verify(&hook.body, &hook.headers);
    matches!(by_svix, Err(svix::webhooks::WebhookError::InvalidSignature))
        && matches!(by_standard, Err(standardwebhooks::WebhookError::InvalidSignature))
}

/// Random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let seed = Seed::generate();
    std::array::from_fn(|n| seed[n])
}

/// A secret for HMAC.
pub fn new_secret() -> String {
    format!("whsec_{}", BASE64.encode(random::<32>()))
}

/// A secret for ed25519, and what verifies with it.
pub fn new_key_pair() -> (String, String) {
    let pair = KeyPair::from_seed(Seed::generate());
    let secret = [pair.sk.seed().as_ref(), pair.pk.as_ref()].concat();
    (format!("whsk_{}", BASE64.encode(secret)), format!("whpk_{}", BASE64.encode(pair.pk.as_ref())))
}

/// How many `v1a` signatures of a webhook a public key (`whpk_...`) verifies.
pub fn ed25519_signatures(public_key: &str, hook: &Hook) -> usize {
    let raw = BASE64.decode(public_key.strip_prefix("whpk_").unwrap()).unwrap();
    let key = PublicKey::from_slice(&raw).unwrap();
    let before = format!("{}.{}.", hook.id(), hook.header("webhook-timestamp"));
    let signed = [before.as_bytes(), &hook.body].concat();
    let signatures = hook.header("webhook-signature").split(' ').filter_map(|text| text.strip_prefix("v1a,"));
    signatures
        .map(|text| Signature::from_slice(&BASE64.decode(text).unwrap()).unwrap())
        .filter(|signature| key.verify(&signed, signature).is_ok())
        .count()
}
