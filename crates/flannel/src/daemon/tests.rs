//! The whole daemon, upon an etcd and a kernel in memory and a clock that waits for nobody.

use std::fs;
use std::time::Duration;

use net::Mac;
use net::neighbours::GatewayRoute;
use runtime::{ComponentKind, WorkerReport};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::fake::FakeKernel;
use crate::lease::{Attributes, BackendData, TTL};
use crate::store::memory::Memory;

const VXLAN: &str = r#"{"Network": "11.0.0.0/8", "SubnetLen": 20, "SubnetMin": "11.10.0.0",
                        "Backend": {"Type": "vxlan", "VNI": 100, "Port": 8472}}"#;
const OWN: &str = "subnets/11.10.0.0-20";

struct Worker {
    store: Memory,
    kernel: FakeKernel,
    folder: TempDir,
    board: watch::Receiver<WorkerReport>,
    lease: watch::Receiver<Option<Ipv4Network>>,
    task: JoinHandle<()>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn net(text: &str) -> Ipv4Network {
    text.parse().unwrap()
}

/// The value of a lease of host 10.0.0.`host`.
fn peer(host: u8) -> String {
    let backend = BackendData::Vxlan { vni: 100, mac: Mac([2, 0, 0, 0, 0, host]) };
    Attributes { public_ip: Ipv4Addr::new(10, 0, 0, host), backend }.to_json()
}

/// The former subnet's file decides which subnet is chosen, so that it need not be a random one.
fn remember(folder: &TempDir, subnet: &str) {
    fs::write(folder.path().join("subnet.env"), format!("FLANNEL_SUBNET={subnet}\n")).unwrap();
}

impl Worker {
    fn start(store: &Memory) -> Self {
        let folder = tempfile::tempdir().unwrap();
        remember(&folder, "11.10.0.1/20");
        Self::start_in(store, &FakeKernel::new(), folder, false)
    }

    fn start_in(store: &Memory, kernel: &FakeKernel, folder: TempDir, ip_masq: bool) -> Self {
        let health = Health::default();
        health.announce(COMPONENT, ComponentKind::Builtin, "0");
        let board = health.watch();
        let (sender, lease) = watch::channel(None);
        let options = Options {
            node: "C0w1".into(),
            etcd: Vec::new(),
            prefix: PREFIX.into(),
            address: Ipv4Addr::new(10, 0, 0, 3),
            subnet_file: folder.path().join("subnet.env"),
            ip_masq,
        };
        let daemon = Daemon::new(options, store.clone(), kernel.clone(), health, sender);
        let task = tokio::spawn(daemon.run());
        Self { store: store.clone(), kernel: kernel.clone(), folder, board, lease, task }
    }

    /// Ends it and starts the next one, which finds what it left.
    fn restart(self) -> Self {
        self.task.abort();
        let folder = tempfile::tempdir().unwrap();
        fs::copy(self.folder.path().join("subnet.env"), folder.path().join("subnet.env")).unwrap();
        self.kernel.log();
        Self::start_in(&self.store, &self.kernel, folder, false)
    }

    async fn until(&mut self, ready: bool, message: &str) {
        let said = |report: &WorkerReport| {
            let status = &report.components[COMPONENT];
            status.ready == ready && status.message.contains(message)
        };
        let waited = tokio::time::timeout(Duration::from_secs(600), self.board.wait_for(said)).await.is_ok();
        assert!(waited, "not {message:?} but {:?}", self.board.borrow().components[COMPONENT]);
    }

    async fn ready(&mut self, message: &str) {
        self.until(true, message).await;
    }

    fn subnet(&self) -> String {
        self.lease.borrow().map(|subnet| subnet.to_string()).unwrap_or_default()
    }

    fn env(&self) -> String {
        fs::read_to_string(self.folder.path().join("subnet.env")).unwrap()
    }

