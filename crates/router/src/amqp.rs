//! AMQP 1.0: what goes over a connection between routers.
//!
//! `serde_amqp` with `fe2o3-amqp-types` codes what is rare (open, begin, attach, detach, end, close, SASL, message
//! bodies). What every packet needs (frame header, transfer, flow, disposition, the sections of a streaming
//! message) is coded here by hand, without allocation.

pub mod frame;
pub mod primitive;
pub mod section;
#[cfg(test)]
mod tests;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end inside a value.
    #[error("the bytes end inside a value")]
    Short,
    /// A format code that the specification does not have (part 1, section 1.2).
    #[error("no such format code: {0:#04x}")]
    Code(u8),
    /// Another type than the field's.
    #[error("a field has the wrong type: format code {0:#04x}")]
    Type(u8),
    /// More nesting than any router sends.
    #[error("values are nested too deeply")]
    Depth,
    /// A size that contradicts what it contains.
    #[error("sizes contradict one another")]
    Size,
    /// Text that is not UTF-8.
    #[error("a string is not UTF-8")]
    Text,
    /// A performative or section that has no place here.
    #[error("unexpected descriptor {0:#x}")]
    Descriptor(u64),
    /// A mandatory field is absent.
    #[error("a mandatory field is absent: {0}")]
    Missing(&'static str),
    /// A frame header that cannot be.
    #[error("malformed frame header: size {size}, data offset {doff}")]
    Header {
        /// The frame's size in bytes, from its header.
        size: u32,
        /// The header's size in words of four bytes.
        doff: u8,
    },
    /// What `serde_amqp` could not read.
    #[error("malformed performative")]
    Performative,
}
