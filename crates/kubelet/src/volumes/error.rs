//! Why a volume cannot be made, in the kubelet's words.

use api::field::quoted;

/// Reason of the event that tells a [`MountError`].
pub const REASON: &str = "FailedMount";

/// A volume cannot be made. Once what it names is there, it can be: the kubelet tries again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {} : {why}", quoted(volume))]
pub struct MountError {
    /// Its name in the pod.
    pub volume: String,
    /// What is wrong.
    pub why: String,
}

impl MountError {
    pub(super) fn new(volume: &str, why: &Why) -> Self {
        Self { volume: volume.into(), why: why.to_string() }
    }
}

/// What is wrong with a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Why {
    #[error("{kind} {} not found", quoted(name))]
    NotFound { kind: &'static str, name: String },
    #[error("references non-existent {kind} key: {key}")]
    NoKey { kind: &'static str, key: String },
    #[error("unknown storage medium {}", quoted(.0))]
    Medium(String),
    #[error("the sizeLimit of the emptyDir is not a quantity")]
    SizeLimit,
    #[error("only emptyDir, configMap, secret, downwardAPI and projected volumes are supported here")]
    Unsupported,
    #[error("only secret, configMap and downwardAPI can be projected here")]
    Projection,
    #[error("invalid path: {0}")]
    Path(String),
    #[error("{0}")]
    Other(String),
    /// As apimachinery's `Aggregate`.
    #[error("[{}]", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Several(Vec<Why>),
}

impl Why {
    pub(super) fn unless_empty<T>(mut wrong: Vec<Self>, good: T) -> Result<T, Self> {
        match wrong.len() {
            0 => Ok(good),
            1 => Err(wrong.swap_remove(0)),
            _ => Err(Self::Several(wrong)),
        }
    }
}
