//! Answers from the host as it stands.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::call::{Answer, Answers, Asker, Call, Meaning, NoAnswer};
use crate::directory::{Directory, Entry, Home, LookupError, Target};
use crate::mail::Mailbox;

/// Entries of one `directory.lookup`.
const ENTRIES: usize = 64;

/// The host's directory, and in time its resolver, counters and verifier.
pub(super) struct Live {
    directory: Arc<dyn Directory>,
}

impl Live {
    pub(super) fn new(directory: Arc<dyn Directory>) -> Self {
        Self { directory }
    }

    async fn lookup(&self, address: &str) -> Result<Answer, NoAnswer> {
        let Ok(mailbox) = address.parse::<Mailbox>() else {
            return Ok(Answer::Entries(Vec::new()));
        };
        let found = self.directory.lookup(&mailbox).await?;
        Ok(Answer::Entries(found.iter().take(ENTRIES).map(meaning).collect()))
    }

    async fn may_send_as(&self, account: &str, address: &str) -> Result<Answer, NoAnswer> {
        let Ok(mailbox) = address.parse::<Mailbox>() else {
            return Ok(Answer::Truth(false));
        };
        Ok(Answer::Truth(self.directory.may_send_as(account, &mailbox).await?))
    }

    async fn is_local_domain(&self, domain: &str) -> Result<Answer, NoAnswer> {
        let domain = domain.to_lowercase();
        Ok(Answer::Truth(self.directory.is_local_domain(&domain).await?))
    }
}

impl Answers for Live {
    fn answer<'a>(&'a self, _asker: Asker<'a>, call: &'a Call) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        async move {
            match call {
                Call::Lookup { address } => self.lookup(address).await,
                Call::MaySendAs { account, address } => self.may_send_as(account, address).await,
                Call::IsLocalDomain { domain } => self.is_local_domain(domain).await,
                _ => Err(NoAnswer::Other("not served yet".to_owned())),
            }
        }
        .boxed()
    }
}

impl From<LookupError> for NoAnswer {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

fn meaning(entry: &Entry) -> Meaning {
    let (account, elsewhere, kind) = match &entry.target {
        Target::Account { account, home } => (Some(account.clone()), self::elsewhere(home), "account"),
        Target::Alias(_) => (None, None, "alias"),
        Target::Group(_) => (None, None, "group"),
    };
    Meaning {
        account,
        address: entry.address.to_string(),
        elsewhere,
        kind: kind.to_owned(),
    }
}

fn elsewhere(home: &Home) -> Option<String> {
    match home {
        Home::Maildir(_) => None,
        Home::Lmtp(endpoint) => Some(format!("lmtp:{endpoint}")),
        Home::Smtp(endpoint) => Some(format!("smtp:{endpoint}")),
    }
}
