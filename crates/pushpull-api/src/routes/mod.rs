//! Every route in one table, in reading order.

pub mod app;
pub mod attempt;
pub mod audit;
pub mod auth;
pub mod consumer;
pub mod destination;
pub mod endpoint;
pub mod endpoint_headers;
pub mod endpoint_secret;
pub mod endpoint_send;
pub mod event_type;
pub mod health;
pub mod message;
pub mod poller;
pub mod poller_token;

use crate::{
    auth::Need,
    models::{
        attempt_out::AttemptOut,
        destination_in::{DestinationIn, DestinationPatch},
        destination_out::DestinationOut,
        endpoint_in::EndpointIn,
        endpoint_message_out::EndpointMessageOut,
        endpoint_out::{EndpointOut, MessageEndpointOut},
        endpoint_patch::EndpointPatch,
        message_in::MessageIn,
        message_out::MessageOut,
    },
    paging::ListOut,
    route::{Route, delete, get, patch, post, put},
    routes::consumer::{lease, settings, work},
};

const APP: &str = "/app/{app_id}";
const ENDPOINT: &str = "/app/{app_id}/endpoint/{endpoint_id}";
const DESTINATION: &str = "/app/{app_id}/destination/{destination_id}";
const SINK: &str = "/app/{app_id}/poller/{sink_id}";
const CONSUMER: &str = "/app/{app_id}/poller/{sink_id}/consumer/{consumer_id}";
const LEASED: &str = "/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}";
const MESSAGE: &str = "/app/{app_id}/msg/{msg_id}";

/// The table. Paths are below `/api/v1`.
pub(crate) fn all() -> impl Iterator<Item = Route> {
    [
        applications(),
        endpoints(),
        destinations(),
        messages(),
        attempts(),
        feed(),
        consumers(),
        work_queues(),
        event_types(),
        authentication(),
        health_checks(),
    ]
    .into_iter()
    .flatten()
}

fn at(base: &str, rest: &str) -> String {
    format!("{base}{rest}")
}

#[rustfmt::skip]
fn applications() -> Vec<Route> {
    vec![
        get("/app", "v1.application.list", app::list)
            .says("Lists applications").takes(Need::Environment).query::<app::ListQuery>().gives::<ListOut<app::ApplicationOut>>(200),
        post("/app", "v1.application.create", app::create)
            .says("Makes an application").takes(Need::Admin).query::<app::CreateQuery>().body::<app::ApplicationIn>()
            .gives::<app::ApplicationOut>(201).gives::<app::ApplicationOut>(200),
        get(APP, "v1.application.get", app::get)
            .says("Shows an application").takes(Need::Catalog).gives::<app::ApplicationOut>(200),
        put(APP, "v1.application.upsert", app::upsert)
            .says("Replaces an application, or makes it").takes(Need::Admin).body::<app::ApplicationIn>()
            .gives::<app::ApplicationOut>(200).gives::<app::ApplicationOut>(201),
        patch(APP, "v1.application.patch", app::patch)
            .says("Changes an application").takes(Need::Admin).body::<app::ApplicationPatch>().gives::<app::ApplicationOut>(200),
        delete(APP, "v1.application.delete", app::delete)
            .says("Deletes an application with all that it has").takes(Need::Admin).gives_nothing(204),
    ]
}

