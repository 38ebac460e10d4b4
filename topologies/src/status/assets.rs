//! The page's files, embedded in the program: one shell, in which the views' templates stand, and what it loads.

use std::sync::LazyLock;

/// A file of the page.
pub(super) struct Asset {
    /// Its name below `/assets/`.
    pub(super) name: &'static str,
    pub(super) content_type: &'static str,
    pub(super) body: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($name:literal, $content_type:expr) => {
        Asset { name: $name, content_type: $content_type, body: include_str!(concat!("assets/", $name)) }
    };
}

/// What the shell loads.
pub(super) const ASSETS: &[Asset] = &[
    asset!("style.css", "text/css; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
    asset!("app.js", SCRIPT),
    asset!("dom.js", SCRIPT),
    asset!("edges.js", SCRIPT),
    asset!("send.js", SCRIPT),
    asset!("spell.js", SCRIPT),
    asset!("svg.js", SCRIPT),
    asset!("views/component.js", SCRIPT),
    asset!("views/components.js", SCRIPT),
    asset!("views/errors.js", SCRIPT),
    asset!("views/graph.js", SCRIPT),
    asset!("views/state.js", SCRIPT),
    asset!("views/tap.js", SCRIPT),
    asset!("views/tree.js", SCRIPT),
    asset!("views/trees.js", SCRIPT),
];

/// The views' templates, each of the name of its module.
const TEMPLATES: &[&str] = &[
    include_str!("assets/views/component.html"),
    include_str!("assets/views/components.html"),
    include_str!("assets/views/errors.html"),
    include_str!("assets/views/graph.html"),
    include_str!("assets/views/state.html"),
    include_str!("assets/views/tap.html"),
    include_str!("assets/views/tree.html"),
    include_str!("assets/views/trees.html"),
];

/// Where the templates go in the shell.
const PLACE: &str = "<!--views-->";

/// The page itself.
pub(super) fn shell() -> &'static str {
    static SHELL: LazyLock<String> =
        LazyLock::new(|| include_str!("assets/index.html").replace(PLACE, &TEMPLATES.concat()));
    &SHELL
}
