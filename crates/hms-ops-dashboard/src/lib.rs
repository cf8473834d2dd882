//! The live page of a service, and its JSON and SSE routes.