#[rustfmt::skip]
fn endpoints() -> Vec<Route> {
    vec![
        get(at(APP, "/endpoint"), "v1.endpoint.list", endpoint::list)
            .says("Lists an application's endpoints").takes(Need::Read).query::<endpoint::ListQuery>().gives::<ListOut<EndpointOut>>(200),
        post(at(APP, "/endpoint"), "v1.endpoint.create", endpoint::create)
            .says("Makes an endpoint").takes(Need::Configure).body::<EndpointIn>().gives::<EndpointOut>(201),
        get(ENDPOINT, "v1.endpoint.get", endpoint::get)
            .says("Shows an endpoint").takes(Need::Read).gives::<EndpointOut>(200),
        put(ENDPOINT, "v1.endpoint.upsert", endpoint::upsert)
            .says("Replaces an endpoint, or makes it").takes(Need::Configure).body::<EndpointIn>()
            .gives::<EndpointOut>(200).gives::<EndpointOut>(201),
        patch(ENDPOINT, "v1.endpoint.patch", endpoint::patch)
            .says("Changes an endpoint").takes(Need::Configure).body::<EndpointPatch>().gives::<EndpointOut>(200),
        delete(ENDPOINT, "v1.endpoint.delete", endpoint::delete)
            .says("Deletes an endpoint").takes(Need::Configure).gives_nothing(204),
        get(at(ENDPOINT, "/secret"), "v1.endpoint.get-secret", endpoint_secret::get)
            .says("Shows what the receiver verifies with").takes(Need::Configure).gives::<endpoint_secret::EndpointSecretOut>(200),
        post(at(ENDPOINT, "/secret/rotate"), "v1.endpoint.rotate-secret", endpoint_secret::rotate)
            .says("Puts a new secret in place; the old one signs along for a while").takes(Need::Configure)
            .body::<endpoint_secret::EndpointSecretRotateIn>().gives::<endpoint_secret::EndpointSecretOut>(200),
        get(at(ENDPOINT, "/headers"), "v1.endpoint.get-headers", endpoint_headers::get)
            .says("Shows custom headers").takes(Need::Read).gives::<endpoint_headers::EndpointHeadersOut>(200),
        put(at(ENDPOINT, "/headers"), "v1.endpoint.set-headers", endpoint_headers::set)
            .says("Replaces custom headers").takes(Need::Configure).body::<endpoint_headers::EndpointHeadersIn>().gives_nothing(204),
        patch(at(ENDPOINT, "/headers"), "v1.endpoint.patch-headers", endpoint_headers::patch)
            .says("Changes custom headers").takes(Need::Configure).body::<endpoint_headers::EndpointHeadersPatchIn>().gives_nothing(204),
        get(at(ENDPOINT, "/stats"), "v1.endpoint.get-stats", endpoint_send::stats)
            .says("Counts deliveries by how they stand").takes(Need::Read)
            .query::<endpoint_send::StatsQuery>().gives::<endpoint_send::EndpointStats>(200),
        get(at(ENDPOINT, "/audit"), "v1.endpoint.audit", audit::audit)
            .says("Says whether everything has arrived or is still to come").takes(Need::Read)
            .query::<audit::AuditQuery>().gives::<audit::AuditOut>(200),
        post(at(ENDPOINT, "/send-example"), "v1.endpoint.send-example", endpoint_send::send_example)
            .says("Sends an event type's example to one endpoint").takes(Need::Configure)
            .body::<endpoint_send::EventExampleIn>().gives::<MessageOut>(202),
        post(at(ENDPOINT, "/recover"), "v1.endpoint.recover", endpoint_send::recover)
            .says("Sends again what failed since a moment").takes(Need::Configure)
            .body::<endpoint_send::RecoverIn>().gives::<endpoint_send::RecoverOut>(202),
    ]
}

