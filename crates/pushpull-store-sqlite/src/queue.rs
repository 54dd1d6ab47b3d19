//! Queues to the store's threads.

use crossbeam_channel::{Receiver, SendError, Sender};
use pushpull_store::Error;

/// The way into a queue of bounded length.
///
/// Unlike the library's own bounded channel, it drops what waits when the last receiver goes, so that whoever
/// waits for an answer learns that there will be none.
pub(crate) struct Queue<T> {
    sender: Sender<T>,
    length_max: usize,
}

impl<T> Queue<T> {
    pub(crate) fn new(length_max: usize) -> (Self, Receiver<T>) {
        #[expect(
            clippy::disallowed_methods,
            reason = "`send` bounds it; why it is not a bounded one stands above"
        )]
        let (sender, receiver) = crossbeam_channel::unbounded();
        (Self { sender, length_max }, receiver)
    }

    /// Busy if too many wait. (Those that ask at once may all get in; they are not many.)
    pub(crate) fn send(&self, item: T) -> Result<(), Error> {
        if self.sender.len() >= self.length_max {
            return Err(Error::Busy);
        }
        self.send_anyway(item)
    }

    pub(crate) fn send_anyway(&self, item: T) -> Result<(), Error> {
        self.sender.send(item).map_err(|SendError(_)| Error::Closing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_dropped_with_the_last_receiver() {
        let (queue, receiver) = Queue::new(2);
        let (waiting, dropped) = std::sync::mpsc::channel::<()>();
        queue.send(waiting.clone()).unwrap();
        queue.send(waiting.clone()).unwrap();
        assert!(matches!(queue.send(waiting), Err(Error::Busy)));
        let other = receiver.clone();
        drop(receiver);
        assert!(matches!(dropped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)));
        drop(other);
        assert!(matches!(dropped.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected)));
        assert!(matches!(queue.send(std::sync::mpsc::channel().0), Err(Error::Closing)));
    }
}
