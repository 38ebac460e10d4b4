//! The server over real loopback sockets, asked by a client that writes its requests byte by byte.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use topo_core::metrics::TopologySnapshot;

use super::assets::ASSETS;
use super::views::VIEWS;
use super::{Snapshots, StatusServer, fixture, routes};

pub(super) struct Fixture(pub(super) Vec<TopologySnapshot>);

impl Snapshots for Fixture {
    fn snapshots(&self) -> Vec<TopologySnapshot> {
        self.0.clone()
    }
}

pub(super) fn serve(snapshots: Vec<TopologySnapshot>) -> StatusServer {
    StatusServer::bind("127.0.0.1:0".parse().unwrap(), Arc::new(Fixture(snapshots))).unwrap()
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

/// Sends `request` as it stands and reads until the server closes.
pub(super) fn send(to: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status, headers, body: body.to_owned() }
}

pub(super) fn ask(to: SocketAddr, method: &str, path: &str, host: &str) -> Answer {
    send(to, &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

pub(super) fn get(to: SocketAddr, path: &str) -> Answer {
    ask(to, "GET", path, &to.to_string())
}

pub(super) fn get_json(to: SocketAddr, path: &str) -> Value {
    let answer = get(to, path);
    assert_eq!((answer.status, &*answer.headers["content-type"]), (200, "application/json"), "{path}");
    serde_json::from_str(&answer.body).unwrap()
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let server = serve(Vec::new());
    let described = get_json(server.local_addr(), "/api/v1/openapi.json");
    let mut told = Vec::new();
    for (path, operations) in described["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            told.push((method.to_uppercase(), path.clone()));
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let named = parameters.filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap());
            let named: Vec<String> = named.map(|name| format!("{{{name}}}")).collect();
            let wanted: Vec<&str> = path.split('/').filter(|part| part.starts_with('{')).collect();
            assert_eq!(named, wanted, "{method} {path}");
            assert_eq!(method != "get", operation["security"].is_array(), "{method} {path}");
            let responses = &operation["responses"];
            assert_eq!(responses["403"].is_object(), method != "get", "{method} {path}");
            assert_eq!(responses["401"].is_object(), path != "/api/v1/session", "{method} {path}");
        }
    }
    let of_events = &described["paths"][routes::EVENTS]["get"]["parameters"];
    assert_eq!(of_events[0]["schema"]["enum"], json!(VIEWS));
    let mut routes: Vec<(String, String)> =
        routes::api().iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    routes.push(("GET".to_owned(), routes::EVENTS.to_owned()));
    routes.sort();
    told.sort();
    assert_eq!(told, routes);
    // What it refers to is there.
    let text = described.to_string();
    for name in text.split("\"#/components/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(described["components"].pointer(&format!("/{name}")).is_some_and(Value::is_object), "{name}");
    }
}

#[test]
fn the_page_loads_nothing_from_elsewhere_and_runs_nothing_inline() {
    let server = serve(vec![fixture::topology()]);
    let page = get(server.local_addr(), "/").body;
    assert!(page.contains(r#"<script src="/assets/app.js" type="module"></script>"#));
    assert_eq!(page.matches("<script").count(), 1);
    for tag in page.split('<').filter_map(|tag| tag.split('>').next()) {
        assert!(!tag.contains("http://") && !tag.contains("https://"), "{tag}");
        for word in tag.split_whitespace().filter(|word| word.contains('=')) {
            assert!(!word.starts_with("on") && !word.starts_with("style="), "{tag}");
        }
    }
}

/// The first `count` events of a stream, each its name and what it says.
pub(super) fn events(to: SocketAddr, path: &str, count: usize) -> Vec<(String, Value)> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).unwrap();
    let mut events = Vec::new();
    let mut name = String::new();
    for line in BufReader::new(stream).lines().map(Result::unwrap) {
        if let Some(event) = line.strip_prefix("event: ") {
            event.clone_into(&mut name);
        } else if let Some(data) = line.strip_prefix("data: ") {
            events.push((std::mem::take(&mut name), serde_json::from_str(data).unwrap()));
            if events.len() == count {
                break;
            }
        }
    }
    events
}