#[rustfmt::skip]
fn destinations() -> Vec<Route> {
    vec![
        get(at(APP, "/destination"), "v1.destination.list", destination::list)
            .says("Lists endpoints that are read, or pushed in order").takes(Need::Read)
            .query::<endpoint::ListQuery>().gives::<ListOut<DestinationOut>>(200),
        post(at(APP, "/destination"), "v1.destination.create", destination::create)
            .says("Makes an endpoint that is read, or pushed in order").takes(Need::Configure)
            .body::<DestinationIn>().gives::<DestinationOut>(201),
        get(DESTINATION, "v1.destination.get", destination::get)
            .says("Shows a destination").takes(Need::Read).gives::<DestinationOut>(200),
        put(DESTINATION, "v1.destination.upsert", destination::upsert)
            .says("Replaces a destination, or makes it").takes(Need::Configure).body::<DestinationIn>()
            .gives::<DestinationOut>(200).gives::<DestinationOut>(201),
        patch(DESTINATION, "v1.destination.patch", destination::patch)
            .says("Changes a destination").takes(Need::Configure).body::<DestinationPatch>().gives::<DestinationOut>(200),
        delete(DESTINATION, "v1.destination.delete", destination::delete)
            .says("Deletes a destination").takes(Need::Configure).gives_nothing(204),
        post(at(DESTINATION, "/secret/rotate"), "v1.destination.rotate-secret", destination::rotate_secret)
            .says("Puts a new secret in place; the old one signs along for a while").takes(Need::Configure)
            .body::<endpoint_secret::EndpointSecretRotateIn>().gives::<endpoint_secret::EndpointSecretOut>(200),
    ]
}

#[rustfmt::skip]
fn messages() -> Vec<Route> {
    vec![
        get(at(APP, "/msg"), "v1.message.list", message::list)
            .says("Lists an application's messages, newest first").takes(Need::Read)
            .query::<message::ListQuery>().gives::<ListOut<MessageOut>>(200),
        post(at(APP, "/msg"), "v1.message.create", message::create).idempotent_by_itself()
            .says("Sends a message").takes(Need::Send).query::<message::ShowQuery>().body::<MessageIn<'_>>().gives::<MessageOut>(202),
        get(MESSAGE, "v1.message.get", message::get)
            .says("Shows a message").takes(Need::Read).query::<message::ShowQuery>().gives::<MessageOut>(200),
        delete(at(MESSAGE, "/content"), "v1.message.expunge-content", message::expunge)
            .says("Erases a message's payload; what is owed of it is cancelled").takes(Need::Admin).gives_nothing(204),
    ]
}

#[rustfmt::skip]
fn attempts() -> Vec<Route> {
    vec![
        get(at(ENDPOINT, "/msg"), "v1.message-attempt.list-attempted-messages", attempt::list_messages)
            .says("Lists an endpoint's messages and how they stand, newest first").takes(Need::Read)
            .query::<attempt::MessagesQuery>().gives::<ListOut<EndpointMessageOut>>(200),
        get(at(MESSAGE, "/endpoint"), "v1.message-attempt.list-attempted-destinations", attempt::list_destinations)
            .says("Lists a message's endpoints and how it stands with them").takes(Need::Read)
            .query::<attempt::DestinationsQuery>().gives::<ListOut<MessageEndpointOut>>(200),
        get(at(APP, "/attempt/endpoint/{endpoint_id}"), "v1.message-attempt.list-by-endpoint", attempt::list_by_endpoint)
            .says("Lists the attempts made at an endpoint, newest first").takes(Need::Read)
            .query::<attempt::ListQuery>().gives::<ListOut<AttemptOut>>(200),
        get(at(APP, "/attempt/msg/{msg_id}"), "v1.message-attempt.list-by-msg", attempt::list_by_message)
            .says("Lists the attempts made for a message, newest first").takes(Need::Read)
            .query::<attempt::ListQuery>().gives::<ListOut<AttemptOut>>(200),
        get(at(MESSAGE, "/attempt/{attempt_id}"), "v1.message-attempt.get", attempt::get)
            .says("Shows an attempt").takes(Need::Read).query::<attempt::ShowQuery>().gives::<AttemptOut>(200),
        delete(at(MESSAGE, "/attempt/{attempt_id}/content"), "v1.message-attempt.expunge-content", attempt::expunge)
            .says("Erases what was answered").takes(Need::Configure).gives_nothing(204),
        post(at(MESSAGE, "/endpoint/{endpoint_id}/resend"), "v1.message-attempt.resend", attempt::resend)
            .says("Sends a message to an endpoint again").takes(Need::Configure).gives::<endpoint_send::EmptyResponse>(202),
        get(at(MESSAGE, "/attempt"), "v1.message-attempt.list-by-msg-deprecated", attempt::list_by_message).deprecated()
            .says("The older path of /attempt/msg/{msg_id}").takes(Need::Read).query::<attempt::ListQuery>().gives::<ListOut<AttemptOut>>(200),
        get(at(MESSAGE, "/endpoint/{endpoint_id}/attempt"), "v1.message-attempt.list-by-endpoint-deprecated", attempt::list_by_both).deprecated()
            .says("The attempts of a message at one endpoint").takes(Need::Read).query::<attempt::ListQuery>().gives::<ListOut<AttemptOut>>(200),
    ]
}

