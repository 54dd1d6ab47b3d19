//! Being told to stop.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::Home;

/// A stop with nothing in flight: far less than the 25 s that requests under way would get.
const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_for_nothing_does_not_delay_a_stop() {
    let server = Home::new().start().await;
    let mut used = server.client();
    used.get("/api/v1/health/ping").await.expect(204);
    let _unused = tokio::net::TcpSocket::new_v4().unwrap().connect(server.address).await.unwrap();
    let told = Instant::now();
    server.stop().await;
    assert!(told.elapsed() < AT_ONCE, "stopped after {:?}", told.elapsed());
}
