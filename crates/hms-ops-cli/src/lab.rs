//! The lab: the whole loop on this machine, with real processes and real traffic.
//!
//! ```text
//!  users ──► router ──► eligibility-svc in cluster-a ──┐ /metrics, spans
//!              │   └──► eligibility-svc in cluster-b ──┤
//!              └──────────── engine, page ◄────────────┘
//! ```
//!
//! The users and the two clusters are processes of their own; the router, the engine and the page
//! are in this one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use hms_ops::Ops;
use hms_ops::collect::scrape::Target;
use hms_ops::core::ledger::Seq;
use hms_ops::core::registry::Registry;
use hms_ops::core::runbook::Registration;
use hms_ops::mesh::{Router, Serving};
use hms_ops::runbook::Policy;
use hms_ops::trace::GlobalSink;
use tokio::io::{BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::ChildStdout;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) mod drill;
pub(crate) mod figures;
pub(crate) mod follower;
pub(crate) mod history;
pub(crate) mod judge;
pub(crate) mod processes;
pub(crate) mod service;
pub(crate) mod setting;
pub(crate) mod timeline;
pub(crate) mod users;

use follower::Follower;
use history::History;
use processes::Process;
use setting::{CLUSTERS, METRIC, POLICY, RATE, RUNBOOK, SERVICE, Setting, USERS};
use users::Report;

/// Where the page is if nobody says otherwise and nobody else is there.
const USUAL_PORT: u16 = 9110;
/// How long notifications that are not delivered yet may take at the end.
const LAST_NOTIFICATIONS: Duration = Duration::from_secs(2);

/// The lab, up and running.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) setting: Setting,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) router: Router,
    pub(crate) ops: Ops,
    /// The last entry that was in the ledger when the engine had started.
    began: Seq,
    pub(crate) history: History,
    page: SocketAddr,
    serving: Serving,
    users: Users,
}

/// One cluster of the service.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    process: Process,
}

/// The process of the users, and what it reports.
#[derive(Debug)]
struct Users {
    process: Process,
    reports: watch::Receiver<Report>,
    reading: JoinHandle<()>,
}

/// How the lab ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What the users met with from start to end.
    pub(crate) users: Report,
    /// What did not end well.
    pub(crate) problems: Vec<String>,
}

impl Lab {
    /// Starts every part; returns when users are sending requests.
    pub(crate) async fn start(
        setting: Setting,
        port: Option<u16>,
        history: History,
    ) -> Result<Self> {
        if Registration::find(RUNBOOK).is_none() {
            bail!("this binary has no runbook {RUNBOOK:?}, which the lab needs: use `hms-ops lab`");
        }
        let port = page_port(port)?;
        let mut clusters = Vec::new();
        for name in CLUSTERS {
            clusters.push(Cluster::start(name).await?);
        }
        let mut router = Router::builder(SERVICE).spans(Arc::new(GlobalSink));
        for cluster in &clusters {
            router = router.cluster(cluster.name, cluster.url.as_str());
        }
        let router = router.build()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let serving = router.serve(listener.context("cannot listen for the router")?)?;

        let mut engine = Ops::builder()
            .registry(Registry::new())
            .data(history.folder())
            .mesh(router.clone())
            .policy(Policy::parse("the lab's policy", POLICY)?)
            .budget(METRIC, setting.budget, Some(SERVICE))
            .dashboard(&format!("127.0.0.1:{port}"));
        for cluster in &clusters {
            let target = Target::new(&format!("{}/metrics", cluster.url))?;
            let target = target.label("service", SERVICE).label("cluster", cluster.name);
            engine = engine.target(target.interval(setting.scrape));
        }
        let ops = engine.start().await?;
        let began = ops.ledger().history().await?.seq;
        let page = ops.dashboard_address().context("the engine serves no page")?;

        for cluster in &mut clusters {
            cluster.process.tell(&format!("http://{page}")).await?;
        }
        let users = Users::start(serving.address())?;
        Ok(Self { setting, clusters, router, ops, began, history, page, serving, users })
    }

