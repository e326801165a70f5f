//! An etcd, and a cable to it that can be cut.

use std::future::Future;
use std::io;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use store::Store;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// No condition takes longer, on a busy machine too.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Runs a test in a network namespace of its own.
pub(crate) fn alone<T: Send>(test: impl Future<Output = T> + Send) -> T {
    let ns = testkit::netns();
    // A thread of a namespace has a small stack; one that it starts is in the same namespace.
    let test = Box::pin(test);
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test)
    };
    let large = || thread::Builder::new().stack_size(8 << 20);
    ns.run(|| {
        thread::scope(|scope| {
            let thread = large().spawn_scoped(scope, run).unwrap();
            Ok::<_, net::Error>(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    })
    .unwrap()
}

/// Waits for something, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

/// Repeats an operation until it succeeds.
pub(crate) async fn until_ok<T, E, F>(what: &str, mut operation: impl FnMut() -> F) -> T
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let began = Instant::now();
    loop {
        match operation().await {
            Ok(value) => return value,
            Err(error) => assert!(began.elapsed() < LIMIT, "{what}: not within {LIMIT:?}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One member of a cluster of etcd, in the namespace of the calling thread.
pub(crate) struct Etcd {
    number: u8,
    members: u8,
    /// On a file system in memory: an etcd on a disk is as slow as the disk.
    data: TempDir,
    child: Child,
}

impl Etcd {
    /// A cluster of one.
    pub(crate) async fn single() -> Self {
        let etcd = Self::start(1, 1);
        etcd.ready().await;
        etcd
    }

    /// A cluster of three.
    pub(crate) async fn three() -> Vec<Self> {
        let members: Vec<_> = (1..=3).map(|number| Self::start(number, 3)).collect();
        for member in &members {
            member.ready().await;
        }
        members
    }

    fn start(number: u8, members: u8) -> Self {
        let data = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let child = Self::spawn(number, members, &data);
        Self { number, members, data, child }
    }

    fn spawn(number: u8, members: u8, data: &TempDir) -> Child {
        let peer = |number: u8| format!("http://127.0.0.{number}:2380");
        let cluster: Vec<_> = (1..=members).map(|n| format!("m{n}={}", peer(n))).collect();
        let client = url(number);
        // It must not outlive the test, whatever becomes of that.
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "etcd"])
            .args(["--name", &format!("m{number}"), "--data-dir"])
            .arg(data.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer(number), "--initial-advertise-peer-urls", &peer(number)])
            .args(["--initial-cluster", &cluster.join(",")])
            // A loaded machine with three members must not elect all the time.
            .args(["--heartbeat-interval", if members > 1 { "30" } else { "10" }])
            .args(["--election-timeout", if members > 1 { "300" } else { "50" }])
            .env("ETCD_LOGGER", "zap")
            .env("ETCD_LOG_LEVEL", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv and etcd (packages util-linux and etcd-server)")
    }

    pub(crate) fn url(&self) -> String {
        url(self.number)
    }

    pub(crate) async fn store(&self) -> Store {
        Store::etcd(&[self.url()]).await.unwrap()
    }

    /// Waits until it answers.
    pub(crate) async fn ready(&self) {
        let store = self.store().await;
        until_ok("etcd is ready", || store.get_raw(&api::kinds::PODS, "default", "none")).await;
    }

    /// As after a power cut.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again with its data.
    pub(crate) fn restart(&mut self) {
        self.child = Self::spawn(self.number, self.members, &self.data);
    }

    /// Starts it again with none.
    pub(crate) fn restart_empty(&mut self) {
        self.data = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        self.restart();
    }

    /// It neither answers nor goes.
    pub(crate) fn hang(&self) {
        self.signal(Signal::SIGSTOP);
        // A signal is only on its way; this waits until all threads stand still.
        let status = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(status, WaitStatus::Stopped(self.pid(), Signal::SIGSTOP));
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Whether this member leads.
    pub(crate) async fn leads(&self) -> bool {
        let mut client = etcd_client::Client::connect([self.url()], None).await.unwrap();
        let Ok(status) = client.status().await else { return false };
        status.leader() != 0 && status.header().is_some_and(|header| header.member_id() == status.leader())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn url(number: u8) -> String {
    format!("http://127.0.0.{number}:2379")
}

/// A cable: what goes in at its own port comes out at the server's.
pub(crate) struct Cable {
    address: String,
    server: String,
    tasks: JoinSet<()>,
}

impl Cable {
    pub(crate) async fn to(etcd: &Etcd) -> Self {
        let server = etcd.url().strip_prefix("http://").unwrap().to_owned();
        let mut cable = Self { address: "127.0.0.1:12379".into(), server, tasks: JoinSet::new() };
        cable.mend().await;
        cable
    }

    pub(crate) async fn store(&self) -> Store {
        Store::etcd(&[format!("http://{}", self.address)]).await.unwrap()
    }

    /// Breaks all connections and takes no new ones.
    pub(crate) async fn cut(&mut self) {
        self.tasks.shutdown().await;
    }

    pub(crate) async fn mend(&mut self) {
        let listener = until_ok("the port is free", || TcpListener::bind(&self.address)).await;
        let server = self.server.clone();
        self.tasks.spawn(async move {
            // With this task its connections end.
            let mut connections = JoinSet::new();
            while let Ok((inside, _)) = listener.accept().await {
                connections.spawn(carry(inside, server.clone()));
            }
        });
    }
}

async fn carry(mut inside: TcpStream, server: String) -> io::Result<()> {
    let mut outside = TcpStream::connect(server).await?;
    tokio::io::copy_bidirectional(&mut inside, &mut outside).await?;
    Ok(())
}
