//! The page in Chromium: what it shows, what it does, and who may.

mod driver;
mod observed;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use self::driver::Browser;
use crate::topo::{PATIENCE, Run, command, on, said};

/// Markup in whatever a topology brings along.
const MARKUP: &str = "<img src=x onerror=document.title='pwned'><b>bold</b>";

/// What the page says of a component, a number without its commas.
fn cell(component: &str, column: &str) -> String {
    format!(
        "(() => {{
            const table = document.querySelector('table[data-is=components]');
            const titles = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
            const row = [...table.tBodies[0].rows].find((row) => row.dataset.key === {component:?});
            const cell = row?.cells[titles.indexOf({column:?})];
            // A counter stands above its rate.
            return (cell?.firstElementChild ?? cell)?.textContent.replaceAll(',', '');
        }})()"
    )
}

fn page_of(run: &Run, view: &str) -> String {
    format!("http://{}/#/{view}", run.page())
}

/// Where the screenshots go.
fn screenshots() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target directory");
    let folder = target.join("screenshots");
    std::fs::create_dir_all(&folder).expect("room for screenshots");
    folder
}

/// A run of word-count that has done these lines.
fn word_count(dir: &Path, lines: u64) -> Run {
    let file = dir.join("input.txt");
    std::fs::write(&file, "to be or not to be\n".repeat(lines as usize)).expect("room for a test");
    let run = Run::start(&dir.join("data"), &["--input", file.to_str().expect("a path of text")]);
    run.wait_for_acked(lines);
    run
}

/// A run of access-log, one of whose lines is no access and is markup.
fn access_log(dir: &Path) -> Run {
    let file = dir.join("access.log");
    let good = r#"192.0.2.7 - - [30/Jan/2026:12:00:00 +0000] "GET /a HTTP/1.1" 200 17"#;
    std::fs::write(&file, format!("{good}\n{MARKUP}\n{good}\n")).expect("room for a test");
    let mut start = command(&dir.join("data"), &["run", "access-log", "--status", "127.0.0.1:0", "--input"]);
    let run = Run::start_with(start.arg(&file));
    run.wait_for_acked(2);
    run
}

#[test]
fn the_pages_numbers_are_those_of_the_api_and_nothing_is_loaded_from_elsewhere() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let run = word_count(dir.path(), 500);
    browser.goto(&page_of(&run, "components"));
    browser.until(&format!("{} === '3000'", cell("count", "Executed")));
    let topology = run.topology();
    for (kind, id) in [("spouts", "spoutId"), ("bolts", "boltId")] {
        for component in topology[kind].as_array().expect("a list") {
            let name = component[id].as_str().expect("a name");
            for (column, field) in [
                ("Emitted", "emitted"),
                ("Transferred", "transferred"),
                ("Acked", "acked"),
                ("Failed", "failed"),
            ] {
                assert_eq!(
                    browser.evaluate(&cell(name, column)),
                    component[field].to_string(),
                    "{name} {field}"
                );
            }
        }
    }
    let spout = &topology["spouts"][0];
    assert_eq!([&spout["emitted"], &spout["acked"]], [500, 500]);
    browser.until("document.getElementById('connection').textContent === 'live'");
    let own = format!("http://{}/", run.page());
    let requests = browser.requests();
    assert!(requests.len() > 5 && requests.iter().all(|url| url.starts_with(&own)), "{requests:?}");
    assert_eq!(browser.troubles(), [""; 0]);
    run.kill();
}

#[test]
fn pausing_stops_the_spout_and_resuming_goes_on() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let (port, run) = with_port(dir.path());
    browser.goto(&page_of(&run, "components"));
    browser.until("document.getElementById('pause')?.textContent === 'Pause'");
    browser.click("#pause");
    // A question comes first, and calling it off changes nothing.
    browser.until("document.querySelector('dialog[open]') !== null");
    for (size, width, height) in [("wide", 1280, 800), ("narrow", 360, 740)] {
        for dark in [false, true] {
            browser.look(width, height, dark);
            let name = format!("dialog-{size}-{}.png", if dark { "dark" } else { "light" });
            browser.screenshot(&screenshots().join(name));
        }
    }
    browser.press("Escape");
    browser.until("document.querySelector('dialog') === null");
    assert_eq!(run.topology()["status"], "ACTIVE");
    browser.click("#pause");
    browser.click("dialog button.primary");
    browser.until("document.getElementById('topology-status').textContent === 'INACTIVE'");
    browser.until_text("The spouts are paused.");
    produce(port, "lines", "one more line\n");
    // The record is in the log; the spout does not come for it, however long the page is looked at.
    browser.until("(globalThis.looks = (globalThis.looks ?? 0) + 1) > 40");
    assert_eq!(run.topology()["spouts"][0]["emitted"], 0);
    browser.click("#pause");
    run.wait_for_acked(1);
    browser.until(&format!("{} === '1'", cell("lines", "Acked")));
    browser.until("document.getElementById('topology-status').textContent === 'ACTIVE'");
    run.kill();
}