    /// Waits until the kernel is in a state.
    async fn kernel(&self, what: impl Fn(&Observed) -> bool) {
        for _ in 0..10_000 {
            if what(&self.kernel.state()) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{:#?}", self.kernel.state());
    }

    fn mac(&self) -> Mac {
        self.kernel.state().devices[0].mac.unwrap()
    }
}

/// A network, and one other worker in it.
fn store() -> Memory {
    let store = Memory::default();
    store.write("config", VXLAN);
    store.write("subnets/11.10.16.0-20", &peer(4));
    store
}

#[tokio::test(start_paused = true)]
async fn a_worker_joins_device_first_then_lease_then_peers() {
    let mut worker = Worker::start(&store());
    worker.ready("11.10.0.0/20, vxlan, 1 peer").await;
    let mac = worker.mac().to_string();
    insta::assert_snapshot!(worker.kernel.log().replace(&mac, "<mac>"), @"
    ip link add flannel.100 address <mac> mtu 1450 type vxlan id 100 dev eth0 local 10.0.0.3 dstport 8472 nolearning
    ip address add 11.10.0.0/32 dev flannel.100
    ip link set flannel.100 up
    ip neigh replace 11.10.16.0 lladdr 02:00:00:00:00:04 dev flannel.100 nud permanent
    bridge fdb replace 02:00:00:00:00:04 dev flannel.100 dst 10.0.0.4 self permanent
    ip route replace 11.10.16.0/20 via 11.10.16.0 dev flannel.100 onlink
    ");
    insta::assert_snapshot!(worker.store.dump()[OWN].replace(&mac, "<mac>"), @r#"{"PublicIP":"10.0.0.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":100,"VtepMAC":"<mac>"}}"#);
    assert_eq!(worker.store.left(OWN).map(|left| left.as_secs() / 3600), Some(24), "a grant of a day");
    assert_eq!(worker.subnet(), "11.10.0.0/20");
    assert_eq!(
        worker.env(),
        "FLANNEL_NETWORK=11.0.0.0/8\nFLANNEL_SUBNET=11.10.0.1/20\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
    );
}

#[tokio::test(start_paused = true)]
async fn peers_come_change_and_go_without_a_look_at_the_kernel() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    worker.kernel.log();
    let looked = worker.kernel.observed();
    worker.store.write("subnets/11.10.32.0-20", &peer(5));
    worker.ready("2 peers").await;
    worker.store.write("subnets/11.10.32.0-20", &peer(6));
    worker.kernel(|k| k.neighbours.iter().any(|n| n.mac.0[5] == 6)).await;
    worker.store.remove("subnets/11.10.16.0-20");
    worker.store.remove("subnets/11.10.32.0-20");
    worker.ready("0 peers").await;
    let state = worker.kernel.state();
    assert_eq!((state.neighbours.len(), state.forwarding.len(), state.routes.len()), (0, 0, 0));
    assert!(worker.kernel.observed() <= looked + 1, "only what was made is looked at");
}

#[tokio::test(start_paused = true)]
async fn the_next_daemon_changes_nothing_but_the_grant() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    let (mac, before) = (worker.mac(), worker.store.dump());
    sleep(Duration::from_secs(3600)).await;
    let mut worker = worker.restart();
    worker.ready("1 peer").await;
    assert_eq!(worker.kernel.log(), "");
    assert_eq!((worker.mac(), worker.store.dump()), (mac, before));
    assert!(worker.store.left(OWN).unwrap() > Duration::from_secs(86_390), "renewed by taking it over");
}

#[tokio::test(start_paused = true)]
async fn the_next_daemon_makes_a_lost_device_again_as_peers_know_it() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    let mac = worker.mac();
    worker.task.abort();
    worker.kernel.delete_link("flannel.100");
    let mut worker = worker.restart();
    worker.ready("1 peer").await;
    assert_eq!(worker.mac(), mac);
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_renewed_an_hour_before_its_end_so_that_peers_see_it() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    let other = Follower::start(Arc::new(worker.store.clone()));
    sleep(TTL - Duration::from_secs(3605)).await;
    let seen = other.mirror.borrow().revision;
    assert!(worker.store.left(OWN).unwrap() < Duration::from_secs(3606));
    sleep(Duration::from_secs(10)).await;
    assert!(worker.store.left(OWN).unwrap() > Duration::from_secs(86_000));
    assert_eq!(other.mirror.borrow().revision, seen + 1, "one write, of which peers hear");
    assert_eq!(worker.kernel.log().matches("ip link").count(), 2, "nothing was made twice");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_tried_again_while_the_overlay_works() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    sleep(TTL - Duration::from_secs(3660)).await;
    worker.store.set_away(true);
    worker.until(false, "etcd at memory does not answer").await;
    worker.until(false, "the lease is not renewed").await;
    assert_eq!(worker.subnet(), "11.10.0.0/20");
    worker.store.set_away(false);
    worker.ready("11.10.0.0/20, vxlan, 1 peer").await;
    sleep(Duration::from_secs(120)).await;
    assert!(worker.store.left(OWN).unwrap() > Duration::from_secs(86_000));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_taken_again_or_another_one_if_someone_has_it() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    let (mac, value) = (worker.mac(), worker.store.dump()[OWN].clone());
    worker.store.remove(OWN);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.store.dump().get(OWN), Some(&value), "the same again");

