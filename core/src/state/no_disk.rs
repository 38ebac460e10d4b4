//! What stands in for the disk where the program is built without it: nothing can be opened.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::error::StateError;
use super::place::Place;

/// No database.
pub(crate) enum Disk {}

impl Disk {
    pub(crate) fn open(_directory: &Path, _topology: &str) -> Result<Arc<Self>, StateError> {
        Err(StateError::NoDisk)
    }

    pub(crate) fn table(&self, _place: &Place) -> Result<DiskTable, StateError> {
        match *self {}
    }
}

/// No table.
pub(crate) enum DiskTable {}

impl DiskTable {
    pub(crate) fn get<K, V>(&self, _form: &[u8]) -> Result<Option<(K, V, i64, usize)>, StateError> {
        match *self {}
    }

    pub(crate) fn for_each<K, V>(&self, _see: impl FnMut(K, V, i64)) -> Result<(), StateError> {
        match *self {}
    }

    pub(crate) fn expired<K>(&mut self, _oldest_ms: i64) -> Result<Vec<K>, StateError> {
        match *self {}
    }

    pub(crate) fn write<'a>(
        &self,
        _changes: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>, i64)>,
    ) -> Result<(), StateError> {
        match *self {}
    }

    pub(crate) fn clear(&mut self) -> Result<(), StateError> {
        match *self {}
    }

    pub(crate) fn size(&self) -> Result<(u64, u64), StateError> {
        match *self {}
    }
}
