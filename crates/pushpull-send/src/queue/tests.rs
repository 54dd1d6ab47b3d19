//! What a queue holds, hands out and forgets.

use bytes::Bytes;
use pushpull_domain::{
    AppNo, DeliveryKey, DeliveryState, EndpointNo, EventTypeName, MessageId, MessageKey, Position,
    attempt::Trigger,
};

use super::*;

pub(super) fn job(seq: u64) -> Job {
    let key = MessageKey { app: AppNo(1), position: Position(seq) };
    let at = Timestamp::from_millis(1_795_513_560_000);
    let message = Message {
        key,
        id: MessageId::of(at, seq, 0),
        created_at: at,
        event_type: EventTypeName::new("a").unwrap(),
        payload: Payload::Kept(Bytes::from_static(b"{}")),
        content_type: None,
        channels: Vec::new(),
        tags: Vec::new(),
        event_id: None,
        deliver_at: None,
        payload_expires_at: None,
        fanout: Vec::new(),
    };
    let delivery = Delivery {
        key: DeliveryKey { endpoint: EndpointNo(1), seq: Seq(seq) },
        message: key,
        state: DeliveryState::Owed { due_at: Some(at), trigger: Trigger::Scheduled },
        attempts: 0,
    };
    Job::new(delivery, Arc::new(message))
}

