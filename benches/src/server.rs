//! Peers that are servers: a process of their own on a loopback port, spoken to over HTTP.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use hms_ops_core::clock::Stopwatch;
use hms_ops_core::time::Timestamp;

use crate::remote_write;
use crate::usage::Usage;

/// How long a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that takes remote write.
#[derive(Debug)]
pub struct Peer {
    /// What it is called.
    pub name: &'static str,
    /// Any of these on the path will do.
    programs: &'static [&'static str],
    /// Where it says that it can be used.
    ready: &'static str,
    arguments: fn(folder: &Path, address: SocketAddr) -> Vec<String>,
}

/// Prometheus.
pub const PROMETHEUS: Peer = Peer {
    name: "prometheus",
    programs: &["prometheus"],
    ready: "/-/ready",
    arguments: |folder, address| {
        vec![
            format!("--config.file={}", folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", data(folder).display()),
            // What is written is from January.
            "--storage.tsdb.retention.time=100y".to_owned(),
            format!("--web.listen-address={address}"),
            "--web.enable-remote-write-receiver".to_owned(),
            "--web.enable-admin-api".to_owned(),
            "--log.level=warn".to_owned(),
        ]
    },
};

/// VictoriaMetrics, one node.
pub const VICTORIA_METRICS: Peer = Peer {
    name: "victoria-metrics",
    programs: &["victoria-metrics", "victoria-metrics-prod"],
    ready: "/health",
    arguments: |folder, address| {
        vec![
            format!("-storageDataPath={}", data(folder).display()),
            "-retentionPeriod=100y".to_owned(),
            "-search.latencyOffset=0s".to_owned(),
            // Or it would answer from memory what was asked before.
            "-search.disableCache".to_owned(),
            format!("-httpListenAddr={address}"),
            "-loggerLevel=WARN".to_owned(),
        ]
    },
};

/// Where a peer that was started in `folder` keeps its samples.
pub fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

impl Peer {
    /// The program, if it is on the path.
    pub fn find(&self) -> Option<PathBuf> {
        let path = env::var_os("PATH")?;
        let folders: Vec<_> = env::split_paths(&path).collect();
        let mut all =
            self.programs.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
        all.find(|program| program.is_file())
    }

    /// The number by which the program calls its release, if it tells.
    pub fn version(&self) -> Option<String> {
        let said = Command::new(self.find()?).arg("--version").output().ok()?.stdout;
        let said = String::from_utf8(said).ok()?;
        let is_version =
            |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
        said.split_ascii_whitespace().find(is_version).map(str::to_owned)
    }

    /// Starts it with what it left in `folder`, if anything, and waits until it can be used.
    ///
    /// What it logs is in the file `log` there.
    ///
    /// # Errors
    ///
    /// When it is absent, ends at once, or takes too long.
    pub fn start(&self, folder: &Path) -> io::Result<Server> {
        let program = self.find().ok_or_else(|| failure(format!("{} is absent", self.name)))?;
        fs::write(folder.join("prometheus.yml"), "scrape_configs: []\n")?;
        let address = free_address()?;
        let mut command = Command::new(program);
        command.args((self.arguments)(folder, address)).current_dir(folder);
        Server::start(self.name, command, folder, address, self.ready)
    }
}

/// A loopback address that nobody listens on.
///
/// # Errors
///
/// When there is none.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// A server that runs; killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a server that will listen on `address`, and waits until a GET of `ready` succeeds.
    ///
    /// What it logs is in the file `log` of `folder`.
    ///
    /// # Errors
    ///
    /// When it ends at once, or takes too long.
    pub fn start(
        name: &str,
        mut command: Command,
        folder: &Path,
        address: SocketAddr,
        ready: &str,
    ) -> io::Result<Self> {
        let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut server = Self { process: command.spawn()?, address };
        let watch = Stopwatch::start();
        while server.call("GET", ready).is_err() {
            if let Some(status) = server.process.try_wait()? {
                let log = fs::read_to_string(folder.join("log"))?;
                return Err(failure(format!("{name} ended with {status}: {log}")));
            }
            if watch.elapsed() > PATIENCE {
                return Err(failure(format!("{name} did not begin in {PATIENCE:?}")));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// What its process has used so far.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn usage(&self) -> io::Result<Usage> {
        Usage::of(self.process.id())
    }

    /// Sends the requests of each file over a connection of its own, all at the same time.
    ///
    /// # Errors
    ///
    /// When one is not taken.
    pub fn remote_write(&self, path: &str, files: &[PathBuf]) -> io::Result<()> {
        thread::scope(|scope| {
            let senders: Vec<_> =
                files.iter().map(|file| scope.spawn(|| self.send(path, file))).collect();
            senders
                .into_iter()
                .try_for_each(|sender| sender.join().expect("a sender does not panic"))
        })
    }

    fn send(&self, path: &str, file: &Path) -> io::Result<()> {
        let mut stream = BufReader::new(TcpStream::connect(self.address)?);
        stream.get_ref().set_nodelay(true)?;
        remote_write::read(file, |request| {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Encoding: snappy\r\n\
                 Content-Type: application/x-protobuf\r\n\
                 X-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
                self.address,
                request.len()
            );
            stream.get_mut().write_all(&[head.as_bytes(), request].concat())?;
            let answer = read_head(&mut stream)?;
            // No body follows this status, so the connection can be used again.
            if answer.contains(" 204 ") { Ok(()) } else { Err(failure(answer)) }
        })
    }

    /// Makes one request without a body, and returns the body of its answer, which 1.0 of HTTP sends
    /// in one piece.
    ///
    /// # Errors
    ///
    /// When the answer is not a success.
    pub fn call(&self, method: &str, path: &str) -> io::Result<String> {
        let mut stream = BufReader::new(TcpStream::connect(self.address)?);
        let address = self.address;
        let head =
            format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
        stream.get_mut().write_all(head.as_bytes())?;
        let (head, mut body) = (read_head(&mut stream)?, String::new());
        stream.read_to_string(&mut body)?;
        let good = head.contains(" 200 ") || head.contains(" 204 ");
        if good { Ok(body) } else { Err(failure(head + &body)) }
    }

    /// How many samples of a metric it has, of all its series in the day before `end`.
    ///
    /// # Errors
    ///
    /// When it does not say.
    pub fn samples(&self, metric: &str, end: Timestamp) -> io::Result<u64> {
        let query = format!("sum(count_over_time({metric}%5B1d%5D))");
        let at = end.as_millis() / 1000;
        let body = self.call("GET", &format!("/api/v1/query?query={query}&time={at}"))?;
        let answer: serde_json::Value = serde_json::from_str(&body)?;
        let count = answer["data"]["result"][0]["value"][1].as_str();
        count.and_then(|count| count.parse().ok()).ok_or_else(|| failure(body))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads up to the empty line that ends the head.
fn read_head(stream: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(failure(format!("the answer ends after {head:?}")));
        }
    }
    Ok(head)
}

fn failure(text: String) -> io::Error {
    io::Error::other(text)
}
