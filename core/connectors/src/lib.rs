//! topo-connectors.
