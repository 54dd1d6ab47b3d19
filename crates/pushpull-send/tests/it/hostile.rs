//! Receivers that stall, cut, redirect and lie: each attempt ends in time with a class of its own, and nobody
//! else is delayed.

use pushpull_domain::{DeliveryState, attempt::ErrorClass};
use pushpull_testkit::{Hostile, Receiver, Trick};

use crate::support::{World, classes};

fn expected(trick: Trick) -> Option<ErrorClass> {
    match trick {
        Trick::Hang | Trick::DripHead | Trick::DripBody => Some(ErrorClass::Timeout),
        Trick::CloseAtOnce | Trick::CloseUnanswered | Trick::ResetMidBody | Trick::ShortBody => {
            Some(ErrorClass::ConnectionClosed)
        }
        // Cut at 64 KiB, and complete as far as anybody cares.
        Trick::EndlessBody => None,
        Trick::BadChunk
        | Trick::EndlessHead
        | Trick::NotHttp
        | Trick::Http09
        | Trick::NulInHeader
        | Trick::Endless100 => Some(ErrorClass::Protocol),
        Trick::Redirect => Some(ErrorClass::Status),
    }
}

#[tokio::test]
async fn every_trick_ends_in_time_with_its_own_class() {
    let world = World::start("").await;
    for trick in Trick::ALL {
        let hostile = Hostile::start(trick).await;
        let app = world.store.app(&format!("{trick:?}")).await;
        world.store.endpoint(&app, &hostile.url(), |_| ()).await;
        let message = world.publish(&app, "{}").await;
        let deliveries = world.deliveries(&message, |all| all[0].state.is_settled()).await;
        assert_eq!(deliveries[0].state == DeliveryState::Delivered, expected(trick).is_none(), "{trick:?}");
        let attempts = world.attempts(&message).await;
        let kind = classes(&attempts);
        assert_eq!(kind, [expected(trick)], "{trick:?}: {attempts:?}");
        assert!(attempts[0].attempt.timings.total.as_millis() < 2_000, "{trick:?}");
    }
}

#[tokio::test]
async fn a_thousand_hanging_endpoints_do_not_stop_a_healthy_one() {
    let world = World::start("").await;
    let (hanging, healthy) = (Hostile::start(Trick::Hang).await, Receiver::ok().await);
    let bad = world.store.app("bad").await;
    for _ in 0..1_000 {
        world.store.endpoint(&bad, &hanging.url(), |_| ()).await;
    }
    let good = world.store.app("good").await;
    world.store.endpoint(&good, &healthy.url("/"), |_| ()).await;
    world.publish(&bad, "{}").await;
    for n in 1..=20 {
        world.publish(&good, "{}").await;
        healthy.wait_for(n).await;
    }
    let ledger = world.store.log.store().ledger().await.unwrap();
    assert!(ledger.owed > 0, "the healthy one was served while others were still hanging: {ledger:?}");
}
