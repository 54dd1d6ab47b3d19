use pushpull_sdk_tests::{NOWHERE, client, hello, invalid, new_app, refused, set, svix, unique};
use svix::{
    api::{AuthenticationAppPortalAccessOptions, AuthenticationLogoutOptions},
    models::{AppPortalAccessIn, AppPortalCapability, ApplicationIn, EndpointIn},
};

#[tokio::test]
async fn health_answers_without_a_body() {
    svix().health().get().await.unwrap();
    client("no-key-at-all".into()).health().get().await.unwrap();
}

#[tokio::test]
async fn an_unknown_key_is_refused() {
    let list = client("testsk_unknown".into()).application().list(None).await;
    refused(list, 401, "authentication_failed");
}

#[tokio::test]
async fn app_portal_access_gives_a_key_that_sees_one_application() {
    let (mine, other) = (new_app().await.id, new_app().await.id);
    let given = AppPortalAccessIn { expiry: Some(3_600), ..AppPortalAccessIn::new() };
    let access = svix().authentication().app_portal_access(mine.clone(), given, None).await.unwrap();
    assert!(access.url.contains(&access.token));
    let visitor = client(access.token);
    let endpoint =
        visitor.endpoint().create(mine.clone(), EndpointIn::new(NOWHERE.into()), None).await.unwrap();
    assert_eq!(visitor.endpoint().list(mine.clone(), None).await.unwrap().data, [endpoint]);
    refused(visitor.endpoint().list(other, None).await, 404, "not_found");
    refused(visitor.application().list(None).await, 403, "insufficient_scope");
    refused(visitor.message().create(mine, hello(), None).await, 403, "insufficient_scope");
}

#[tokio::test]
async fn app_portal_access_makes_the_application_it_is_told_of() {
    let uid = unique("uid");
    let portal = |given| async { svix().authentication().app_portal_access(uid.clone(), given, None).await };
    refused(portal(AppPortalAccessIn::new()).await, 404, "not_found");
    let application = ApplicationIn { uid: Some(uid.clone()), ..ApplicationIn::new("for a portal".into()) };
    portal(AppPortalAccessIn { application: Some(application), ..AppPortalAccessIn::new() }).await.unwrap();
    assert_eq!(svix().application().get(uid.clone()).await.unwrap().name, "for a portal");
}

#[tokio::test]
async fn app_portal_access_with_the_same_idempotency_key_gives_one_key() {
    let (app, key) = (new_app().await.id, unique("key"));
    let portal = || async {
        let options = Some(AuthenticationAppPortalAccessOptions { idempotency_key: Some(key.clone()) });
        let given = AppPortalAccessIn::new();
        svix().authentication().app_portal_access(app.clone(), given, options).await.unwrap().token
    };
    assert_eq!(portal().await, portal().await);
}

#[tokio::test]
async fn app_portal_access_refuses_by_name_what_it_does_not_do_yet() {
    let app = new_app().await.id;
    let portal = |given| async { svix().authentication().app_portal_access(app.clone(), given, None).await };
    let capabilities = Some([AppPortalCapability::ViewBase].into());
    let given = AppPortalAccessIn { capabilities, ..AppPortalAccessIn::new() };
    invalid(portal(given).await, &["body", "capabilities"]);
    let given = AppPortalAccessIn { feature_flags: set(&["beta"]), ..AppPortalAccessIn::new() };
    invalid(portal(given).await, &["body", "featureFlags"]);
    let given = AppPortalAccessIn { session_id: Some("s".into()), ..AppPortalAccessIn::new() };
    invalid(portal(given).await, &["body", "sessionId"]);
    let given = AppPortalAccessIn { expiry: Some(60), ..AppPortalAccessIn::new() };
    invalid(portal(given).await, &["body", "expiry"]);
}

#[tokio::test]
async fn logout_ends_a_portals_key_and_no_other() {
    let app = new_app().await.id;
    let given = AppPortalAccessIn::new();
    let access = svix().authentication().app_portal_access(app.clone(), given, None).await.unwrap();
    let visitor = client(access.token);
    visitor.endpoint().list(app.clone(), None).await.unwrap();
    let options = AuthenticationLogoutOptions { idempotency_key: Some(unique("key")) };
    visitor.authentication().logout(Some(options)).await.unwrap();
    refused(visitor.endpoint().list(app, None).await, 401, "authentication_failed");
    refused(svix().authentication().logout(None).await, 400, "not_a_portal_key");
}