#[test]
fn killing_ends_the_run_with_its_summary() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let run = word_count(dir.path(), 10);
    browser.goto(&page_of(&run, "components"));
    browser.until("document.getElementById('controls').hidden === false");
    browser.click("#kill");
    browser.fill("dialog input[name=wait]", "5");
    browser.click("dialog button.danger");
    browser.until_text("word-count ends.");
    let ended = run.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("word-count: emitted 10, acked 10, failed 0"), "{}", ended.stdout);
    browser.until_text("connection lost; trying again");
}

#[test]
fn the_page_comes_back_by_itself_when_the_topology_is_started_again() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let run = word_count(dir.path(), 10);
    let at = run.page();
    browser.goto(&page_of(&run, "components"));
    browser.until(&format!("{} === '10'", cell("lines", "Acked")));
    run.kill();
    browser.until_text("connection lost; trying again");
    let status = at.to_string();
    let mut again = command(&dir.path().join("data"), &["run", "word-count", "--status", &status]);
    let run = Run::start_with(&mut again);
    browser.until("document.getElementById('connection').textContent === 'live'");
    browser.until(&format!("{} === '0'", cell("lines", "Emitted")));
    // What it does is taken from the new process too, once the page was loaded anew.
    assert_eq!(run.topology()["spouts"][0]["emitted"], 0);
    run.kill();
}

#[test]
fn markup_stays_text_and_letters_are_replayed() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let run = access_log(dir.path());
    browser.goto(&page_of(&run, "errors"));
    browser.until_text("1 record rejected and 0 exhausted since the start.");
    browser.until_text(MARKUP);
    browser.click("table[data-is=topics] button");
    browser.until("document.querySelectorAll('[data-is=letters] > li').length === 1");
    let markup = "document.querySelectorAll('main img, main b, main script').length";
    assert_eq!(browser.evaluate(markup), 0, "errors");
    // One letter: it goes to where it came from, and is refused once more.
    browser.click("[data-is=letters] button");
    browser.click("dialog button.primary");
    browser.until_text("1 letter of access.dead-letter replayed.");
    browser.until_text("2 records rejected and 0 exhausted since the start.");
    // All that were not come to: the first was replayed in its place, so the second is left.
    browser
        .until("document.querySelector('table[data-is=topics] tbody').rows[0].cells[2].textContent === '1'");
    browser.click("table[data-is=topics] td button:last-child");
    browser.click("dialog button.primary");
    browser.until_text("3 records rejected and 0 exhausted since the start.");

    browser.goto(&page_of(&run, "log/access"));
    browser.until_text(MARKUP);
    assert_eq!(browser.evaluate(markup), 0, "log");
    assert_ne!(browser.evaluate("document.title"), "pwned");
    browser.fill("form[role=search] input[name=search]", "BOLD");
    browser.click("form[role=search] button");
    browser.until("document.querySelector('[data-is=found]').textContent.startsWith('3 messages, ')");
    assert_eq!(browser.troubles(), [""; 0]);
    run.kill();
}

#[test]
fn a_topic_whose_name_and_headers_are_odd_is_browsed() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let (port, run) = with_port(dir.path());
    produce(port, "lines", "first\nsecond\n{\"json\": [1, 2]}\n");
    run.wait_for_acked(3);
    browser.goto(&page_of(&run, "log"));
    browser.until_text("counts");
    browser.until_text("word-count");
    // A topology that reads has a member; its group cannot be reset while it does.
    browser.until("document.querySelector('table[data-is=groups] button')?.disabled === true");
    browser.click("table[data-is=topics] a[href='#/log/lines']");
    browser.until("document.querySelectorAll('[data-is=messages] > li').length === 3");
    browser.fill("form[role=search] input[name=search]", "SECOND");
    browser.click("form[role=search] button");
    browser.until("document.querySelectorAll('[data-is=messages] > li').length === 1");
    run.kill();
}

#[test]
fn everything_is_reached_by_keyboard_and_fits_a_narrow_screen() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let run = access_log(dir.path());
    let folder = screenshots();
    browser.goto(&page_of(&run, "components"));
    browser.until("document.querySelectorAll('#views a').length > 0");
    let views = browser.evaluate("[...document.querySelectorAll('#views a')].map((a) => a.hash.slice(2))");
    let mut views: Vec<String> = serde_json::from_value(views).expect("a list of names");
    views.push("log/access".to_owned());
    for view in &views {
        browser.goto(&page_of(&run, view));
        browser.until("document.getElementById('connection').textContent === 'live'");
        if view == "errors" {
            browser.click("table[data-is=topics] button");
            browser.until("document.querySelectorAll('[data-is=letters] > li').length === 1");
        }
        for (size, width, height) in [("wide", 1280, 800), ("narrow", 360, 740)] {
            for dark in [false, true] {
                browser.look(width, height, dark);
                let name =
                    format!("{}-{size}-{}.png", view.replace('/', "-"), if dark { "dark" } else { "light" });
                browser.screenshot(&folder.join(name));
            }
            let overflow = browser
                .evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
            assert_eq!(overflow, 0, "{view} at {width} px");
        }
        let unnamed = browser.evaluate(
            "[...document.querySelectorAll('main button, main input, main select, main [tabindex]')]
                .filter((one) => !(one.textContent.trim() || one.labels?.length || one.ariaLabel || one.getAttribute('aria-label')))
                .map((one) => one.outerHTML)",
        );
        assert_eq!(unnamed, json!([]), "{view}: what has no name a screen reader does not tell");
    }
    keyboard(&mut browser, &run);
    assert_eq!(browser.troubles(), [""; 0]);
    run.kill();
}

