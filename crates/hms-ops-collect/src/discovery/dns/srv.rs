//! SRV records, by a question to the name servers of the system.
//!
//! Source: RFC 1035, section 4; RFC 2782; RFC 6891 for the size of an answer; resolv.conf(5).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hms_ops_core::random;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::client::read_bounded;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const PATIENCE: Duration = Duration::from_secs(5);
const HEADER_BYTES: usize = 12;
/// What an answer by UDP may have, which passes every network whole.
const UDP_BYTES: u16 = 1232;
const SRV: u16 = 33;
const NO_SUCH_NAME: u8 = 3;

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// With a dot at its end.
    pub(super) target: String,
    pub(super) port: u16,
}

/// Whom to ask, and under which names.
#[derive(Debug, PartialEq, Eq)]
struct Resolver {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    /// A name with so many dots is meant as it stands first.
    dots: usize,
}

/// The records of `name`; none when the name servers know none.
pub(super) async fn lookup(name: &str) -> io::Result<Vec<Record>> {
    let text = tokio::task::spawn_blocking(|| read_bounded(Path::new(RESOLV_CONF), 64 << 10));
    Resolver::parse(&text.await.map_err(io::Error::other)??).lookup(name).await
}

impl Resolver {
    fn parse(text: &str) -> Self {
        let mut resolver = Self { servers: Vec::new(), search: Vec::new(), dots: 1 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server: Option<IpAddr> = words.next().and_then(|word| word.parse().ok());
                    resolver.servers.extend(server.map(|server| SocketAddr::new(server, 53)));
                }
                Some("domain" | "search") => {
                    resolver.search = words.map(|w| w.trim_end_matches('.').to_owned()).collect();
                }
                Some("options") => {
                    let dots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    resolver.dots = dots.unwrap_or(resolver.dots);
                }
                _ => {}
            }
        }
        if resolver.servers.is_empty() {
            resolver.servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        resolver
    }

    /// The names that `name` may mean, in the order in which they are tried.
    fn meanings(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let mut meanings: Vec<_> = self.search.iter().map(|in_| format!("{name}.{in_}")).collect();
        let first = name.matches('.').count() >= self.dots;
        meanings.insert(if first { 0 } else { meanings.len() }, name.to_owned());
        meanings
    }

    async fn lookup(&self, name: &str) -> io::Result<Vec<Record>> {
        let mut failure = None;
        for meaning in self.meanings(name) {
            for server in &self.servers {
                match tokio::time::timeout(PATIENCE, ask(*server, &meaning)).await {
                    Ok(Ok(records)) if records.is_empty() => break,
                    Ok(Ok(records)) => return Ok(records),
                    Ok(Err(error)) => failure = Some(error),
                    Err(_) => failure = Some(io::ErrorKind::TimedOut.into()),
                }
            }
        }
        failure.map_or_else(|| Ok(Vec::new()), Err)
    }
}

