//! Which queue is read: a given endpoint's, or that of a pull endpoint of its own, made on first use.

use anyhow::{Context, Result, bail, ensure};
use pushpull_domain::{
    Secrets, Uid,
    signature::{Secret, SignatureType, Signer},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Listen, say::Say};
use crate::{
    chance::SystemChance,
    commands::{
        Ending,
        remote::{Application, Server},
    },
};

/// What the name of an endpoint of its own begins with.
const OWN: &str = "listen-";

/// A queue that can be read and signed for.
pub(super) struct Queue {
    /// Where it is read, below the API.
    pub(super) path: String,
    /// What people call it.
    pub(super) called: String,
    pub(super) signer: Signer,
    /// What signatures are verified with.
    pub(super) secret: String,
}

/// An endpoint, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    id: String,
    uid: Option<String>,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    event_types: Option<Vec<String>>,
}

impl Queue {
    /// Finds it, or makes it.
    pub(super) async fn find(asked: &Listen, server: &mut Server, say: &Say) -> Result<Self> {
        let app = server.application(asked.app.as_ref()).await?;
        let at = format!("/app/{}/endpoint", app.id);
        let endpoint = match &asked.endpoint {
            Some(name) => {
                let found = server.get(&format!("{at}/{name}")).await?;
                found.with_context(|| format!("there is no endpoint {name} in {}", app.called()))?
            }
            None => own(asked, &app, &at, server, say).await?,
        };
        let called = format!("{}/{}", app.called(), endpoint.uid.as_ref().unwrap_or(&endpoint.id));
        if endpoint.disabled {
            say.state("note", format!("{called} is disabled: it gets no messages until it is enabled"));
        }
        let secret = secret(&at, &endpoint, server).await?;
        let signer = match Secret::parse(&secret) {
            Ok(secret) => Signer::new(&Secrets::new(secret)),
            Err(_) => bail!(
                "{called} signs with ed25519, whose private half never leaves the server: leave --endpoint out for an \
                 endpoint of its own"
            ),
        };
        Ok(Self { path: format!("/app/{}/poller/{}", app.id, endpoint.id), called, signer, secret })
    }
}

/// The endpoint of its own, as it is or made now, with the filter that is asked for.
async fn own(
    asked: &Listen,
    app: &Application,
    at: &str,
    server: &mut Server,
    say: &Say,
) -> Result<Endpoint> {
    let uid = Uid::new(&format!("{OWN}{}", asked.consumer)).map_err(|error| {
        Ending::usage(format!("--consumer: an endpoint's uid is made of it, and that {error}"))
    })?;
    let wanted =
        asked.events.as_ref().map(|events| events.iter().map(ToString::to_string).collect::<Vec<_>>());
    let path = format!("{at}/{uid}");
    let Some(found) = server.get::<Endpoint>(&path).await? else {
        let made = make(&uid, wanted.as_deref(), at, server).await?;
        say.state(
            "made",
            format!(
                "pull endpoint {uid} in {}, which gets what is sent from now on; when it is not needed any more: DELETE \
                 /api/v1/app/{}/endpoint/{uid}",
                app.called(),
                app.called(),
            ),
        );
        return Ok(made);
    };
    ensure!(
        found.mode.as_deref() == Some("pull"),
        "the endpoint {uid} is not one of `pushpull listen`, since it is not pulled: name another with --consumer"
    );
    let as_set = |types: &Option<Vec<String>>| {
        types.as_ref().map(|types| types.iter().cloned().collect::<std::collections::BTreeSet<_>>())
    };
    if as_set(&found.event_types) != as_set(&wanted) {
        server.patch(&path, &json!({"eventTypes": wanted})).await?;
        let types = wanted.map_or_else(|| "all event types".to_owned(), |wanted| wanted.join(", "));
        say.state("note", format!("{uid} gets {types} from now on"));
    }
    Ok(found)
}

async fn make(uid: &Uid, event_types: Option<&[String]>, at: &str, server: &mut Server) -> Result<Endpoint> {
    // Given, since a server that makes ed25519 pairs keeps the half that signs.
    let secret = Secret::generate(SignatureType::Hmac256, &SystemChance).to_text();
    let body = json!({
        "uid": uid,
        "mode": "pull",
        "description": "made by pushpull listen",
        "eventTypes": event_types,
        "secret": secret,
    });
    server.post(at, body.to_string()).await
}

async fn secret(at: &str, endpoint: &Endpoint, server: &mut Server) -> Result<String> {
    let answer: Option<Value> = server.get(&format!("{at}/{}/secret", endpoint.id)).await?;
    let key = answer.as_ref().and_then(|answer| answer["key"].as_str());
    key.map(str::to_owned).context("the server tells no secret of the endpoint")
}