    worker.store.rival(OWN);
    worker.store.remove(OWN);
    worker.lease.wait_for(|lease| *lease != Some(net("11.10.0.0/20"))).await.unwrap();
    let subnet = worker.subnet();
    let key = format!("subnets/{}", subnet.replace('/', "-"));
    assert_eq!(worker.store.dump()[&key], value);
    worker.ready(&subnet).await;
    let base = Ipv4Network::from(worker.lease.borrow().unwrap().ip());
    worker.kernel(|k| k.devices[0].addresses == [base]).await;
    assert!(worker.env().contains(&format!("FLANNEL_SUBNET={}", subnet.replace(".0/", ".1/"))));
    assert_eq!(worker.mac(), mac, "the device stays");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_says_something_else_is_set_right() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    let value = worker.store.dump()[OWN].clone();
    worker.store.write(OWN, &value.replace(&worker.mac().to_string(), "02:00:00:00:00:99"));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.store.dump()[OWN], value);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_is_never_renewed_and_stays_one() {
    let store = store();
    store.write("subnets/11.20.0.0-20", &peer(3));
    let mut worker = Worker::start(&store);
    worker.ready("11.20.0.0/20").await;
    assert_eq!(store.left("subnets/11.20.0.0-20"), None);
    assert_eq!(worker.mac(), Mac([2, 0, 0, 0, 0, 3]), "peers know this one");
    let before = store.list().await.unwrap().revision;
    sleep(TTL * 3).await;
    assert_eq!(store.list().await.unwrap().revision, before);
    assert_eq!(worker.subnet(), "11.20.0.0/20");
}

#[tokio::test(start_paused = true)]
async fn who_is_second_at_a_subnet_takes_another() {
    let store = store();
    store.rival(OWN);
    let mut worker = Worker::start(&store);
    worker.ready("vxlan").await;
    assert_ne!(worker.subnet(), "11.10.0.0/20");
    assert!(store.dump()[OWN].contains("10.9.9.9"), "theirs is theirs");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_device_comes_back_with_all_that_was_on_it() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    let before = worker.kernel.state();
    worker.kernel.delete_link("flannel.100");
    worker.kernel(|k| !k.routes.is_empty()).await;
    let after = worker.kernel.state();
    assert_eq!(after.devices[0].mac, before.devices[0].mac, "so that the peers' entries are still right");
    assert_eq!(after.devices[0].addresses, before.devices[0].addresses);
    assert_eq!((after.neighbours.len(), after.forwarding.len(), after.routes.len()), (1, 1, 1));
    assert_eq!(worker.store.list().await.unwrap().revision, 3, "and nobody need be told");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_meddled_with_is_right_again_after_ten_seconds() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    sleep(Duration::from_secs(1)).await;
    worker.kernel.meddle(|k| {
        k.forwarding.clear();
        k.devices[0].up = false;
        k.devices[0].addresses.push(net("192.0.2.1/24"));
        let gateway = Ipv4Addr::new(11, 10, 48, 0);
        let left = GatewayRoute { to: net("11.10.48.0/20"), gateway, index: 3, onlink: true, boot: true };
        k.routes.insert(left);
    });
    worker.kernel.log();
    sleep(RESYNC + Duration::from_secs(1)).await;
    insta::assert_snapshot!(worker.kernel.log(), @"
    ip address delete 192.0.2.1/24 dev flannel.100
    ip link set flannel.100 up
    bridge fdb replace 02:00:00:00:00:04 dev flannel.100 dst 10.0.0.4 self permanent
    ip route delete 11.10.48.0/20 via 11.10.48.0 dev flannel.100
    ");
}

#[tokio::test(start_paused = true)]
async fn another_network_means_another_lease() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    worker.store.write("config", &VXLAN.replace("20,", "24,").replace("11.10.0.0", "11.50.0.0"));
    worker.lease.wait_for(|lease| lease.is_some_and(|lease| lease.prefix() == 24)).await.unwrap();
    let keys: Vec<String> = worker.store.dump().into_keys().filter(|key| key.contains("11.")).collect();
    assert!(!keys.contains(&OWN.to_owned()), "the old one is given back: {keys:?}");
    assert!(worker.subnet().starts_with("11.50."));
    // The old worker's subnet is another one's still, until its lease ends.
    worker.ready("1 peer").await;
}

#[tokio::test(start_paused = true)]
async fn another_identifier_means_another_device_and_another_backend_none() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    worker.kernel.log();
    worker.store.write("config", &VXLAN.replace("\"VNI\": 100", "\"VNI\": 7, \"MTU\": 1300"));
    worker.kernel(|k| k.device("flannel.7").is_some_and(|d| d.mtu == 1250) && k.routes.len() == 1).await;
    assert_eq!(worker.kernel.state().devices.len(), 1);
    assert!(worker.store.dump()[OWN].contains("\"VNI\":7"));
    assert!(worker.env().contains("FLANNEL_MTU=1250\n"));