    /// What the ledger gets while this lab runs; the folder may have that of earlier ones.
    pub(crate) fn follow(&self) -> Follower {
        Follower::after(self.began, self.ops.ledger().clone())
    }

    /// Where the page is, with a slash at the end.
    pub(crate) fn page_url(&self) -> String {
        format!("http://{}/", self.page)
    }

    /// Where the service is for its users, with a slash at the end.
    pub(crate) fn router_url(&self) -> String {
        format!("http://{}/", self.serving.address())
    }

    /// What the users met with in the last second.
    pub(crate) fn users(&self) -> Report {
        self.users.reports.borrow().clone()
    }

    /// What the users meet with in the next second in which they are answered.
    pub(crate) async fn next_users(&self) -> Result<Report> {
        let mut reports = self.users.reports.clone();
        reports.mark_unchanged();
        loop {
            reports.changed().await.context("the users have ended")?;
            let report = reports.borrow_and_update().clone();
            if report.ok > 0 {
                return Ok(report);
            }
        }
    }

    /// The processes of the lab.
    pub(crate) fn process_ids(&self) -> Vec<u32> {
        let clusters = self.clusters.iter().map(|cluster| cluster.process.id());
        clusters.chain([self.users.process.id()]).collect()
    }

    /// Ends every part, the askers before those who answer, and waits until all have ended.
    pub(crate) async fn end(self) -> Ended {
        let Self { clusters, ops, history: _history, page, serving, users, .. } = self;
        let listeners = [page, serving.address()];
        let mut problems = Vec::new();
        let mut note = |ended: Result<()>| {
            problems.extend(ended.err().map(|error| crate::failure::line(&error)));
        };
        let Users { process, reports, reading } = users;
        note(process.end().await);
        note(reading.await.context("reading the users' reports failed"));
        for cluster in clusters {
            note(cluster.process.end().await);
        }
        serving.shutdown().await;
        note(ops.shutdown(LAST_NOTIFICATIONS).await.context("the engine did not end well"));
        let left = processes::children();
        if !left.is_empty() {
            note(Err(anyhow!("still running: {}", left.join(", "))));
        }
        for address in listeners {
            if TcpStream::connect(address).await.is_ok() {
                note(Err(anyhow!("somebody still listens on {address}")));
            }
        }
        let users = reports.borrow().clone();
        if !users.last {
            note(Err(anyhow!("the users ended without a last report")));
        }
        Ended { users, problems }
    }
}

impl Cluster {
    async fn start(name: &'static str) -> Result<Self> {
        let args = ["lab-service", "--cluster", name];
        let (mut process, mut lines) = Process::start(name, &args)?;
        let address = process.next_line(&mut lines).await?;
        Ok(Self { name, url: format!("http://{address}"), process })
    }
}

impl Users {
    fn start(router: SocketAddr) -> Result<Self> {
        let (url, users, rate) = (format!("http://{router}/"), USERS.to_string(), RATE.to_string());
        let args = ["lab-users", "--url", &url, "--users", &users, "--rate", &rate];
        let (process, lines) = Process::start("users", &args)?;
        let (tell, reports) = watch::channel(Report::default());
        Ok(Self { process, reports, reading: tokio::spawn(read(lines, tell)) })
    }
}

async fn read(mut lines: Lines<BufReader<ChildStdout>>, tell: watch::Sender<Report>) {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(report) = serde_json::from_str(&line) {
            tell.send_replace(report);
        }
    }
}

/// The port that was asked for, if it is free; else the usual one if that is free, or 0 for any.
fn page_port(asked: Option<u16>) -> Result<u16> {
    let bind = |port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    match asked {
        Some(port) => {
            bind(port).with_context(|| format!("cannot serve the page at port {port}"))?;
            Ok(port)
        }
        None => Ok(if bind(USUAL_PORT).is_ok() { USUAL_PORT } else { 0 }),
    }
}
