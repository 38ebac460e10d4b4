//! topo-examples.