fn attempt(queue: &mut Queue) -> u64 {
    match queue.next(0) {
        Next::Attempt(job) => job.delivery.key.seq.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_delivery_is_in_memory_at_most_once() {
    let mut queue = Queue::default();
    queue.offer(job(1));
    queue.looked(0, [job(1), job(2)], false);
    assert_eq!(queue.begin_lanes(), 2);
    assert_eq!((attempt(&mut queue), attempt(&mut queue)), (1, 2));
    queue.attempted(Verdict::Succeeded, true);
    queue.looked(0, [job(1)], false);
    assert!(matches!(queue.next(0), Next::End), "settled in memory, not yet in the table");
    queue.settled(Seq(1));
    assert_eq!(queue.known(), [Seq(2)]);
}

#[test]
fn what_is_settled_while_the_table_is_read_is_not_taken_from_that() {
    let mut queue = Queue::default();
    queue.look_again();
    queue.begin_lanes();
    assert!(matches!(queue.next(0), Next::Look));
    // It comes, is attempted and written while the lane that looks still reads.
    queue.offer(job(1));
    queue.begin_lanes();
    assert_eq!(attempt(&mut queue), 1);
    queue.attempted(Verdict::Succeeded, true);
    queue.settled(Seq(1));
    queue.looked(0, [job(1), job(2)], false);
    assert_eq!(attempt(&mut queue), 2);
    assert!(queue.known().len() == 1, "the first was brought once");
}

#[test]
fn what_readers_had_meanwhile_is_not_brought() {
    let mut queue = Queue::default();
    for seq in 1..=3 {
        queue.offer(job(seq));
    }
    queue.look_again();
    assert!(queue.configure(5, Setting::Pushed { fifo: false, read: Seq(2) }));
    queue.looked(4, [job(1)], false);
    let next = queue.next(5);
    assert!(matches!(&next, Next::Attempt(job) if job.delivery.key.seq == Seq(3)), "{next:?}");
    assert!(queue.look, "what was read by an older configuration is read again");
}

#[test]
fn a_queue_that_is_off_begins_nothing_and_says_when_all_is_over() {
    let since = Timestamp::from_millis(5);
    let mut queue = Queue::default();
    for seq in 1..=3 {
        queue.offer(job(seq));
    }
    assert_eq!(queue.begin_lanes(), 2);
    let flying = match queue.next(0) {
        Next::Attempt(job) => *job,
        other => panic!("{other:?}"),
    };
    assert_eq!(attempt(&mut queue), 2);
    assert!(queue.configure(7, Setting::Off { draining: Some(since) }));
    assert!(!queue.configure(6, Setting::Pushed { fifo: false, read: Seq(0) }), "read before the change");
    queue.offer(job(4));
    queue.looked(0, [job(5)], true);
    assert_eq!(queue.known().len(), 2, "only what is in flight");
    assert!(matches!(queue.next(0), Next::Stale), "a lane that read it before");
    queue.put_back(flying);
    queue.attempted(Verdict::Failed, false);
    assert_eq!(queue.drained(), None, "the outcome is not written");
    queue.settled(Seq(2));
    assert!(queue.may_be_drained());
    assert_eq!(queue.drained(), Some(since));
    queue.reconsider();
    assert_eq!(queue.drained(), None, "the configuration is to be read again");
    queue.offer(job(6));
    assert!(queue.configure(8, Setting::Pushed { fifo: false, read: Seq(0) }));
    assert!(matches!(queue.next(8), Next::Attempt(_)));
    assert_eq!(queue.drained(), None);
}

#[test]
fn what_has_no_room_is_looked_for_in_the_table() {
    let mut queue = Queue::default();
    for seq in 0..=QUEUE_MAX as u64 {
        queue.offer(job(seq));
    }
    assert_eq!(queue.begin_lanes(), WINDOW_MIN);
    for _ in 0..QUEUE_MAX {
        attempt(&mut queue);
        queue.attempted(Verdict::Succeeded, true);
    }
    assert!(matches!(queue.next(0), Next::Look));
    assert!(matches!(queue.next(0), Next::End), "one lane looks");
}

#[test]
fn the_window_opens_with_success_and_closes_with_stalling() {
    let mut queue = Queue::default();
    for seq in 0..100 {
        queue.offer(job(seq));
    }
    for (verdict, window) in [
        (Verdict::Succeeded, 4),
        (Verdict::Succeeded, 8),
        (Verdict::Succeeded, 16),
        (Verdict::Succeeded, 32),
        (Verdict::Succeeded, 32),
        (Verdict::Failed, 16),
        (Verdict::OwnFault, 16),
        (Verdict::Stalled, 2),
    ] {
        queue.lanes = 1;
        attempt(&mut queue);
        queue.attempted(verdict, true);
        assert_eq!(queue.window, window);
    }
}

#[test]
fn a_fifo_queue_waits_for_its_first() {
    let mut queue = Queue::default();
    queue.configure(0, Setting::Pushed { fifo: true, read: Seq(0) });
    assert_eq!(queue.begin_lanes(), 1);
    assert!(matches!(queue.next(0), Next::Look));
    queue.looked(0, [job(1)], false);
    queue.offer(job(2));
    assert_eq!(attempt(&mut queue), 1);
    queue.attempted(Verdict::Failed, false);
    assert!(matches!(queue.next(0), Next::End));
    queue.offer(job(3));
    assert_eq!(queue.begin_lanes(), 0, "blocked");
    queue.look_again();
    assert_eq!(queue.begin_lanes(), 0, "the failure is not written yet");
    queue.settled(Seq(1));
    assert_eq!(queue.begin_lanes(), 1);
    assert!(matches!(queue.next(0), Next::Look));
    queue.looked(0, [job(1), job(2), job(3)], false);
    assert_eq!(attempt(&mut queue), 1);
}

/// What joined the queue before it is owed too: it came in at another process, or before this one knew the queue.
#[test]
fn a_fifo_queue_takes_in_nothing_ahead_of_what_it_has_not_seen() {
    let mut queue = Queue::default();
    queue.offer(job(2));
    queue.configure(0, Setting::Pushed { fifo: true, read: Seq(0) });
    assert_eq!(queue.begin_lanes(), 1);
    assert!(matches!(queue.next(0), Next::Look), "nobody knows whether the second is the first");
    queue.looked(0, [job(1), job(2)], false);
    queue.offer(job(3));
    queue.offer(job(5));
    for seq in 1..=3 {
        assert_eq!(attempt(&mut queue), seq);
        queue.attempted(Verdict::Succeeded, true);
        queue.settled(Seq(seq));
    }
    assert!(matches!(queue.next(0), Next::Look), "somebody else took the fourth in");
}

/// A commit is told of after it is visible. Whoever looks in between, and is quick, is done by then.
#[test]
fn what_was_found_and_is_over_is_not_taken_in_when_its_commit_is_told_of() {
    let mut queue = Queue::default();
    queue.look_again();
    assert_eq!(queue.begin_lanes(), 1);
    assert!(matches!(queue.next(0), Next::Look));
    queue.looked(0, [job(1), job(2)], false);
    for seq in [1, 2] {
        assert_eq!(attempt(&mut queue), seq);
        queue.attempted(Verdict::Succeeded, true);
        queue.settled(Seq(seq));
    }
    queue.offer(job(2));
    assert!(matches!(queue.next(0), Next::Look), "the table knows whether it is owed");
    queue.looked(0, [], false);
    queue.offer(job(3));
    assert_eq!(attempt(&mut queue), 3, "nobody can have found it");
}
