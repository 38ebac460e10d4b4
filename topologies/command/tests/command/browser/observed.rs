//! What the page shows of a topology that runs in the test's own process: who holds it up, trees, and tuples as they pass.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;
use topo::status::StatusServer;
use topo_core::schedule::TokioScheduler;
use topo_core::{
    Bolt, Config, Emitter, Fail, FailKind, Failure, Fault, Next, Running, Spout, SpoutEmitter, TaskContext,
    Topology,
};

use super::driver::Browser;
use super::{MARKUP, screenshots};

/// A topology and its page.
struct Shown {
    runtime: Runtime,
    running: Running,
    server: StatusServer,
}

impl Shown {
    fn launch(topology: Topology, config: Config) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let launched = runtime.block_on(async {
            topology.launch(Arc::new(TokioScheduler::current()), config).await.expect("it starts")
        });
        let address = "127.0.0.1:0".parse().expect("an address");
        let server = StatusServer::bind(address, Arc::new(launched.clone())).expect("a port");
        Self { runtime, running: launched, server }
    }

    fn view(&self, view: &str) -> String {
        format!("http://{}/#/{view}", self.server.local_addr())
    }

    /// What the API answers, as the page itself would ask it.
    fn ask(&self, browser: &mut Browser, path: &str) -> Value {
        let path = format!("/api/v1/topology/{}/{path}", self.running.id());
        browser.evaluate(&format!("fetch({path:?}).then((answer) => answer.json())"))
    }

    fn end(self) {
        self.runtime.block_on(async {
            self.server.shutdown().await;
            self.running.kill(Duration::from_secs(1)).await.expect("its code returns");
        });
    }
}

/// Emits what it is handed, or numbers for ever; what fails comes again.
struct Source {
    handed: Option<Arc<Mutex<Vec<String>>>>,
    next: u64,
    again: Vec<(String, u32)>,
}

impl Spout for Source {
    type Out = String;
    type Id = String;

    fn next(&mut self, out: &mut SpoutEmitter<String, String>) -> Result<Next, Fault> {
        let handed = || self.handed.as_ref()?.lock().ok()?.pop();
        let tuple = match (self.again.pop(), &self.handed) {
            (Some(again), _) => Some(again),
            (None, Some(_)) => handed().map(|tuple| (tuple, 1)),
            (None, None) => Some((self.next.to_string(), 1)),
        };
        let Some((tuple, attempt)) = tuple else { return Ok(Next::Idle) };
        self.next += 1;
        out.replay(tuple.clone(), attempt, tuple)?;
        Ok(Next::Emitted)
    }

    fn fail(&mut self, tuple: String, failure: &Failure) {
        if failure.kind == FailKind::Retry {
            self.again.push((tuple, failure.attempt + 1));
        }
    }

    fn describe(&self, tuple: &String) -> Option<String> {
        Some(format!("<{tuple}>"))
    }
}

fn endless() -> Source {
    Source { handed: None, next: 0, again: Vec::new() }
}

/// Takes its time, and fails what it is told to, once.
struct Step {
    takes: Duration,
    fails: Arc<Mutex<Option<&'static str>>>,
    task: Option<TaskContext>,
}

impl Bolt for Step {
    type In = String;
    type Out = String;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, tuple: String, out: &mut Emitter<String>) -> Result<(), Fail> {
        if let (Some(task), false) = (&self.task, self.takes.is_zero()) {
            task.sleep(self.takes).await;
        }
        let mut fails = self.fails.lock().map_err(|_| Fail::reject("a test panicked"))?;
        if fails.is_some_and(|one| one == tuple) {
            *fails = None;
            return Err(Fail::retry(MARKUP));
        }
        tuple.split(' ').for_each(|word| out.emit(word.to_owned()));
        Ok(())
    }
}

