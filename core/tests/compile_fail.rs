//! What the compiler refuses of a topology, and that its message says what to do.

use std::process::Command;

/// The compiler whose words the expected messages are; others say the same otherwise.
const EXPECTED: &str = "rustc 1.95.";

#[test]
fn wrong_topologies_do_not_compile_and_the_message_helps() {
    let rustc = Command::new("rustc").arg("--version").output().map(|output| output.stdout);
    if !rustc.is_ok_and(|version| version.starts_with(EXPECTED.as_bytes())) {
        // What must not compile is also in the documentation, whatever the message.
        eprintln!("the messages are compared for {EXPECTED}x only");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
