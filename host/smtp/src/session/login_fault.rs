//! Failed attempts to log in: reason, reply and event.

use crate::session::replies;
use host_mail::Reply;

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedLogin {
    /// Name of the mechanism.
    pub mechanism: &'static str,
    /// Claimed account or address as far as known; empty otherwise.
    pub user: String,
    /// Fault of the attempt.
    pub fault: LoginFault,
}

/// Reason why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginFault {
    /// Client sent `*`.
    Cancelled,
    /// Response is not base64.
    NotBase64,
    /// Message does not have its parts.
    Malformed,
    /// Name or password is not UTF-8, and therefore belongs to no account.
    NotUtf8,
    /// Client wants to act for another account, which is never allowed.
    OnBehalf,
    /// Channel binding of SCRAM is not that of the TLS session, or was removed on the way.
    Binding,
    /// Names in the client's certificate do not lead to the account, or to any.
    Certificate,
    /// Credentials match no account.
    Credentials,
    /// Too many logins have failed; the credentials were not verified.
    Refused,
    /// Directory cannot be asked now.
    Unavailable,
}

impl LoginFault {
    /// Reply to the attempt (RFC 4954 sections 4 and 6).
    pub fn reply(self) -> Reply {
        match self {
            Self::Cancelled => replies::authentication_cancelled(),
            Self::NotBase64 | Self::Malformed => replies::bad_base64(),
            Self::NotUtf8 | Self::OnBehalf | Self::Binding | Self::Certificate | Self::Credentials => {
                replies::credentials_invalid()
            }
            Self::Refused => replies::authentication_refused(),
            Self::Unavailable => replies::authentication_unavailable(),
        }
    }

    /// Reason in the operator's event.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled by the client",
            Self::NotBase64 => "the response is not base64",
            Self::Malformed => "the response is malformed",
            Self::NotUtf8 => "the credentials are not UTF-8",
            Self::OnBehalf => "on behalf of another",
            Self::Binding => "the channel binding is not that of the TLS session",
            Self::Certificate => "no name in the certificate belongs to the account",
            Self::Credentials => "credentials",
            Self::Refused => "refused after too many failed logins",
            Self::Unavailable => "unavailable",
        }
    }

    /// True if the attempt may have been a guess, which the limits on failed logins count for client and account, and
    /// whose reply is delayed.
    pub fn is_guess(self) -> bool {
        matches!(
            self,
            Self::NotUtf8 | Self::OnBehalf | Self::Binding | Self::Certificate | Self::Credentials
        )
    }

    /// True if the attempt breaks the syntax of its mechanism, which the limits count for the client alone.
    pub fn is_malformed(self) -> bool {
        matches!(self, Self::NotBase64 | Self::Malformed)
    }
}