#[test]
fn the_stream_tells_the_topologies_and_the_view_again_and_again() {
    let server = serve(vec![fixture::topology()]);
    let addr = server.local_addr();
    let told = events(addr, "/api/v1/events?view=components&topology=words-1", 4);
    let names: Vec<&str> = told.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["topologies", "view", "topologies", "view"]);
    assert_eq!(told[0].1["topologies"], get_json(addr, "/api/v1/topology/summary")["topologies"]);
    assert!(told[2].1["timeMs"].as_i64() > told[0].1["timeMs"].as_i64());
    assert_includes(&told[1].1, &json!({ "id": "words-1", "spouts": [{ "emitted": 1_000_042 }] }));
    for view in VIEWS {
        let told = events(addr, &format!("/api/v1/events?view={view}"), 2);
        assert_eq!(told[1].0, "view", "{view}");
    }
    let none = get(addr, "/api/v1/events?view=nothing");
    assert_eq!(none.status, 404);
    assert!(none.body.contains("there is no view `nothing`; there are graph, components, "), "{}", none.body);
}

#[test]
fn as_many_streams_as_there_may_be_are_told_and_no_more() {
    let server = serve(Vec::new());
    let addr = server.local_addr();
    let open = || {
        let mut stream = TcpStream::connect(addr).unwrap();
        let request = format!("GET /api/v1/events?view=components HTTP/1.1\r\nHost: {addr}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut line).unwrap();
        (line, reader)
    };
    let mut held: Vec<_> = (0..64).map(|_| open()).collect();
    assert!(held.iter().all(|(line, _)| line == "HTTP/1.1 200 OK\r\n"));
    assert_eq!(open().0, "HTTP/1.1 503 Service Unavailable\r\n");
    // Whoever goes makes room, once the server has noticed.
    drop(held.pop());
    let deadline = Instant::now() + Duration::from_secs(60);
    while open().0 != "HTTP/1.1 200 OK\r\n" {
        assert!(Instant::now() < deadline, "no room came");
    }
}

#[test]
fn every_file_of_the_page_is_served_and_loads_only_such() {
    let server = serve(Vec::new());
    let shell = get(server.local_addr(), "/").body;
    assert!(!shell.contains("<!--views-->"));
    for view in VIEWS {
        assert!(shell.contains(&format!("<template id=\"view-{view}\">")), "{view}");
    }
    for asset in ASSETS {
        let answer = get(server.local_addr(), &format!("/assets/{}", asset.name));
        assert_eq!((answer.status, &*answer.headers["content-type"]), (200, asset.content_type));
        let imports = answer.body.lines().filter_map(|line| line.strip_prefix("import ")?.split('"').nth(1));
        for import in imports {
            let folder = asset.name.rsplit_once('/').map_or("", |(folder, _)| folder);
            let name = match import.strip_prefix("../") {
                Some(above) => above.to_owned(),
                None => format!("{folder}/{}", import.trim_start_matches("./")),
            };
            let name = name.trim_start_matches('/');
            assert!(ASSETS.iter().any(|asset| asset.name == name), "{} imports {import}", asset.name);
        }
        for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval("]
        {
            assert!(!answer.body.contains(markup), "{} makes markup of text: {markup}", asset.name);
        }
    }
}

#[test]
fn the_summary_has_storms_shape() {
    let server = serve(vec![fixture::topology()]);
    assert_eq!(
        get_json(server.local_addr(), "/api/v1/topology/summary"),
        json!({ "topologies": [{
            "id": "words-1",
            "name": "words & <more>",
            "status": "ACTIVE",
            "uptime": "6m 5s",
            "uptimeSeconds": 365,
            "tasksTotal": 4,
            "workersTotal": 1,
            "executorsTotal": 4,
        }] })
    );
    let none = serve(Vec::new());
    assert_eq!(get_json(none.local_addr(), "/api/v1/topology/summary"), json!({ "topologies": [] }));
}

/// Asserts that `actual` has every field of `expected`, at every depth.
fn assert_includes(actual: &Value, expected: &Value) {
    match expected {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| assert_includes(&actual[name], value))
        }
        Value::Array(items) => {
            assert_eq!(actual.as_array().map(Vec::len), Some(items.len()), "{actual}");
            items.iter().enumerate().for_each(|(index, item)| assert_includes(&actual[index], item));
        }
        _ => assert_eq!(actual, expected),
    }
}

