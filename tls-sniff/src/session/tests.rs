//! Conversations through gate and sessions: how they end, and that no cutting, reordering or repeating of
//! their segments changes what is told.

mod flights;
mod limits;
mod outcomes;
mod segmentation;
mod sightings;
mod wire;
