//! The `topo` command, built for a test of another package than its own.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of the `topo` command, in this test's own profile; built first where it is not up to date.
///
/// # Panics
/// Where it cannot be built.
pub fn topo_binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(build).clone()
}

fn build() -> PathBuf {
    // TARGET/PROFILE/deps/this-test
    let test = std::env::current_exe().expect("a test has a file");
    let profile = test.ancestors().nth(2).expect("cargo keeps tests in PROFILE/deps");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--offline", "--workspace", "--bin", "topo"]);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs this test");
    assert!(built.success(), "the topo command cannot be built");
    profile.join("topo")
}
