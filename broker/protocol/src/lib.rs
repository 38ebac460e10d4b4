//! topo-protocol.
