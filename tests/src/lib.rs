//! topo-tests.
