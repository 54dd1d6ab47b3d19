//! `hostile`: what bad endpoints cost the good ones. The same messages at the same pace, without and beside them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Handle,
    task::JoinSet,
};

use super::{
    deliver::Course,
    figures::{Figures, Run},
    options::Plan,
    phase,
    stats::Latencies,
    subject::{Origin, Subject},
};
use crate::commands::port;

/// How many are bad: one of each kind.
pub(super) const BAD: usize = 3;
/// Between two bytes of an answer that drips: no read ever waits long, only the whole does.
const DRIP: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;
/// The head of an answer whose body is longer than anybody waits for.
const DRIPPING_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n";

/// Runs both once.
pub(super) async fn run(runtime: &Handle, origin: &Origin, plan: &Plan) -> Result<Run> {
    let plan = Plan { endpoints: plan.endpoints - BAD, ..plan.clone() };
    phase("without the bad endpoints");
    let (mut run, without) = once(runtime, origin, &plan, &[]).await?;
    phase("beside them");
    let bad = Bad::open()?;
    let (beside_run, beside) = once(runtime, origin, &plan, &bad.urls()).await?;
    run.faults.add(&beside_run.faults);

    let mut figures = Figures::default();
    figures.put_latencies("without_end_to_end_ms", &without);
    figures.put_latencies("beside_end_to_end_ms", &beside);
    let ratio = beside.ms(0.99).zip(without.ms(0.99)).map(|(beside, without)| beside / without);
    figures.put_some("p99_beside_to_without", ratio);
    figures.put("connections_that_hung", bad.hanging.load(Relaxed) as f64);
    figures.put("connections_that_dripped", bad.dripping.load(Relaxed) as f64);
    for (name, run) in [("cpu_s_per_1k.without", &run), ("cpu_s_per_1k.beside", &beside_run)] {
        figures.put_some(name, run.figures.get("cpu_s_per_1k.server"));
    }
    figures.put_some("others_busy_cores", beside_run.figures.get("others_busy_cores"));
    run.figures = figures;
    Ok(run)
}

/// One of both, and its latencies at the good endpoints.
async fn once(runtime: &Handle, origin: &Origin, plan: &Plan, bad: &[String]) -> Result<(Run, Latencies)> {
    let subject = Subject::start(origin).await?;
    let course = Course::prepare(&subject, plan, bad).await?;
    let outcome = course.run(runtime, &subject, plan).await?;
    subject.remove_app(&course.app).await?;
    subject.stop().await?;
    Ok((outcome.told(plan), outcome.ledger.end_to_end(outcome.measured.clone())))
}

/// One endpoint of each bad kind; ended when it is dropped.
struct Bad {
    addresses: [SocketAddr; BAD],
    /// Connections so far.
    hanging: Arc<AtomicUsize>,
    dripping: Arc<AtomicUsize>,
    /// Bound, not listening: whoever connects is refused.
    _refusing: TcpSocket,
    _tasks: JoinSet<()>,
}

impl Bad {
    fn open() -> Result<Self> {
        let ((hangs, hangs_at), (refusing, refuses_at), (drips, drips_at)) =
            (port::free()?, port::free()?, port::free()?);
        let (hanging, dripping) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(hangs.listen(BACKLOG)?, Arc::clone(&hanging), hang));
        tasks.spawn(accept(drips.listen(BACKLOG)?, Arc::clone(&dripping), drip));
        let addresses = [hangs_at, refuses_at, drips_at];
        Ok(Self { addresses, hanging, dripping, _refusing: refusing, _tasks: tasks })
    }

    fn urls(&self) -> [String; BAD] {
        self.addresses.map(|address| format!("http://{address}/"))
    }
}

async fn accept<F>(listener: TcpListener, count: Arc<AtomicUsize>, treat: fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                count.fetch_add(1, Relaxed);
                connections.spawn(treat(stream));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Takes what fits into the system's buffers, and never answers. Ends when the other side has gone.
async fn hang(stream: TcpStream) {
    let mut unread = [0_u8; 4_096];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut unread) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Answers at once, a byte at a time.
async fn drip(mut stream: TcpStream) {
    if stream.write_all(DRIPPING_HEAD).await.is_err() {
        return;
    }
    while stream.write_all(b".").await.is_ok() {
        tokio::time::sleep(DRIP).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a client of the receivers under test, on loopback")]
    async fn each_bad_endpoint_is_bad_in_its_own_way() {
        use tokio::io::AsyncReadExt;

        let bad = Bad::open().unwrap();
        let [hangs, refuses, drips] = bad.addresses;
        assert!(TcpStream::connect(refuses).await.is_err());
        let mut dripping = TcpStream::connect(drips).await.unwrap();
        let mut some = vec![0; DRIPPING_HEAD.len() + 2];
        dripping.read_exact(&mut some).await.unwrap();
        assert!(some.ends_with(b"\r\n\r\n.."));
        let mut hanging = TcpStream::connect(hangs).await.unwrap();
        hanging.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
        // Two bytes more have dripped in the meantime, and still nothing came.
        dripping.read_exact(&mut [0; 2]).await.unwrap();
        assert!(hanging.try_read(&mut some).is_err());
        assert_eq!([&bad.hanging, &bad.dripping].map(|count| count.load(Relaxed)), [1, 1]);
    }
}