#[test]
fn a_topology_has_storms_shape_and_the_snapshots_numbers() {
    let server = serve(vec![fixture::topology()]);
    let page = get_json(server.local_addr(), "/api/v1/topology/words-1");
    assert_includes(
        &page,
        &json!({
            "id": "words-1", "status": "ACTIVE", "tasksTotal": 4, "window": ":all-time", "windowHint": "All time",
            "topologyStats": [{
                "window": ":all-time", "windowPretty": "All time", "emitted": 8_000_045, "transferred": 8_000_048,
                "acked": 900_046, "failed": 17, "rejected": 5, "timedOut": 7,
                "pending": 99_984,
            }],
            "spouts": [{
                "spoutId": "lines", "executors": 2, "tasks": 2, "emitted": 1_000_042, "transferred": 1_000_044,
                "acked": 900_046, "failed": 17, "pending": 99_984, "lastError": "", "errorTime": null,
                "timedOut": 7, "taskStats": [{
                    "task": 0, "emitted": 1_000_001,
                    "windows": [{ "partition": "in-3", "oldest": 77, "span": 768, "limit": 1_024, "waiting": 6 }],
                }, { "task": 1, "emitted": 41, "pending": 3 }],
            }],
            "bolts": [{
                "boltId": "split", "executors": 2, "tasks": 2, "emitted": 7_000_003, "executed": 1_000_001,
                "acked": 999_999, "failed": 3, "timedOut": 1, "late": 14,
                "eventTimeMs": fixture::NOW_MS - 4_250, "restarted": 2, "capacity": "0.938", "lastError": fixture::MARKUP,
                "errorTime": fixture::NOW_MS / 1_000 - 65,
                "queue": { "tuples": 524, "bytes": 8_340, "capacityTuples": 2_048, "capacityBytes": 131_072 },
                "taskStats": [{ "executed": 600_001, "busy": 0.5, "late": 13, "eventTimeMs": fixture::NOW_MS - 3_000 }, { "executed": 400_000, "busy": 0.9375 }],
            }],
            "edges": [{ "from": "lines", "stream": "default", "to": "split", "grouping": "shuffle" }],
        }),
    );
    let bolt = &fixture::topology().components[1];
    let execute = bolt.latency(|task| &task.execute);
    let micros = |quantile| execute.quantile(quantile).unwrap().as_nanos() as f64 / 1e3;
    let told = &page["bolts"][0];
    assert_eq!(told["executeLatencyMicros"]["count"], 20);
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        assert_eq!(told["executeLatencyMicros"][name], micros(quantile), "{name}");
    }
    let mean: f64 = told["executeLatency"].as_str().unwrap().parse().unwrap();
    assert!((mean - 3.0).abs() < 0.03, "{mean} ms");
    assert_eq!(page["spouts"][0]["taskStats"][1]["completeLatencyMicros"]["p50"], Value::Null);
}

#[test]
fn an_unknown_topology_is_404_in_json() {
    let server = serve(vec![fixture::topology()]);
    for id in ["words", "words-2", "..", "%2e%2e%2f", "%3Cb%3E"] {
        let answer = get(server.local_addr(), &format!("/api/v1/topology/{id}"));
        assert_eq!((answer.status, &*answer.headers["content-type"]), (404, "application/json"), "{id}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["error"], "Not Found");
    }
}

/// The samples of an exposition by name and labels, as written.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    assert!(text.ends_with("# EOF\n"));
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(series, value)| (series, value.parse().unwrap()))
        .collect()
}

