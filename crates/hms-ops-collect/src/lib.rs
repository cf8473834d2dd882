//! Brings samples and spans in from outside: scraping, parsers, the ingest routes.
