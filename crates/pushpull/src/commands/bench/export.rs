//! `export`: an endpoint's queue, as lines of JSON, uncompressed, over one connection.

use anyhow::{Context, Result, ensure};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use serde::Deserialize;
use tokio::{runtime::Handle, time::Instant};

use super::{
    figures::Run,
    list::fill,
    options::Plan,
    phase,
    span::Span,
    subject::{Origin, Subject},
};
use crate::commands::call::Connection;

/// The line at the end.
#[derive(Deserialize)]
struct End {
    done: bool,
    count: u64,
}

/// Fills a queue, then reads it.
pub(super) async fn run(runtime: &Handle, origin: &Origin, plan: &Plan) -> Result<Run> {
    let subject = Subject::start(origin).await?;
    let app = subject.make_app().await?;
    let path = subject.make_queue(&app).await?;
    phase(&format!("filling it with {} messages", plan.messages));
    let (there, errors) = fill(runtime, &subject, plan, &app).await?;
    subject.rest().await?;
    let before = subject.resident_mib()?;

    phase("reading it");
    let span = Span::begin(Some(&subject))?;
    let start = Instant::now();
    let read = read(&subject, &path).await?;
    let took = start.elapsed().as_secs_f64();
    let used = span.end(Some(&subject))?;
    let after = subject.resident_mib()?;
    subject.remove_app(&app).await?;
    subject.stop().await?;

    let mut run = Run::default();
    let figures = &mut run.figures;
    figures.put("read_per_s", read.messages as f64 / took);
    figures.put("read_mb_per_s", read.bytes as f64 / took / 1e6);
    figures.put_some("cpu_s_per_1k.server", used.server_per_1k(read.messages));
    figures.put("cpu_s_per_1k.client", used.client_per_1k(read.messages));
    figures.put_some("memory_mib.before", before.map(|(now, _)| now));
    figures.put_some("memory_mib.after", after.map(|(now, _)| now));
    figures.put_some("memory_mib.peak", after.map(|(_, peak)| peak));
    used.tell_noise(figures);
    run.faults.errors = errors;
    run.faults.lost = (there - read.messages.min(there)) as u64;
    Ok(run)
}

/// What was read.
struct Lines {
    messages: usize,
    bytes: usize,
}

/// Reads to the end; each line's seq must be the one after the last.
async fn read(subject: &Subject, path: &str) -> Result<Lines> {
    let mut connection = Connection::open(subject.address).await?;
    let request = Request::get(path)
        .header(header::AUTHORIZATION, format!("Bearer {}", subject.key))
        .header(header::ACCEPT, "application/x-ndjson")
        .body(Full::default())?;
    let response = connection.begin(request).await?;
    ensure!(response.status().is_success(), "the export is answered {}", response.status());
    let mut body = response.into_body();
    let mut read = Lines { messages: 0, bytes: 0 };
    // The line that is begun.
    let mut line = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        read.bytes += data.len();
        let mut pieces = data.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                line.extend_from_slice(piece);
            } else if line.is_empty() {
                read.line(piece)?;
            } else {
                line.extend_from_slice(piece);
                read.line(&line)?;
                line.clear();
            }
        }
    }
    ensure!(read.messages > 0 && line.is_empty(), "the export was cut off");
    Ok(read)
}

impl Lines {
    fn line(&mut self, line: &[u8]) -> Result<()> {
        const SEQ: &[u8] = b",\"seq\":";
        // Our payloads have no such field, and it stands near the end.
        let at = line.windows(SEQ.len()).rposition(|window| window == SEQ);
        let Some(at) = at else {
            let end: End = serde_json::from_slice(line).context("read the export's last line")?;
            let all = end.done && end.count == self.messages as u64;
            ensure!(all, "the export says {} of {}", end.count, self.messages);
            return Ok(());
        };
        let digits = line[at + SEQ.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        let seq = digits.fold(0, |seq, digit| seq * 10 + usize::from(digit - b'0'));
        self.messages += 1;
        ensure!(seq == self.messages, "seq {seq} came in place of {}", self.messages);
        Ok(())
    }
}