    worker.store.write("subnets/11.10.16.0-20", r#"{"PublicIP":"10.0.0.4","BackendType":"host-gw"}"#);
    worker.store.write("config", &VXLAN.replace("vxlan", "host-gw"));
    worker.ready("host-gw, 1 peer").await;
    let state = worker.kernel.state();
    assert_eq!(state.devices, []);
    let gateway = Ipv4Addr::new(10, 0, 0, 4);
    let route = GatewayRoute { to: net("11.10.16.0/20"), gateway, index: 2, onlink: false, boot: true };
    assert_eq!(state.routes.into_iter().collect::<Vec<_>>(), [route]);
    assert!(worker.env().contains("FLANNEL_MTU=1500\n"));
    insta::assert_snapshot!(worker.store.dump()[OWN], @r#"{"PublicIP":"10.0.0.3","PublicIPv6":null,"BackendType":"host-gw"}"#);

    // And back: of the routes of host-gw nothing is left.
    worker.store.write("subnets/11.10.16.0-20", &peer(4));
    worker.store.write("config", VXLAN);
    worker.ready("vxlan, 1 peer").await;
    let state = worker.kernel.state();
    assert!(state.routes.iter().all(|route| route.onlink) && state.routes.len() == 1, "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_is_none_is_told_and_the_former_one_goes_on() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    worker.store.write("config", &VXLAN.replace("\"SubnetLen\": 20", "\"SubnetLen\": 31"));
    worker.until(false, "11.10.0.0/20, vxlan, 1 peer; network config: SubnetLen is above 30").await;
    worker.store.write("subnets/11.10.32.0-20", &peer(5));
    worker.until(false, "2 peers").await;
    worker.store.remove("config");
    worker.until(false, "etcd has no network config under /coreos.com/network/config").await;
    worker.store.write("config", VXLAN);
    worker.ready("2 peers").await;
}

#[tokio::test(start_paused = true)]
async fn without_etcd_or_configuration_it_waits_and_says_for_what() {
    let store = Memory::default();
    store.set_away(true);
    let mut worker = Worker::start(&store);
    worker.until(false, "etcd at memory does not answer").await;
    store.set_away(false);
    worker.until(false, "etcd has no network config under /coreos.com/network/config").await;
    assert_eq!(worker.kernel.log(), "", "nothing is done before one knows what");
    store.write("config", VXLAN);
    worker.ready("0 peers").await;
}

#[tokio::test(start_paused = true)]
async fn an_etcd_that_comes_back_empty_gets_the_lease_again() {
    let mut worker = Worker::start(&store());
    worker.ready("1 peer").await;
    worker.store.set_away(true);
    worker.until(false, "does not answer").await;
    worker.store.remove(OWN);
    worker.store.remove("subnets/11.10.16.0-20");
    worker.store.set_away(false);
    worker.ready("11.10.0.0/20, vxlan, 0 peers").await;
    assert!(worker.store.dump().contains_key(OWN));
}

#[tokio::test(start_paused = true)]
async fn when_no_subnet_is_free_it_says_so_until_one_is() {
    let store = Memory::default();
    store.write("config", r#"{"Network": "11.0.0.0/28", "SubnetLen": 30, "Backend": {"Type": "vxlan"}}"#);
    for (n, host) in [(4, 4), (8, 5), (12, 6)] {
        store.write(&format!("subnets/11.0.0.{n}-30"), &peer(host));
    }
    let mut worker = Worker::start(&store);
    worker.until(false, "no subnet is free: all 3 from 11.0.0.4/30 to 11.0.0.12/30 are leased").await;
    store.remove("subnets/11.0.0.8-30");
    worker.ready("11.0.0.8/30, vxlan, 2 peers").await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_the_kernel_refuses_is_told_and_the_others_are_made() {
    let store = Memory::default();
    store.write("config", &VXLAN.replace("vxlan", "host-gw"));
    for (n, host) in [(16, "10.0.0.4"), (32, "10.77.0.5"), (48, "10.77.0.6")] {
        let value = format!(r#"{{"PublicIP":"{host}","BackendType":"host-gw"}}"#);
        store.write(&format!("subnets/11.10.{n}.0-20"), &value);
    }
    let mut worker = Worker::start(&store);
    worker
        .ready(
            "host-gw, 3 peers; ip route replace 11.10.32.0/20 via 10.77.0.5 dev eth0: Network is \
             unreachable (os error 101), and 1 more entries",
        )
        .await;
    assert_eq!(worker.kernel.state().routes.len(), 1);
    worker.kernel.meddle(|k| k.external.as_mut().unwrap().networks.push(net("10.77.0.3/24")));
    worker.kernel(|k| k.routes.len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_no_interface_has_is_told() {
    let kernel = FakeKernel::new();
    kernel.meddle(|k| k.external.as_mut().unwrap().networks = vec![net("10.0.0.99/24")]);
    let mut worker = Worker::start_in(&store(), &kernel, tempfile::tempdir().unwrap(), false);
    worker.until(false, "no interface has the address 10.0.0.3").await;
    kernel.meddle(|k| k.external.as_mut().unwrap().networks = vec![net("10.0.0.3/24")]);
    worker.ready("1 peer").await;
}

#[tokio::test(start_paused = true)]
async fn rules_that_masquerade_follow_the_lease_and_go_when_they_are_not_wanted() {
    let folder = tempfile::tempdir().unwrap();
    remember(&folder, "11.10.0.1/20");
    let mut worker = Worker::start_in(&store(), &FakeKernel::new(), folder, true);
    worker.ready("11.10.0.0/20").await;
    let rules = |subnet| Some(Masquerade { network: net("11.0.0.0/8"), subnet: net(subnet) });
    assert_eq!(worker.kernel.masqueraded(), [rules("11.10.0.0/20")]);
    assert!(worker.env().contains("FLANNEL_IPMASQ=true\n"));
    let mut worker = worker.restart();
    worker.ready("11.10.0.0/20").await;
    assert_eq!(worker.kernel.masqueraded(), [rules("11.10.0.0/20"), None]);
    let mut worker = worker.restart();
    worker.ready("11.10.0.0/20").await;
    assert_eq!(worker.kernel.masqueraded().len(), 2, "who never had them need not take them away");
}

#[tokio::test(start_paused = true)]
async fn a_kernel_without_vxlan_is_told_with_a_way_out_and_works_once_it_has_it() {
    let kernel = FakeKernel::new();
    kernel.refuse_vxlan(Some(libc::EOPNOTSUPP));
    let mut worker = Worker::start_in(&store(), &kernel, tempfile::tempdir().unwrap(), false);
    worker
        .until(
            false,
            "make the vxlan device flannel.100: add vxlan device flannel.100: Operation not supported",
        )
        .await;
    let hint = worker.board.borrow().components[COMPONENT].hint.clone().unwrap();
    assert!(hint.contains("modprobe vxlan") && hint.contains("host-gw"), "{hint}");
    kernel.refuse_vxlan(None);
    worker.ready("vxlan, 1 peer").await;
    assert_eq!(worker.board.borrow().components[COMPONENT].hint, None);
}
