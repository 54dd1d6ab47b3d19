//! When a connection is used again, and when not.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::receiver::*;
use crate::client::*;

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    for answer in [
        OK,
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let receiver = Receiver::saying(answer).await;
        let client = client();
        for _ in 0..10 {
            post(&client, &receiver.target()).await.unwrap();
        }
        assert_eq!((receiver.connections(), client.idle_connections()), (1, 1), "{answer:?}");
    }
}

#[tokio::test]
async fn a_connection_that_must_not_be_used_again_is_not() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        // More than was announced: the surplus would be taken for the next answer.
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more",
        "HTTP/1.1 204 No Content\r\n\r\nbody",
        "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nlie",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        let receiver = Receiver::saying(answer).await;
        let client = client();
        for n in 1..=3 {
            post(&client, &receiver.target()).await.unwrap();
            assert_eq!((receiver.connections(), client.idle_connections()), (n, 0), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn targets_of_one_origin_share_connections_and_others_do_not() {
    let receiver = Receiver::saying(OK).await;
    let client = client();
    for url in ["127.0.0.1:PORT/a", "127.1:PORT/b", "localhost:PORT/a"] {
        let url = format!("http://{}", url.replace("PORT", &receiver.port().to_string()));
        post(&client, &Target::parse(&url).unwrap()).await.unwrap();
    }
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_request() {
    let receiver = Receiver::saying_and_closing(OK).await;
    let client = client();
    for _ in 0..10 {
        assert_eq!(post(&client, &receiver.target()).await.unwrap().status, 200);
    }
    assert_eq!(receiver.connections(), 10);
}

#[tokio::test]
async fn a_connection_reset_as_it_is_used_again_is_replaced_at_once() {
    let receiver = Receiver::start(|number, mut peer| async move {
        peer.read_request().await;
        peer.say(OK).await;
        let request = peer.read_request().await;
        if number == 0 {
            peer.reset();
        } else if request.is_some_and(|text| text.ends_with("{\"a\":1}")) {
            peer.say(OK).await;
        }
    })
    .await;
    let client = client();
    for _ in 0..3 {
        assert_eq!(post(&client, &receiver.target()).await.unwrap().status, 200);
    }
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn the_request_sent_again_is_the_same_request() {
    let receiver = Receiver::start(|number, mut peer| async move {
        let request = peer.read_request().await.unwrap_or_default();
        let same = request.contains("webhook-id: msg_1\r\n") && request.ends_with("\r\n\r\nhello");
        peer.say(if same { OK } else { "HTTP/1.1 400 x\r\ncontent-length: 0\r\n\r\n" }).await;
        // Takes the second request of the first connection, and goes.
        if number == 0 {
            peer.read_request().await;
        } else {
            silence().await;
        }
    })
    .await;
    let (client, target) = (client(), receiver.target());
    for _ in 0..2 {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("webhook-id"),
            HeaderValue::from_static("msg_1"),
        )]);
        let request =
            Request { target: &target, headers: &|| headers.clone(), body: &Bytes::from_static(b"hello") };
        assert_eq!(client.send(request).await.unwrap().status, 200);
    }
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_request_is_sent_again_only_once() {
    let receiver = Receiver::start(|number, mut peer| async move {
        peer.read_request().await;
        if number == 0 {
            peer.say(OK).await;
            peer.read_request().await;
        }
    })
    .await;
    let client = client();
    post(&client, &receiver.target()).await.unwrap();
    assert_eq!(class(post(&client, &receiver.target()).await), ErrorClass::ConnectionClosed);
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_request_whose_answer_has_begun_is_not_sent_again() {
    let receiver = Receiver::start(|_, mut peer| async move {
        peer.read_request().await;
        peer.say(OK).await;
        peer.read_request().await;
        peer.say("HTTP/1.1 2").await;
    })
    .await;
    let client = client();
    post(&client, &receiver.target()).await.unwrap();
    assert_eq!(class(post(&client, &receiver.target()).await), ErrorClass::ConnectionClosed);
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_request_that_timed_out_is_not_sent_again() {
    let receiver = Receiver::start(|_, mut peer| async move {
        peer.read_request().await;
        peer.say(OK).await;
        silence().await;
    })
    .await;
    let client = hasty_client();
    post(&client, &receiver.target()).await.unwrap();
    assert_eq!(class(post(&client, &receiver.target()).await), ErrorClass::Timeout);
    assert_eq!((receiver.connections(), client.idle_connections()), (1, 0));
}

#[tokio::test]
async fn many_requests_at_once_use_few_connections_and_get_their_own_answers() {
    let receiver = Receiver::start(|_, mut peer| async move {
        while let Some(request) = peer.read_request().await {
            let body = request.rsplit("\r\n").next().unwrap_or_default();
            peer.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        }
    })
    .await;
    let (client, target) = (client(), receiver.target());
    let wrong = AtomicUsize::new(0);
    join_all((0..640).map(|n| {
        let (client, target, wrong) = (&client, &target, &wrong);
        async move {
            let body = Bytes::from(format!("number {n}"));
            let answer =
                client.send(Request { target, headers: &HeaderMap::new, body: &body }).await.unwrap();
            wrong.fetch_add(usize::from(answer.body != body), Ordering::Relaxed);
        }
    }))
    .await;
    assert_eq!(wrong.into_inner(), 0);
    assert!(receiver.connections() <= 320, "{} connections", receiver.connections());
}

#[tokio::test]
async fn a_dropped_request_drops_its_connection() {
    use futures_util::FutureExt;
    let receiver = Receiver::saying(OK).await;
    let (client, target) = (client(), receiver.target());
    post(&client, &target).await.unwrap();
    assert!(post(&client, &target).now_or_never().is_none());
    assert_eq!(client.idle_connections(), 0);
    post(&client, &target).await.unwrap();
    assert_eq!(receiver.connections(), 2);
}

/// The promise of the link module: a wake-up for the answer, and none between tasks. A body costs one more,
/// by which hyper's body asks its connection for the next piece; the request after it gets to see that.
#[tokio::test]
async fn a_request_over_a_kept_connection_is_polled_twice() {
    for (answer, polls_max) in [("HTTP/1.1 204 No Content\r\n\r\n", 2), (OK, 3)] {
        let receiver = Receiver::saying(answer).await;
        let (client, target) = (client(), receiver.target());
        post(&client, &target).await.unwrap();
        for _ in 0..5 {
            let mut request = std::pin::pin!(post(&client, &target));
            let mut polls = 0;
            std::future::poll_fn(|cx| {
                polls += 1;
                request.as_mut().poll(cx)
            })
            .await
            .unwrap();
            assert!(polls <= polls_max, "{polls} for {answer:?}");
        }
    }
}
