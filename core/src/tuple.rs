//! What flows through a topology: any owned, serializable Rust type.
//!
//! Serialized, a tuple is MessagePack with named fields, so a type can grow a field and still read what an older
//! one wrote.

use serde::{Serialize, de::DeserializeOwned};

/// A value that streams carry from task to task.
///
/// Every type with these bounds is a tuple; there is nothing to implement.
///
/// ```
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Word {
///     word: String,
/// }
/// fn is_a_tuple<T: topo_core::Tuple>() {}
/// is_a_tuple::<Word>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a tuple",
    label = "a tuple must be Serialize + Deserialize + Clone + Send + Sync + 'static",
    note = "add `#[derive(Clone, serde::Serialize, serde::Deserialize)]` to `{Self}` and keep borrowed data out of it"
)]
pub trait Tuple: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Tuple for T {}
