//! Whether a token is good. Pure.

use api::skupper::AccessGrant;
use api::types::apimachinery::pkg::apis::meta::v1::Time;
use hyper::StatusCode;

/// Why not, in upstream's words (skupper `internal/kube/grants/grants.go`): who asks learns nothing of a grant
/// that he has no code for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// As HTTP's.
    pub status: StatusCode,
    /// In words.
    pub message: &'static str,
}

impl Refusal {
    /// With these words.
    #[must_use]
    pub fn new(status: StatusCode, message: &'static str) -> Self {
        Self { status, message }
    }
}

/// Whether the code may be redeemed now.
///
/// # Errors
/// Why not.
pub fn judge(grant: &AccessGrant, code: &[u8], now: &Time) -> Result<(), Refusal> {
    let status = grant.status.clone().unwrap_or_default();
    let expiration: Time = match status.expiration_time.parse() {
        Ok(time) => Time(time),
        Err(_) => return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Corrupted claim")),
    };
    if expiration.0 < now.0 {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "No such claim"));
    }
    if grant.spec.redemptions_allowed <= status.redemptions {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "No such access granted"));
    }
    if status.code.is_empty() || !same(status.code.as_bytes(), code) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "Redemption of access token refused"));
    }
    Ok(())
}

/// Takes as long for a wrong code as for a right one.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::skupper::{AccessGrantSpec, AccessGrantStatus};

    #[test]
    fn a_code_is_good_once_until_it_expires() {
        let spec = AccessGrantSpec { redemptions_allowed: 1, ..Default::default() };
        let mut grant = AccessGrant::new("default", "g", spec);
        grant.status = Some(AccessGrantStatus {
            code: "secret".into(),
            expiration_time: "2026-01-01T00:15:00Z".into(),
            ..Default::default()
        });
        let at = |text: &str| Time(text.parse().unwrap());
        let (early, late) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:15:01Z"));
        assert_eq!(judge(&grant, b"secret", &early), Ok(()));
        let said =
            |grant: &AccessGrant, code: &[u8], now: &Time| judge(grant, code, now).unwrap_err().message;
        assert_eq!(said(&grant, b"secreT", &early), "Redemption of access token refused");
        assert_eq!(said(&grant, b"", &early), "Redemption of access token refused");
        assert_eq!(said(&grant, b"secret", &late), "No such claim");
        grant.status.as_mut().unwrap().redemptions = 1;
        assert_eq!(said(&grant, b"secret", &early), "No such access granted");
        grant.status = None;
        assert_eq!(said(&grant, b"", &early), "Corrupted claim");
    }
}
