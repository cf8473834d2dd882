//! The span runtime: records spans with their parents and carries their context between processes.
