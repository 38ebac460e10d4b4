//! topo-log.