#[rustfmt::skip]
fn feed() -> Vec<Route> {
    vec![
        get(SINK, "v1.message.poller.poll", poller::poll)
            .says("Reads an endpoint's queue: a page, or, by the `Accept` header, server-sent events or lines of JSON").takes(Need::Poll)
            .query::<poller::PollQuery>().gives::<poller::PollOut>(200),
    ]
}

#[rustfmt::skip]
fn consumers() -> Vec<Route> {
    vec![
        get(at(SINK, "/consumer"), "v1.message.poller.consumer-list", settings::list)
            .says("Lists the named readers of an endpoint's queue").takes(Need::Poll).query::<settings::ListQuery>()
            .gives::<ListOut<settings::ConsumerOut>>(200),
        get(CONSUMER, "v1.message.poller.consumer-poll", consumer::poll::poll)
            .says("Reads an endpoint's queue as a named reader, whose place is kept").takes(Need::Consume)
            .query::<consumer::poll::ConsumerPollQuery>().gives::<consumer::poll::ConsumerPollOut>(200),
        put(CONSUMER, "v1.message.poller.consumer-upsert", settings::put)
            .says("Makes a named reader, or sets it up").takes(Need::Configure).body::<settings::ConsumerIn>()
            .gives::<settings::ConsumerOut>(200).gives::<settings::ConsumerOut>(201),
        delete(CONSUMER, "v1.message.poller.consumer-delete", settings::delete)
            .says("Forgets a named reader and its place").takes(Need::Configure).gives_nothing(204),
        get(at(CONSUMER, "/status"), "v1.message.poller.consumer-status", settings::status)
            .says("Shows how far a named reader is, and how far behind").takes(Need::Poll).gives::<settings::StatusOut>(200),
        post(at(CONSUMER, "/seek"), "v1.message.poller.consumer-seek", consumer::poll::seek).idempotent_by_itself()
            .says("Puts a named reader to another place").takes(Need::Consume)
            .body::<consumer::poll::SeekIn>().gives::<consumer::poll::SeekOut>(200),
        get(LEASED, "v1.message.pollerv2.consumer-poll", lease::receive)
            .says("Hands out an endpoint's queue under a lease; what is not committed comes back").takes(Need::Consume)
            .query::<lease::ReceiveQuery>().gives::<lease::ReceiveOut>(200),
        post(at(LEASED, "/commit"), "v1.message.pollerv2.consumer-commit", lease::commit).idempotent_by_itself()
            .says("Says up to where everything was handled").takes(Need::Consume)
            .query::<lease::CommitQuery>().body::<lease::CommitIn>().gives_nothing(204),
    ]
}

#[rustfmt::skip]
fn work_queues() -> Vec<Route> {
    vec![
        post(at(CONSUMER, "/pull"), "v1.message.poller.consumer-pull", work::pull).idempotent_by_itself()
            .says("Takes items of a queue that many workers share").takes(Need::Consume)
            .body::<work::PullIn>().gives::<work::PullOut>(200),
        post(at(CONSUMER, "/ack"), "v1.message.poller.consumer-ack", work::ack).idempotent_by_itself()
            .says("Answers for items that were taken: done, not done, still at work").takes(Need::Consume)
            .body::<work::AckIn>().gives::<work::AckOut>(200),
        get(at(CONSUMER, "/parked"), "v1.message.poller.consumer-parked", work::parked)
            .says("Lists items that are handed out no more").takes(Need::Poll)
            .query::<work::ParkedQuery>().gives::<ListOut<work::ItemOut>>(200),
        post(at(CONSUMER, "/replay"), "v1.message.poller.consumer-replay", work::replay).idempotent_by_itself()
            .says("Puts parked items back").takes(Need::Consume)
            .body::<work::ReplayIn>().gives::<work::ReplayOut>(200),
    ]
}

