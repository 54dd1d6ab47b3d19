//! A listener at every address there is, which remembers at which of them it was called.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// Ends when it is dropped.
pub(super) struct Canary {
    pub(super) port: u16,
    touched: Arc<Mutex<BTreeSet<IpAddr>>>,
    task: JoinHandle<()>,
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Canary {
    #[expect(clippy::disallowed_methods, reason = "aborted when this is dropped")]
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let touched = Arc::new(Mutex::new(BTreeSet::new()));
        let noted = Arc::clone(&touched);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                noted.lock().unwrap().insert(stream.local_addr().unwrap().ip().to_canonical());
                connections.spawn(async move {
                    // Whoever leaves early has been noted.
                    let _ = answer(stream, port).await;
                });
            }
        });
        Self { port, touched, task }
    }

    /// A URL of a host, at this port.
    pub(super) fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.port)
    }

    /// The addresses that were called.
    pub(super) fn touched(&self) -> BTreeSet<IpAddr> {
        self.touched.lock().unwrap().clone()
    }
}

/// Answers each request as its path says.
async fn answer(mut stream: TcpStream, port: u16) -> std::io::Result<()> {
    let mut request = vec![0; 16_384];
    loop {
        let read = stream.read(&mut request).await?;
        if read == 0 {
            return Ok(());
        }
        let head = String::from_utf8_lossy(&request[..read]).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let (status, more) = match path.strip_prefix("/redirect/") {
            Some(status) => (status, format!("location: http://127.0.0.1:{port}/inside\r\n")),
            None if path == "/close" => ("200", "connection: close\r\n".to_owned()),
            None => ("200", String::new()),
        };
        let answer = format!("HTTP/1.1 {status} Canary\r\n{more}content-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
}
