//! What was used between two moments.

use anyhow::Result;
use tokio::time::Instant;

use super::{
    figures::Figures,
    process::{self, Usage},
    subject::Subject,
};

/// Begun before what is measured, ended after.
pub(super) struct Span {
    start: Instant,
    server: Option<Usage>,
    client: Usage,
    machine: std::time::Duration,
}

/// What was used within.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    server: Option<Usage>,
    client: Usage,
    /// Cores that were busy with neither, on average: the noise.
    others: f64,
}

impl Span {
    /// From now on; without a subject, this process alone.
    pub(super) fn begin(subject: Option<&Subject>) -> Result<Self> {
        Ok(Self {
            start: Instant::now(),
            server: subject.map(Subject::usage).transpose()?.flatten(),
            client: Usage::of(std::process::id())?,
            machine: process::machine_cpu()?,
        })
    }

    /// Until now.
    pub(super) fn end(&self, subject: Option<&Subject>) -> Result<Used> {
        let server = subject.map(Subject::usage).transpose()?.flatten();
        let server = server.zip(self.server).map(|(now, before)| now.since(before));
        let client = Usage::of(std::process::id())?.since(self.client);
        let machine = process::machine_cpu()?.saturating_sub(self.machine);
        let ours = client.cpu + server.unwrap_or_default().cpu;
        let others = machine.saturating_sub(ours).as_secs_f64() / self.start.elapsed().as_secs_f64();
        Ok(Used { server, client, others })
    }
}

impl Used {
    /// CPU seconds of the server for a thousand of so many.
    pub(super) fn server_per_1k(&self, count: usize) -> Option<f64> {
        self.server.map(|server| per_1k(server, count))
    }

    /// CPU seconds of this process for a thousand of so many.
    pub(super) fn client_per_1k(&self, count: usize) -> f64 {
        per_1k(self.client, count)
    }

    /// Adds what was used for so many of what is counted, and so many messages.
    pub(super) fn tell(&self, figures: &mut Figures, count: usize, messages: usize) {
        figures.put_some("cpu_s_per_1k.server", self.server_per_1k(count));
        figures.put("cpu_s_per_1k.client", self.client_per_1k(count));
        let written = self.server.and_then(|server| server.written);
        figures.put_some(
            "disk_bytes_per_message.written",
            written.map(|bytes| bytes as f64 / messages.max(1) as f64),
        );
        self.tell_noise(figures);
    }

    /// Adds how busy the machine was with something else.
    pub(super) fn tell_noise(&self, figures: &mut Figures) {
        figures.put("others_busy_cores", self.others);
    }

    /// CPU seconds of the server.
    pub(super) fn server_cpu_s(&self) -> Option<f64> {
        self.server.map(|server| server.cpu.as_secs_f64())
    }
}

fn per_1k(usage: Usage, count: usize) -> f64 {
    usage.cpu.as_secs_f64() * 1e3 / count.max(1) as f64
}