#[test]
fn metrics_give_every_tasks_numbers() {
    let server = serve(vec![fixture::topology()]);
    let answer = get(server.local_addr(), "/metrics");
    assert_eq!(answer.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let samples = samples(&answer.body);
    let of =
        |name: &str, labels: &str| samples[&*format!("topo_{name}{{topology=\"words & <more>\"{labels}}}")];
    let spout =
        |name: &str, task: u32| of(name, &format!(",component=\"lines\",kind=\"spout\",task=\"{task}\""));
    let bolt =
        |name: &str, task: u32| of(name, &format!(",component=\"split\",kind=\"bolt\",task=\"{task}\""));
    assert_eq!(of("uptime_seconds", ""), 365.25);
    assert_eq!(of("active", ""), 1.0);
    assert_eq!(spout("emitted_total", 0), 1_000_001.0);
    assert_eq!(spout("acked_total", 1), 43.0);
    assert_eq!(spout("pending", 0), 99_981.0);
    assert_eq!(bolt("executed_total", 1), 400_000.0);
    assert_eq!((bolt("restarted_total", 1), bolt("timed_out_total", 1)), (2.0, 1.0));
    assert_eq!((bolt("late_total", 0), bolt("event_time_seconds", 1)), (13.0, 1_799_999_995.75));
    assert_eq!(bolt("queue_tuples", 1), 512.0);
    assert_eq!(bolt("busy_ratio", 1), 0.9375);
    assert_eq!(bolt("execute_latency_seconds_count", 0), 10.0);
    assert!((bolt("execute_latency_seconds_sum", 0) - 0.02).abs() < 0.000_2);
    let window =
        |name: &str| of(&format!("window_{name}"), ",component=\"lines\",task=\"0\",partition=\"in-3\"");
    assert_eq!(["oldest_offset", "span", "limit", "waiting"].map(window), [77.0, 768.0, 1_024.0, 6.0]);
    assert!(!samples.keys().any(|series| series.starts_with("topo_executed") && series.contains("spout")));
}

#[test]
fn histogram_buckets_count_exactly_and_never_fall() {
    let server = serve(vec![fixture::topology()]);
    let answer = get(server.local_addr(), "/metrics");
    let series = "topo_complete_latency_seconds_bucket{le=\"";
    let buckets: Vec<(f64, u64)> = (answer.body.lines())
        .filter(|line| line.starts_with(series) && line.contains("task=\"0\""))
        .map(|line| (line[series.len()..].split('"').next().unwrap(), line.rsplit(' ').next().unwrap()))
        .map(|(end, count)| (end.parse().unwrap(), count.parse().unwrap()))
        .collect();
    assert_eq!(buckets.len(), 27);
    assert_eq!(buckets.last(), Some(&(f64::INFINITY, 100)));
    for (end, count) in buckets {
        let exact = (1..=100_u64).filter(|millis| *millis as f64 / 1e3 <= end).count() as u64;
        assert_eq!(count, exact, "at most {end} s");
    }
}

#[test]
fn a_busy_port_is_named_in_one_sentence() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = holder.local_addr().unwrap();
    let refused = StatusServer::bind(addr, Arc::new(Fixture(Vec::new()))).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("{addr} is in use; choose another with --status ADDR or switch it off with --status off")
    );
}

#[tokio::test]
async fn shutdown_frees_the_port_though_a_client_holds_on() {
    let server = serve(Vec::new());
    let addr = server.local_addr();
    let mut idle = TcpStream::connect(addr).unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut stream = TcpStream::connect(addr).unwrap();
    let request = format!("GET /api/v1/events?view=components HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    server.shutdown().await;
    let again = StatusServer::bind(addr, Arc::new(Fixture(Vec::new()))).unwrap();
    assert_eq!(again.local_addr(), addr);
}
