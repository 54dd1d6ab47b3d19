//! An endpoint's deliveries, as they are asked for.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{DeliveryKey, Endpoint, EndpointNo, Message, Seq};
use pushpull_store::{
    DeliveryCounts, MessageFilter, PageQuery, codec,
    conformance::fixture::{all, first_page, message},
    gather::LOOKED_MAX,
};
use tokio_postgres::Client;

use crate::{nodes::node, support::connect};

/// The places of one page, and up to where it looked.
async fn page(
    world: &pushpull_store::conformance::fixture::World,
    endpoint: &Endpoint,
    filter: &MessageFilter,
    page: PageQuery<Seq>,
) -> (Vec<u64>, Option<u64>, bool) {
    let page = world.store.endpoint_deliveries(endpoint.no, None, filter.clone(), page).await.unwrap();
    (page.items.iter().map(|item| item.delivery.key.seq.0).collect(), page.reached, page.done)
}

/// Writes deliveries of a message into a queue, from a place on, that are done.
async fn join(other: &Client, endpoint: EndpointNo, message: &Message, first: u64, count: usize) {
    let key = codec::delivery_key(DeliveryKey { endpoint, seq: Seq(first) });
    let joined = "INSERT INTO delivery (day, key, endpoint, message, message_day, state, trigger, attempts)
                  SELECT m.day, $3 + n, $1, m.key, m.day, 1, 0, 1
                  FROM message m, generate_series(0, $4::bigint - 1) AS n WHERE m.key = $2";
    let no = endpoint.0.cast_signed();
    let count = i64::try_from(count).unwrap();
    other.execute(joined, &[&no, &codec::message_key(message.key), &key, &count]).await.unwrap();
}

/// One page looks at so many deliveries at most, whether their messages are of its time or not.
#[tokio::test]
async fn a_page_of_deliveries_is_bounded_whatever_its_time() {
    let (world, url) = node().await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let old = world.publish(&app, message("old")).await;
    world.clock.advance(Duration::from_secs(1));
    let new = world.publish(&app, message("new")).await;
    let other = connect(&url).await;
    join(&other, endpoint.no, &old, 3, LOOKED_MAX).await;
    join(&other, endpoint.no, &new, 3 + LOOKED_MAX as u64, 1).await;

    let filter = MessageFilter { after: Some(old.created_at), ..all() };
    let first = page(&world, &endpoint, &filter, first_page(9)).await;
    assert_eq!(first, (vec![2], Some(LOOKED_MAX as u64), false));
    let next = PageQuery { beyond: first.1.map(Seq), ..first_page(9) };
    assert_eq!(page(&world, &endpoint, &filter, next).await, (vec![LOOKED_MAX as u64 + 3], None, true));
    let back = PageQuery { order: pushpull_store::Order::Descending, ..first_page(9) };
    let first = page(&world, &endpoint, &filter, back).await;
    assert_eq!(first, (vec![LOOKED_MAX as u64 + 3], Some(4), false));
}

/// Deliveries are counted on whichever day they joined the queue: their messages' time counts.
#[tokio::test]
async fn what_was_sent_by_hand_later_counts_for_its_message() {
    let (world, _) = node().await;
    let app = world.app("one").await;
    let early: Arc<Endpoint> = world.endpoint(&app).await;
    let mut sent = Vec::new();
    for _ in 0..4 {
        sent.push(world.publish(&app, message("x")).await);
        world.clock.advance(Duration::from_hours(24));
    }
    let late = world.endpoint(&app).await;
    for message in &sent[..3] {
        world.store.resend(message.key, late.no).await.unwrap();
        world.clock.advance(Duration::from_hours(24));
    }
    for (first, end, early_has, late_has) in
        [(0, 1, 1, 1), (1, 3, 2, 2), (0, 3, 3, 3), (2, 3, 1, 1), (3, 4, 1, 0), (5, 9, 0, 0)]
    {
        let at = |days: u64| sent[0].created_at.after(Duration::from_hours(24 * days));
        for (endpoint, pending) in [(&early, early_has), (&late, late_has)] {
            let counts = world.store.delivery_counts(endpoint.no, at(first), at(end)).await.unwrap();
            assert_eq!(counts, DeliveryCounts { pending, ..DeliveryCounts::default() }, "{first} to {end}");
        }
    }
}
