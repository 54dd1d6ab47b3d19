use std::future::Future;

use tokio::task::JoinHandle;

use super::*;

/// Stands for a connection.
type Number = u32;

fn origin(name: &str) -> Arc<str> {
    name.into()
}

async fn reuse(pool: &Arc<Pool<Number>>, origin: &Arc<str>) -> Option<Number> {
    match pool.turn(origin, Want::Any).await {
        Turn::Reuse(link) => Some(link),
        Turn::Connect(_) => None,
    }
}

async fn permit(pool: &Arc<Pool<Number>>, origin: &Arc<str>) -> Permit<Number> {
    match pool.turn(origin, Want::Fresh).await {
        Turn::Connect(permit) => permit,
        Turn::Reuse(_) => unreachable!("a fresh one was wanted"),
    }
}

async fn all_permits(pool: &Arc<Pool<Number>>, origin: &Arc<str>) -> Vec<Permit<Number>> {
    let mut permits = Vec::new();
    for _ in 0..CONNECTS_PER_ORIGIN_MAX {
        permits.push(permit(pool, origin).await);
    }
    permits
}

/// Starts waiting, and returns once the request stands in the queue.
#[expect(clippy::disallowed_methods, reason = "the caller gets the handle")]
async fn wait_in_queue(pool: &Arc<Pool<Number>>, origin: &Arc<str>, want: Want) -> JoinHandle<Turn<Number>> {
    let queue_length = |pool: &Pool<Number>| pool.lock().origins[origin].waiting.len();
    let before = queue_length(pool);
    let waiting = {
        let (pool, origin) = (Arc::clone(pool), Arc::clone(origin));
        tokio::spawn(async move { pool.turn(&origin, want).await })
    };
    until(|| queue_length(pool) > before).await;
    waiting
}

async fn until(reached: impl Fn() -> bool) {
    while !reached() {
        tokio::task::yield_now().await;
    }
}

fn is_pending(future: impl Future) -> bool {
    use futures_util::FutureExt;
    future.now_or_never().is_none()
}

#[tokio::test]
async fn the_youngest_connection_is_used_first() {
    let (pool, a) = (Pool::new(), origin("a"));
    (0..3).for_each(|n| pool.park(&a, n));
    assert_eq!(reuse(&pool, &a).await, Some(2));
    assert_eq!(reuse(&pool, &a).await, Some(1));
    assert_eq!(pool.idle(), 1);
}

#[tokio::test]
async fn origins_do_not_share_connections() {
    let pool = Pool::new();
    pool.park(&origin("a"), 1);
    assert_eq!(reuse(&pool, &origin("b")).await, None);
}

