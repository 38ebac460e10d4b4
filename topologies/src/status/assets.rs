//! The page's files, embedded in the program: one shell, in which the views' templates stand, and what it loads.

use std::sync::LazyLock;

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};

use super::secret::Secret;

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
    asset!("spell.js", SCRIPT),
    asset!("svg.js", SCRIPT),
    asset!("actions.js", SCRIPT),
    asset!("controls.js", SCRIPT),
    asset!("messages.js", SCRIPT),
    asset!("login.js", SCRIPT),
    asset!("views/component.js", SCRIPT),
    asset!("views/components.js", SCRIPT),
    asset!("views/errors.js", SCRIPT),
    asset!("views/graph.js", SCRIPT),
    asset!("views/log.js", SCRIPT),
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
    include_str!("assets/views/log.html"),
    include_str!("assets/views/state.html"),
    include_str!("assets/views/tap.html"),
    include_str!("assets/views/tree.html"),
    include_str!("assets/views/trees.html"),
];

/// Where the templates go in the shell.
const PLACE: &str = "<!--views-->";

/// Where the token goes that a change shows.
const TOKEN: &str = "<!--token-->";

/// What the API is, in OpenAPI's words.
pub(super) const OPEN_API: &str = include_str!("assets/openapi.json");

/// The page itself, for who may read it, with what its changes show.
pub(super) fn shell(token: &Secret) -> String {
    static SHELL: LazyLock<String> =
        LazyLock::new(|| include_str!("assets/index.html").replace(PLACE, &TEMPLATES.concat()));
    // A token of the process is hexadecimal.
    SHELL.replace(TOKEN, &format!("<meta name=\"topo-token\" content=\"{}\">", token.reveal()))
}

/// What is shown to who has yet to show the token.
pub(super) fn login() -> impl IntoResponse {
    (
        StatusCode::UNAUTHORIZED,
        [(header::WWW_AUTHENTICATE, "Bearer")],
        Html(include_str!("assets/login.html")),
    )
}
