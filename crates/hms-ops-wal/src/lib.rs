//! Checksummed segment files on a Disk: the one log format under store, ledger and queues. Empty in this release.