#[tokio::test]
async fn the_oldest_connection_leaves_a_full_origin() {
    let (pool, a) = (Pool::new(), origin("a"));
    (0..IDLE_PER_ORIGIN_MAX as u32 + 36).for_each(|n| pool.park(&a, n));
    assert_eq!(pool.idle(), IDLE_PER_ORIGIN_MAX);
    let mut last = None;
    while let Some(link) = reuse(&pool, &a).await {
        last = Some(link);
    }
    assert_eq!(last, Some(36));
    assert_eq!(pool.idle(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_connections_leave_a_full_pool() {
    let pool = Pool::new();
    for n in 0..5_000_u32 {
        pool.park(&origin(&(n / 8).to_string()), n);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(pool.idle() <= IDLE_MAX);
    }
    assert!(pool.idle() > IDLE_MAX - IDLE_MAX / 8);
    assert_eq!(reuse(&pool, &origin("0")).await, None);
    assert_eq!(reuse(&pool, &origin("624")).await, Some(4999));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_idle_too_long_is_not_used() {
    let (pool, a) = (Pool::new(), origin("a"));
    (0..3).for_each(|n| pool.park(&a, n));
    tokio::time::advance(IDLE_AGE_MAX).await;
    assert_eq!(reuse(&pool, &a).await, None);
    assert_eq!(pool.idle(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_closes_what_is_too_old_and_forgets_its_origin() {
    let pool = Pool::new();
    pool.park(&origin("old"), 1);
    tokio::time::advance(IDLE_AGE_MAX).await;
    pool.park(&origin("young"), 2);
    pool.sweep();
    assert_eq!(pool.idle(), 1);
    assert_eq!(pool.lock().origins.keys().cloned().collect::<Vec<_>>(), [origin("young")]);
}

#[tokio::test]
async fn unused_origins_are_forgotten_without_a_sweep() {
    let pool = Pool::<Number>::new();
    for n in 0..3 * ORIGINS_SWEPT_AT {
        drop(permit(&pool, &origin(&n.to_string())).await);
    }
    assert!(pool.lock().origins.len() <= ORIGINS_SWEPT_AT);
}

#[tokio::test]
async fn no_more_than_the_maximum_connect_at_once() {
    let (pool, a) = (Pool::new(), origin("a"));
    let mut permits = all_permits(&pool, &a).await;
    assert!(is_pending(pool.turn(&a, Want::Any)));
    assert!(!is_pending(pool.turn(&origin("b"), Want::Any)));
    permits.pop();
    assert!(!is_pending(pool.turn(&a, Want::Any)));
}

#[tokio::test]
async fn a_waiting_request_takes_the_connection_that_comes_back_first() {
    let (pool, a) = (Pool::new(), origin("a"));
    let _permits = all_permits(&pool, &a).await;
    let waiting = wait_in_queue(&pool, &a, Want::Any).await;
    pool.park(&a, 7);
    assert!(matches!(waiting.await.unwrap(), Turn::Reuse(7)));
    assert_eq!(pool.idle(), 0);
}

#[tokio::test]
async fn a_waiting_request_takes_the_permit_that_comes_back_first() {
    let (pool, a) = (Pool::new(), origin("a"));
    let mut permits = all_permits(&pool, &a).await;
    let waiting = wait_in_queue(&pool, &a, Want::Any).await;
    permits.pop();
    assert!(matches!(waiting.await.unwrap(), Turn::Connect(_)));
}

#[tokio::test]
async fn a_request_that_wants_a_fresh_connection_leaves_used_ones_to_others() {
    let (pool, a) = (Pool::new(), origin("a"));
    let mut permits = all_permits(&pool, &a).await;
    let fresh = wait_in_queue(&pool, &a, Want::Fresh).await;
    let any = wait_in_queue(&pool, &a, Want::Any).await;
    pool.park(&a, 7);
    assert!(matches!(any.await.unwrap(), Turn::Reuse(7)));
    permits.pop();
    assert!(matches!(fresh.await.unwrap(), Turn::Connect(_)));
}

#[tokio::test]
async fn a_request_that_gave_up_costs_no_permit() {
    let (pool, a) = (Pool::new(), origin("a"));
    let mut permits = all_permits(&pool, &a).await;
    for _ in 0..50 {
        let waiting = wait_in_queue(&pool, &a, Want::Any).await;
        waiting.abort();
        assert!(waiting.await.is_err());
    }
    let patient = wait_in_queue(&pool, &a, Want::Any).await;
    permits.clear();
    assert!(matches!(patient.await.unwrap(), Turn::Connect(_)));
    assert_eq!(pool.lock().origins[&a].connecting, 0);
}

#[tokio::test]
async fn a_permit_that_reaches_a_request_as_it_gives_up_goes_to_the_next() {
    let (pool, a) = (Pool::new(), origin("a"));
    let mut permits = all_permits(&pool, &a).await;
    // Queued, and never polled again: it gets the permit and does not know.
    let Err(forgetful) = pool.turn_now(&a, Want::Any) else { panic!("no permit is left") };
    let next = wait_in_queue(&pool, &a, Want::Any).await;
    permits.pop();
    drop(forgetful);
    assert!(matches!(next.await.unwrap(), Turn::Connect(_)));
}