#[rustfmt::skip]
fn event_types() -> Vec<Route> {
    vec![
        get("/event-type", "v1.event-type.list", event_type::list)
            .says("Lists event types by name").takes(Need::Catalog)
            .query::<event_type::ListQuery>().gives::<ListOut<event_type::EventTypeOut<'_>>>(200),
        post("/event-type", "v1.event-type.create", event_type::create)
            .says("Makes an event type, or brings back an archived one").takes(Need::Admin)
            .body::<event_type::EventTypeIn>().gives::<event_type::EventTypeOut<'_>>(201),
        get("/event-type/{event_type_name}", "v1.event-type.get", event_type::get)
            .says("Shows an event type").takes(Need::Catalog).gives::<event_type::EventTypeOut<'_>>(200),
        put("/event-type/{event_type_name}", "v1.event-type.upsert", event_type::upsert)
            .says("Replaces an event type, or makes it").takes(Need::Admin).body::<event_type::EventTypeUpsertIn>()
            .gives::<event_type::EventTypeOut<'_>>(200).gives::<event_type::EventTypeOut<'_>>(201),
        patch("/event-type/{event_type_name}", "v1.event-type.patch", event_type::patch)
            .says("Changes an event type").takes(Need::Admin)
            .body::<event_type::EventTypePatch>().gives::<event_type::EventTypeOut<'_>>(200),
        delete("/event-type/{event_type_name}", "v1.event-type.delete", event_type::delete)
            .says("Archives an event type, or removes it for good").takes(Need::Admin)
            .query::<event_type::DeleteQuery>().gives_nothing(204),
    ]
}

#[rustfmt::skip]
fn authentication() -> Vec<Route> {
    vec![
        post("/auth/app-portal-access/{app_id}", "v1.authentication.app-portal-access", auth::app_portal_access)
            .says("Gives an application's portal a key").takes(Need::Admin)
            .body::<auth::AppPortalAccessIn>().gives::<auth::AppPortalAccessOut>(200),
        post("/auth/dashboard-access/{app_id}", "v1.authentication.dashboard-access", auth::dashboard_access).deprecated()
            .says("The older path of app-portal-access").takes(Need::Admin).gives::<auth::AppPortalAccessOut>(200),
        get("/auth/app/{app_id}/poller/{endpoint_id}/token", "v1.authentication.get-poller-token", poller_token::get)
            .says("Shows the token that reads an endpoint's queue, made on first asking").takes(Need::Configure)
            .gives::<poller_token::ApiTokenOut>(200),
        post("/auth/app/{app_id}/poller/{endpoint_id}/token/rotate", "v1.authentication.rotate-poller-token", poller_token::rotate)
            .says("Puts a new token in place; those before stay valid for a while").takes(Need::Configure)
            .body::<poller_token::RotatePollerTokenIn>().gives::<poller_token::ApiTokenOut>(201),
        post("/auth/logout", "v1.authentication.logout", auth::logout).idempotent_by_itself()
            .says("Ends the portal's key that is shown").takes(Need::Catalog).gives_nothing(204),
    ]
}

#[rustfmt::skip]
fn health_checks() -> Vec<Route> {
    vec![
        get("/health", "v1.health.get", health::get).says("Whether the store answers").gives_nothing(204),
        get("/health/ping", "v1.health.ping", health::ping).says("Whether the server answers").gives_nothing(204),
    ]
}
