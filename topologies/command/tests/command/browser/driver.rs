//! Chromium, driven by `tests/browser/browser.mjs`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// A browser with one page.
pub(super) struct Browser {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/browser")
}

impl Browser {
    /// Starts it; where Chromium or what drives it is missing, that is said loudly, and in CI it must not be.
    pub(super) fn start() -> Option<Self> {
        let has = |program: &str| {
            let mut asked = Command::new(program);
            asked.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            asked.status().is_ok_and(|status| status.success())
        };
        if !programs().join("node_modules/playwright-core").exists() || !has("node") || !has("chromium") {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "run tests/browser/install.sh first");
            eprintln!("NOT RUN: Chromium or its driver is missing; tests/browser/install.sh installs them");
            return None;
        }
        let mut node = Command::new("node");
        node.arg(programs().join("browser.mjs")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = node.spawn().expect("node was found");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut browser = Self { child, stdin, stdout };
        assert_eq!(browser.answer(), "ready");
        Some(browser)
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the driver writes text");
        let answer: Value = serde_json::from_str(&line).expect("the driver answers in JSON");
        assert!(answer.get("error").is_none(), "{answer}");
        answer["ok"].clone()
    }

    fn act(&mut self, what: &Value) -> Value {
        let stdin = self.stdin.as_mut().expect("it is open until the end");
        writeln!(stdin, "{what}").expect("the driver reads");
        self.answer()
    }

    pub(super) fn goto(&mut self, url: &str) {
        self.act(&json!({ "do": "goto", "url": url }));
    }

    /// The value of a script in the page.
    pub(super) fn evaluate(&mut self, script: &str) -> Value {
        self.act(&json!({ "do": "evaluate", "script": script }))
    }

    /// Waits until the script's value is true, or anything but false, and gives it.
    pub(super) fn until(&mut self, script: &str) -> Value {
        self.act(&json!({ "do": "until", "script": script }))
    }

    /// Waits until there is text in the page that has this in it.
    pub(super) fn until_text(&mut self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text)));
    }

    pub(super) fn click(&mut self, selector: &str) {
        self.act(&json!({ "do": "click", "selector": selector }));
    }

    pub(super) fn fill(&mut self, selector: &str, text: &str) {
        self.act(&json!({ "do": "fill", "selector": selector, "text": text }));
    }

    pub(super) fn press(&mut self, key: &str) {
        self.act(&json!({ "do": "press", "key": key }));
    }

    /// The size of the window, and whether its user likes it dark.
    pub(super) fn look(&mut self, width: u32, height: u32, dark: bool) {
        self.act(&json!({ "do": "look", "width": width, "height": height, "dark": dark }));
    }

    pub(super) fn screenshot(&mut self, path: &Path) {
        self.act(&json!({ "do": "screenshot", "path": path }));
    }

    /// What went wrong in the page by itself since the last look.
    pub(super) fn troubles(&mut self) -> Vec<String> {
        serde_json::from_value(self.act(&json!({ "do": "troubles" }))).expect("they are text")
    }

    /// The addresses that the page turned to since the last look.
    pub(super) fn requests(&mut self) -> Vec<String> {
        serde_json::from_value(self.act(&json!({ "do": "requests" }))).expect("they are text")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
