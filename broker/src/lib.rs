//! topo-broker.
