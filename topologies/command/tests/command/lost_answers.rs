//! A topology at a broker behind a proxy that delays and drops answers, the first one to each commit among them, and cuts
//! connections.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use topo_broker::{Broker, BrokerConfig, ListenAddress, Server, ServerConfig};
use topo_tests::proxy::{Passage, ProxyAddress};

use crate::exact::{EXACTLY_ONCE, counted, produce};
use crate::topo::{BROKER_FILE, Run, said};
use crate::words::{assert_same, count, seed, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_lost_on_the_way_every_word_is_counted_exactly_once() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let broker = Broker::open(dir.path().join("data"), BrokerConfig::default()).expect("it is new");
    let address = ProxyAddress::free().await;
    let (listen, advertise) = (vec![ListenAddress::localhost(0)], Some(address.get().into()));
    let config = ServerConfig { listen, advertise, ..ServerConfig::default() };
    let server = Server::bind(broker, config).expect("a free port");
    let seed = seed();
    let (is_bad, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let (bad, asked) = (Arc::clone(&is_bad), Arc::clone(&ends));
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let proxy = address.pass_to(server.local_addrs()[0], move |key| match key {
        _ if !bad.load(Ordering::Relaxed) => Passage::Answered(Duration::ZERO),
        // Each is asked again then.
        ApiKey::EndTxn if asked.fetch_add(1, Ordering::Relaxed) % 2 == 0 => Passage::Unanswered,
        ApiKey::ApiVersions => Passage::Answered(Duration::ZERO),
        _ => match random.random_range(0..200) {
            0 => Passage::Unanswered,
            1 => Passage::Unheard,
            2..40 => Passage::Answered(Duration::from_millis(random.random_range(1..20))),
            _ => Passage::Answered(Duration::ZERO),
        },
    });
    fs::write(dir.path().join(BROKER_FILE), proxy.address().to_string()).expect("room for a test");
    let log = dir.path().to_owned();
    let whole = tokio::task::spawn_blocking(move || {
        said(&log, &["topic", "create", "lines"]);
        let mut written = String::new();
        for round in 0..4 {
            let chunk = text(seed.wrapping_add(round), 4_000) + "\n";
            produce(&log, &chunk);
            written.push_str(&chunk);
            let run = Run::start(&log, &[&EXACTLY_ONCE[..], &["--until-idle"]].concat());
            is_bad.store(true, Ordering::Relaxed);
            let ended = run.end();
            is_bad.store(false, Ordering::Relaxed);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            assert_same(&counted(&log), &count(&written));
        }
    });
    whole.await.expect("the truth");
    let dropped = ends.load(Ordering::Relaxed).div_ceil(2);
    eprintln!("{dropped} answers to commits were dropped");
    assert!(dropped >= 4, "{dropped} answers to commits were dropped");
}
