//! Every dependency's licence is permissive.
//!
//! The check reads what cargo resolved for this platform, offline: whatever runs these tests has it already.

use std::process::Command;

use serde_json::Value;

/// What may be linked into a binary under Apache-2.0 without binding those who build on it.
const ALLOWED: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Exceptions that only give more freedom to what is licensed permissively.
const ALLOWED_EXCEPTIONS: [&str; 1] = ["LLVM-exception"];

#[test]
fn every_dependency_is_permissive() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &host()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "only {} packages were resolved", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(is_permissive))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "not permissive:\n{}", refused.join("\n"));
}

/// The platform that this is, as rustc names it.
fn host() -> String {
    let version = Command::new("rustc").arg("-vV").output().expect("cargo found rustc, so it is there");
    let version = String::from_utf8_lossy(&version.stdout);
    version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    for permissive in [
        "MIT",
        "MIT OR Apache-2.0",
        "MIT/Apache-2.0",
        "MIT OR GPL-3.0-only",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        "GPL-2.0 AND LGPL-2.1 OR MIT",
    ] {
        assert!(is_permissive(permissive), "{permissive}");
    }
    for binding in [
        "",
        "GPL-3.0-only",
        "MPL-2.0",
        "MIT AND MPL-2.0",
        "(MIT OR Apache-2.0) AND GPL-2.0",
        "MIT OR",
        "(MIT",
        "MIT Apache-2.0",
        "GPL-2.0 WITH Classpath-exception-2.0",
        "MIT WITH Commons-Clause",
    ] {
        assert!(!is_permissive(binding), "{binding}");
    }
}

/// Whether an SPDX expression leaves a choice of nothing but allowed licences. What cannot be read is not permissive.
fn is_permissive(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words) == Some(true) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>) -> Option<bool> {
    let mut any = all_of(words)?;
    while words.next_if_eq(&"OR").is_some() {
        any |= all_of(words)?;
    }
    Some(any)
}

fn all_of(words: &mut Words<'_>) -> Option<bool> {
    let mut all = one(words)?;
    while words.next_if_eq(&"AND").is_some() {
        all &= one(words)?;
    }
    Some(all)
}

fn one(words: &mut Words<'_>) -> Option<bool> {
    if words.next_if_eq(&"(").is_some() {
        let inside = any_of(words)?;
        return words.next_if_eq(&")").map(|_| inside);
    }
    let licence = words.next().filter(|word| !["AND", "OR", "WITH", ")"].contains(word))?;
    let exception = if words.next_if_eq(&"WITH").is_some() { Some(words.next()?) } else { None };
    let unbound = exception.is_none_or(|exception| ALLOWED_EXCEPTIONS.contains(&exception));
    Some(ALLOWED.contains(&licence) && unbound)
}