fn step(millis: u64, fails: Option<&'static str>) -> impl Fn() -> Step + Send + Sync + 'static {
    let fails = Arc::new(Mutex::new(fails));
    move || Step { takes: Duration::from_millis(millis), fails: Arc::clone(&fails), task: None }
}

#[test]
fn a_slow_bolt_is_named_and_not_its_victims() {
    let Some(mut browser) = Browser::start() else { return };
    let topology = Topology::new("held-up");
    let numbers = topology.spout("numbers", endless);
    let quick = topology.bolt("quick", step(0, None)).tasks(2).shuffle(&numbers);
    let crawl = topology.bolt("crawl", step(5, None)).shuffle(&quick);
    topology.bolt("sink", step(0, None)).shuffle(&crawl);
    let shown = Shown::launch(topology, Config { queue_tuples: 256, batch_size: 32, ..Config::default() });
    browser.goto(&shown.view("graph"));
    browser.until("document.querySelector('[data-is=verdict]')?.textContent.startsWith('crawl is busy ')");
    browser.until("document.querySelectorAll('.graph .node.culprit').length === 1");
    let of = |cls: &str| {
        format!("[...document.querySelectorAll('.graph .node.{cls} .name')].map((one) => one.textContent)")
    };
    assert_eq!(browser.evaluate(&of("culprit")), serde_json::json!(["crawl"]));
    browser.until(&format!("{}.join() === 'numbers,quick'", of("held")));
    assert_eq!(browser.evaluate("document.querySelectorAll('.graph .edge.held').length"), 2);
    let graph = shown.ask(&mut browser, "graph");
    assert_eq!(
        (&graph["verdict"]["kind"], &graph["verdict"]["component"]),
        (&"bottleneck".into(), &"crawl".into())
    );
    for (view, dark, width) in
        [("graph", false, 1_280), ("graph", true, 1_280), ("graph", true, 360), ("components", false, 1_280)]
    {
        browser.goto(&shown.view(view));
        browser.until("document.getElementById('connection').textContent === 'live'");
        browser.look(width, 800, dark);
        browser
            .until("document.querySelector('[data-is=verdict]')?.textContent.startsWith('crawl is busy ')");
        let name = format!("held-up-{view}-{width}-{}.png", if dark { "dark" } else { "light" });
        browser.screenshot(&screenshots().join(name));
    }
    assert_eq!(browser.troubles(), [""; 0]);
    shown.end();
}

#[test]
fn a_failed_tree_has_its_hops_and_a_tap_shows_a_tuple_just_sent() {
    let Some(mut browser) = Browser::start() else { return };
    let desk = Arc::new(Mutex::new(vec!["to be".to_owned(), "first".to_owned()]));
    let topology = Topology::new("judged");
    let at_spout = Arc::clone(&desk);
    let lines = topology.spout("lines", move || Source {
        handed: Some(Arc::clone(&at_spout)),
        next: 0,
        again: Vec::new(),
    });
    let words = topology.bolt("split", step(0, None)).shuffle(&lines);
    topology.bolt("judge", step(1, Some("be"))).shuffle(&words);
    let shown = Shown::launch(topology, Config::default());

    browser.goto(&shown.view("trees"));
    let row = |outcome: &str, attempt: u32| {
        format!(
            "[...document.querySelectorAll('table[data-is=ended] tbody tr')].find((row) => row.cells[0].textContent.startsWith('<to be>') \
             && row.cells[1].textContent === {outcome:?} && row.cells[2].textContent === '{attempt}')"
        )
    };
    browser.until(&format!("{} !== undefined", row("failed", 1)));
    browser.until(&format!("{} !== undefined", row("acked", 2)));
    browser.screenshot(&screenshots().join("judged-trees.png"));
    browser.evaluate(&format!("{}.querySelector('a').click()", row("acked", 2)));
    browser.until("document.querySelectorAll('table[data-is=hops] tbody tr').length === 3");
    let hops = browser.evaluate(
        "[...document.querySelectorAll('table[data-is=hops] tbody tr')].map((row) => [row.cells[0].querySelector('a').textContent, row.cells[6].textContent].join(' '))",
    );
    assert_eq!(hops, serde_json::json!(["split \"to be\"", "judge \"to\"", "judge \"be\""]));
    browser.screenshot(&screenshots().join("judged-tree.png"));
    // The first attempt was not traced, and that is said.
    browser.click("[data-is=attempts] a");
    browser.until_text("This attempt was not traced");
    browser.until_text(MARKUP);

    browser.goto(&shown.view("tap/0"));
    browser.until_text("Off.");
    browser.fill("[data-is=filter]", "ONERROR");
    browser.click("[data-is=on]");
    browser.until_text("On: 0 tuples went by");
    desk.lock().expect("no test panicked").extend([MARKUP.to_owned(), "another".to_owned()]);
    browser.until_text("On: 2 tuples went by, 1 of 2 looked at were let through.");
    browser.until_text(MARKUP);
    assert_eq!(browser.evaluate("document.querySelectorAll('main img, main b, main script').length"), 0);
    assert_ne!(browser.evaluate("document.title"), "pwned");
    browser.screenshot(&screenshots().join("judged-tap.png"));
    browser.click("[data-is=off]");
    browser.until_text("Off.");

    browser.goto(&shown.view("component/judge"));
    browser.until("document.querySelector('[data-is=name]')?.textContent === 'judge'");
    browser.until_text("execute_timeout");
    let judge = shown.ask(&mut browser, "component/judge");
    let told = browser.evaluate(
        "document.querySelector('[data-is=totals] [data-key=Executed] dd').textContent.replaceAll(',', '')",
    );
    assert_eq!(told, judge["stats"]["executed"].to_string());
    browser.screenshot(&screenshots().join("judged-component.png"));
    assert_eq!(browser.troubles(), [""; 0]);
    shown.end();
}
