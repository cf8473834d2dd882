//! PromQL: parser, evaluator over any Store, and the query HTTP routes. Empty in this release.
