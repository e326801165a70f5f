//! What a pod sees of the machine's files, and where what it writes goes.
//!
//! ```text
//! machine   /            /home (another file system)        read by all, written by no pod
//!           │ overlay    │ overlay
//! pod       /            /home       /dev /proc /sys /run /tmp   its own
//!           └─ what it writes: <sandbox's folder>/root, gone with the sandbox
//! ```
//!
//! Where the kernel refuses an overlay of `/` ([`Layout::whole`] is false), as in a user namespace, whose
//! mounts hide what is below them for good (`has_locked_children` in Linux' `fs/namespace.c`), the root is
//! a folder, with an overlay for each of the machine's folders in it. What cannot be overlaid is bound
//! read-only.
//!
//! All that is found out once, in a mount namespace that those of the pods are copies of
//! ([`template::make`]); the shim does it ([`crate::shim`]).

pub(crate) mod layout;
pub(crate) mod mountinfo;
pub(crate) mod template;

pub(crate) use layout::{Layout, Part};