/// Asks one server; by TCP when the answer is too long for UDP.
async fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<Record>> {
    let question = question(name)?;
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut answer = vec![0; usize::from(UDP_BYTES)];
    loop {
        let bytes = socket.recv(&mut answer).await?;
        match read(&question, &answer[..bytes])? {
            // Of another question, or of somebody who guesses.
            Answer::Strange => {}
            Answer::Cut => break,
            Answer::Records(records) => return Ok(records),
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    // The question has less than 300 bytes.
    stream.write_u16(question.len() as u16).await?;
    stream.write_all(&question).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match read(&question, &answer)? {
        Answer::Records(records) => Ok(records),
        _ => Err(malformed()),
    }
}

fn question(name: &str) -> io::Result<Vec<u8>> {
    let [high, low, ..] = random::next_u64().to_be_bytes();
    // One question, recursion desired, and one record beside.
    let mut question = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        if !(1..=63).contains(&label.len()) || name.len() > 253 {
            return Err(io::Error::other("not a name for a name server"));
        }
        question.push(label.len() as u8);
        question.extend_from_slice(label.as_bytes());
    }
    question.extend([0, 0, SRV as u8, 0, 1]);
    let [high, low] = UDP_BYTES.to_be_bytes();
    question.extend([0, 0, 41, high, low, 0, 0, 0, 0, 0, 0]);
    Ok(question)
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Records(Vec<Record>),
    Cut,
    Strange,
}

fn read(question: &[u8], answer: &[u8]) -> io::Result<Answer> {
    let Some(header) = answer.get(..HEADER_BYTES) else { return Ok(Answer::Strange) };
    // Without the record beside, which has eleven bytes.
    let asked = &question[HEADER_BYTES..question.len() - 11];
    let repeated = answer.get(HEADER_BYTES..HEADER_BYTES + asked.len());
    let is_answer = header[2] & 0x80 != 0 && header[..2] == question[..2];
    if !is_answer || !repeated.is_some_and(|repeated| repeated.eq_ignore_ascii_case(asked)) {
        return Ok(Answer::Strange);
    }
    if header[2] & 0x02 != 0 {
        return Ok(Answer::Cut);
    }
    match header[3] & 0x0f {
        0 => {}
        NO_SUCH_NAME => return Ok(Answer::Records(Vec::new())),
        code => return Err(io::Error::other(format!("the name server answers code {code}"))),
    }
    let mut at = HEADER_BYTES + asked.len();
    let mut records = Vec::new();
    for _ in 0..u16::from_be_bytes([header[6], header[7]]) {
        at = name(answer, at)?.1;
        let (kind, length) = (number(answer, at)?, number(answer, at + 8)?);
        if kind == SRV {
            let port = number(answer, at + 14)?;
            records.push(Record { target: name(answer, at + 16)?.0, port });
        }
        at += 10 + usize::from(length);
    }
    Ok(Answer::Records(records))
}

fn number(answer: &[u8], at: usize) -> io::Result<u16> {
    let bytes = answer.get(at..at + 2).ok_or_else(malformed)?;
    Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The name that begins at `at`, and where what follows it begins.
fn name(answer: &[u8], mut at: usize) -> io::Result<(String, usize)> {
    let (mut name, mut after) = (String::new(), None);
    loop {
        let length = *answer.get(at).ok_or_else(malformed)?;
        match length {
            0 => break,
            1..=63 => {
                let label = answer.get(at + 1..at + 1 + usize::from(length));
                let label = label.filter(|label| label.iter().all(u8::is_ascii_graphic));
                name.extend(label.ok_or_else(malformed)?.iter().map(|byte| char::from(*byte)));
                name.push('.');
                at += 1 + usize::from(length);
            }
            _ => {
                let to = usize::from(number(answer, at)? & 0x3fff);
                // Only back, or it might never end.
                if length < 0xc0 || to >= at {
                    return Err(malformed());
                }
                after = after.or(Some(at + 2));
                at = to;
            }
        }
        if name.len() > 254 {
            return Err(malformed());
        }
    }
    Ok((name, after.unwrap_or(at + 1)))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the name server's answer is malformed")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    use super::*;

    /// An answer to `question` with these flags and two records, of which the second is an address.
    fn answer(question: &[u8], flags: [u8; 2]) -> Vec<u8> {
        let mut answer = question[..question.len() - 11].to_vec();
        answer[2..4].copy_from_slice(&flags);
        answer[6..12].copy_from_slice(&[0, 2, 0, 0, 0, 0]);
        // The name of the question again; the target is `db1` within it.
        answer.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 9, 0, 12]);
        answer.extend([0, 1, 0, 2, 0x23, 0x8c, 3, b'd', b'b', b'1', 0xc0, 12]);
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 127, 0, 0, 1]);
        answer
    }

    fn record() -> Record {
        Record { target: "db1._m._tcp.svc.".to_owned(), port: 9100 }
    }

    #[test]
    fn the_resolver_of_the_system_says_whom_to_ask_and_what_a_name_means() {
        let text = "# c\nnameserver 10.0.0.2\nnameserver ::1\nsearch a.b. c\noptions x ndots:2\n";
        let resolver = Resolver::parse(text);
        let servers = ["10.0.0.2:53".parse().unwrap(), "[::1]:53".parse().unwrap()];
        assert_eq!(resolver.servers, servers);
        assert_eq!(resolver.meanings("x.y"), ["x.y.a.b", "x.y.c", "x.y"]);
        assert_eq!(resolver.meanings("x.y.z"), ["x.y.z", "x.y.z.a.b", "x.y.z.c"]);
        assert_eq!(resolver.meanings("x."), ["x"]);
        assert_eq!(Resolver::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn an_answer_is_read_only_if_it_is_one_to_the_question() {
        let question = question("_m._tcp.svc").unwrap();
        let good = answer(&question, [0x81, 0x80]);
        assert_eq!(read(&question, &good).unwrap(), Answer::Records(vec![record()]));
        let none = answer(&question, [0x81, 0x83]);
        assert_eq!(read(&question, &none).unwrap(), Answer::Records(vec![]));
        assert_eq!(read(&question, &answer(&question, [0x83, 0x80])).unwrap(), Answer::Cut);
        let error = read(&question, &answer(&question, [0x81, 0x82])).unwrap_err();
        assert_eq!(error.to_string(), "the name server answers code 2");
        let mut strange = good.clone();
        strange[0] ^= 1;
        assert_eq!(read(&question, &strange).unwrap(), Answer::Strange);
        assert!(super::question("a..b").is_err());
    }

    proptest! {
        #[test]
        fn no_answer_is_too_hostile(place in 12_usize..80, byte: u8, length in 0_usize..90) {
            let question = question("_m._tcp.svc").unwrap();
            let mut answer = answer(&question, [0x81, 0x80]);
            if let Some(at) = answer.get_mut(place) {
                *at = byte;
            }
            answer.truncate(length);
            let _ = read(&question, &answer);
        }
    }

    #[tokio::test]
    async fn what_is_too_long_for_udp_is_asked_by_tcp() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(server).await.unwrap();
        tokio::spawn(async move {
            let mut question = [0; 512];
            let (bytes, from) = udp.recv_from(&mut question).await.unwrap();
            udp.send_to(b"?", from).await.unwrap();
            udp.send_to(&answer(&question[..bytes], [0x83, 0x80]), from).await.unwrap();
            let (mut stream, _) = tcp.accept().await.unwrap();
            let bytes = stream.read_u16().await.unwrap();
            let mut question = vec![0; bytes.into()];
            stream.read_exact(&mut question).await.unwrap();
            let answer = answer(&question, [0x81, 0x80]);
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        });
        let resolver = Resolver { servers: vec![server], search: Vec::new(), dots: 1 };
        assert_eq!(resolver.lookup("_m._tcp.svc").await.unwrap(), [record()]);
    }
}
