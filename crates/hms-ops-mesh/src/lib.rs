//! Moves traffic between clusters: the shift engine and the mesh backends.
//!
//! | part | what it does |
//! |---|---|
//! | [`ShiftEngine`] | guards, carries out, confirms and rolls back shifts, above any mesh backend |
//! | [`Meshes`] | several mesh backends as one |
//! | [`Router`] | the backend `in-process`: weights in memory, a reverse proxy, a layer, health checks |
//!
//! A shift counts as done when the clusters that receive the traffic have counted it themselves;
//! that a mesh has taken a new split proves nothing.

mod meshes;
mod shift;
mod split;
mod tasks;

#[cfg(feature = "in-process")]
mod health;
#[cfg(feature = "in-process")]
mod layer;
#[cfg(feature = "in-process")]
mod proxy;
#[cfg(feature = "in-process")]
mod router;

pub use meshes::Meshes;
pub use shift::{ShiftEngine, ShiftRules};

#[cfg(feature = "in-process")]
pub use health::HealthChecks;
#[cfg(feature = "in-process")]
pub use layer::{Routed, RouterLayer, RoutingFuture};
#[cfg(feature = "in-process")]
pub use proxy::Serving;
#[cfg(feature = "in-process")]
pub use router::{InFlight, Picked, Router, RouterBuilder, RouterError};