/// From the skip link over the title and the controls to every view, and into one.
fn keyboard(browser: &mut Browser, run: &Run) {
    browser.goto("about:blank");
    browser.goto(&page_of(run, "components"));
    browser.until("document.getElementById('connection').textContent === 'live'");
    let mut reached = Vec::new();
    for _ in 0..30 {
        browser.press("Tab");
        let focused = browser.evaluate("document.activeElement.textContent.trim()");
        let focused = focused.as_str().unwrap_or_default().to_owned();
        let is_there = focused == "Errors";
        reached.push(focused);
        if is_there {
            break;
        }
    }
    for wanted in ["Skip to the numbers", "Pause", "Kill…", "Log level…", "Graph", "Components", "Errors"]
    {
        assert!(reached.iter().any(|text| text == wanted), "{wanted} is not among {reached:?}");
    }
    browser.press("Enter");
    browser.until("location.hash === '#/errors' && document.activeElement.id === 'view'");
    browser.until("document.querySelector('#views [aria-current=page]').textContent === 'Errors'");
}

#[test]
fn a_page_that_asks_for_its_token_is_opened_with_it() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let token = "a-token-that-is-long-enough";
    let mut start = command(&dir.path().join("data"), &["run", "word-count", "--status", "127.0.0.1:0"]);
    let run = Run::start_with(start.env("TOPO_STATUS_TOKEN", token));
    browser.goto(&page_of(&run, "components"));
    browser.fill("#token", "a-token-that-is-not-it-at-all");
    browser.click("#login button");
    browser.until_text("That is not the token.");
    browser.fill("#token", token);
    browser.click("#login button");
    browser.until("document.getElementById('connection')?.textContent === 'live'");
    // A change shows the page's own token.
    browser.click("#pause");
    browser.click("dialog button.primary");
    browser.until_text("The spouts are paused.");
    assert!(!browser.evaluate("document.documentElement.outerHTML").to_string().contains(token));
    run.kill();
}

/// A run of word-count whose topics are reached from outside, and where.
fn with_port(dir: &Path) -> (SocketAddr, Run) {
    let mut start = command(&dir.join("data"), &["run", "word-count", "--status", "127.0.0.1:0"]);
    let run = Run::start_with(start.env("TOPO_LISTEN", "127.0.0.1:0"));
    let line = run.banner().lines().find_map(|line| line.trim().strip_prefix("kafka")).expect("it says so");
    (line.trim().parse().expect("an address"), run)
}

fn produce(port: SocketAddr, topic: &str, lines: &str) {
    use std::io::Write;
    use std::process::Stdio;

    let mut produce = on(Path::new("."), Command::new(env!("CARGO_BIN_EXE_topo")));
    produce.args(["produce", topic, "--broker", &port.to_string()]).env_remove("TOPO_DATA_DIR");
    let mut child = produce.stdin(Stdio::piped()).spawn().expect("the binary was built for this test");
    child.stdin.take().expect("it was piped").write_all(lines.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_stopped_groups_offsets_are_reset_over_the_api() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let run = word_count(dir.path(), 10);
    let begun = std::time::Instant::now();
    while !run.first_events("log", "").contains(r#""committed":10,"lag":0"#) {
        assert!(begun.elapsed() < PATIENCE, "what was done is not committed");
    }
    run.kill();
    // Another topology on the same log: word-count's group has no members there.
    let data = dir.path().join("data");
    let mut start = command(&data, &["run", "access-log", "--status", "127.0.0.1:0"]);
    let run = Run::start_with(start.env("TOPO_RUNTIME_DIR", dir.path().join("runs")));
    let file = std::fs::read_dir(dir.path().join("runs")).expect("a directory").next().expect("a file");
    let told = std::fs::read(file.expect("a file").path()).expect("it is ours");
    let token =
        serde_json::from_slice::<Value>(&told).expect("JSON")["token"].as_str().expect("text").to_owned();
    let body = json!({ "topic": "lines", "to": "offset:3" }).to_string();
    let begun = std::time::Instant::now();
    loop {
        // Who was killed stays a member until its session is over.
        let (status, answer) = run.change("POST", "/api/v1/group/word-count/reset", &token, &body);
        if status == 200 {
            let moved: Value = serde_json::from_str(&answer).expect("JSON");
            assert_eq!(moved["partitions"], json!([{ "partition": 0, "from": 10, "to": 3 }]));
            break;
        }
        assert!(status == 409 && answer.contains("has members"), "{status} {answer}");
        assert!(begun.elapsed() < 2 * PATIENCE, "{answer}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    run.terminate();
    assert_eq!(run.end().code, Some(0));
    assert!(said(&data, &["group", "describe", "word-count"]).contains(" 3 "));
}
