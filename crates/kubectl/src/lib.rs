//! What kubectl does on its side: read documents, merge, ask, print, wait.
//!
//! ```text
//! document ─► apply (merge) ─┐
//! targets ──► get, delete, … ┴► store, store::registry ─► printers, describe ─► text
//! ```
//!
//! - [`document`]: objects from files; [`apply`]: the three-way merge of client-side apply ([`merge`]);
//! - [`targets`]: which objects the words of a command line mean; [`query`]: reading them;
//! - [`printers`]: tables as kubectl's; [`mod@format`]: JSON, YAML, names; [`age`]: how long ago;
//! - [`describe`]: an object in words;
//! - [`jsonpath`]: paths into objects; [`columns`]: tables of them; [`mod@wait`]: until something is so;
//! - [`delete`]: deleting, and waiting until it is done; [`change`]: scale, label, annotate; [`rollout`]:
//!   deployments' revisions; [`generate`] and [`run`]: objects from a few words, and new images;
//! - [`patch`]: a few fields of an object; [`taint`] and [`drain`]: pods kept off a node, and taken off it;
//! - [`resources`]: which kinds there are.
//!
//! Nothing is printed here: text is given back, and the command prints it. What things are called, which
//! columns there are and how a pod's status is worded is as in kubectl 1.32, whose sources each module
//! names.

pub mod age;
pub mod apply;
pub mod change;
pub mod columns;
pub mod delete;
pub mod describe;
pub mod document;
pub mod drain;
mod error;
pub mod format;
pub mod generate;
pub mod jsonpath;
pub mod merge;
mod object;
pub mod patch;
pub mod printers;
pub mod query;
pub mod resources;
pub mod rollout;
pub mod run;
pub mod table;
pub mod taint;
pub mod targets;
pub mod wait;

pub use error::{Error, Result};
