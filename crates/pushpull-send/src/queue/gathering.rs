//! What goes out in one request, and what waits for more.

use bytes::Bytes;

use super::{tests::job, *};

/// The seqs of what goes out together, with the lane that takes it.
fn gather(queue: &mut Queue, size: usize, waits: bool) -> Option<Vec<u64>> {
    let first = match queue.next(0) {
        Next::Attempt(job) => *job,
        other => panic!("{other:?}"),
    };
    let Gathered::All(parcel) = queue.gather(0, first, size, waits) else { return None };
    Some(std::iter::once(&parcel.first).chain(&parcel.rest).map(|job| job.delivery.key.seq.0).collect())
}

fn fifo(jobs: impl IntoIterator<Item = Job>) -> Queue {
    let mut queue = Queue { fifo: true, ..Queue::default() };
    queue.looked(0, jobs, false);
    assert_eq!(queue.begin_lanes(), 1);
    queue
}

#[test]
fn a_batch_is_waited_for_until_it_is_full_or_its_time_has_come() {
    let mut queue = fifo([job(1), job(2)]);
    assert_eq!(gather(&mut queue, 3, true), None);
    assert_eq!((queue.lanes, queue.in_flight, queue.known().len()), (0, 0, 2));
    queue.offer(job(3));
    queue.offer(job(4));
    assert_eq!(queue.begin_lanes(), 1, "the lane has ended, and another begins");
    assert_eq!(gather(&mut queue, 3, true), Some(vec![1, 2, 3]));
    assert_eq!(queue.begin_lanes(), 0, "one at a time");
    queue.attempted(Verdict::Succeeded, true);
    assert_eq!(gather(&mut queue, 3, false), Some(vec![4]));
}

#[test]
fn a_batch_is_gathered_by_the_configuration_that_holds() {
    let mut queue = fifo([job(1), job(2)]);
    let first = match queue.next(0) {
        Next::Attempt(job) => *job,
        other => panic!("{other:?}"),
    };
    assert!(queue.configure(1, Setting::Pushed { fifo: true, read: Seq(0) }));
    assert!(matches!(queue.gather(0, first, 2, false), Gathered::NotNow));
    assert_eq!((queue.lanes, queue.in_flight, queue.known().len()), (1, 0, 2));
}

#[test]
fn a_batch_that_is_waited_for_is_filled_by_what_the_table_has() {
    let mut queue = fifo([job(1), job(2)]);
    assert_eq!(gather(&mut queue, 3, true), None);
    queue.look_again();
    queue.offer(job(3));
    assert_eq!(queue.begin_lanes(), 1);
    assert_eq!(gather(&mut queue, 3, true), None);
    assert!(matches!(queue.next(0), Next::Look));
    // What follows is not due yet: that is no reason to ask again.
    queue.looked(0, [job(1), job(2)], true);
    assert_eq!(gather(&mut queue, 3, true), None);
    assert_eq!((queue.lanes, queue.in_flight, queue.known().len()), (0, 0, 2));
    queue.look_again();
    assert_eq!(queue.begin_lanes(), 1);
    assert_eq!(gather(&mut queue, 3, true), None);
    assert!(matches!(queue.next(0), Next::Look));
    queue.looked(0, [job(1), job(2), job(3)], false);
    assert_eq!(gather(&mut queue, 3, true), Some(vec![1, 2, 3]));
}

#[test]
fn what_was_attempted_together_is_attempted_together_again() {
    let again = |seq| {
        let mut job = job(seq);
        job.delivery.attempts = 1;
        job
    };
    let mut queue = fifo([again(1), again(2), job(3)]);
    assert_eq!(gather(&mut queue, 3, true), Some(vec![1, 2]));
}

#[test]
fn a_batch_has_a_bound_in_bytes_and_at_least_one_message() {
    let large = |seq| {
        let mut job = job(seq);
        let payload = Payload::Kept(Bytes::from(vec![b' '; BATCH_BYTES_MAX / 2]));
        job.message = Arc::new(Message { payload, ..(*job.message).clone() });
        job
    };
    let mut queue = fifo([large(1), large(2), large(3)]);
    assert_eq!(gather(&mut queue, 9, true), Some(vec![1, 2]));
    let mut huge = large(1);
    let payload = Payload::Kept(Bytes::from(vec![b' '; BATCH_BYTES_MAX + 1]));
    huge.message = Arc::new(Message { payload, ..(*huge.message).clone() });
    let mut queue = fifo([huge, job(2)]);
    assert_eq!(gather(&mut queue, 9, true), Some(vec![1]));
}
