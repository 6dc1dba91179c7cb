//! A quarantine for mail from outside with an inside author in `From:`.

use posthouse_policy::{
    Because, Client, Decision, Description, Disposition, Envelope, Homing, Host, Message, Policy, Problem, Reply, Rule,
    Settings, domain_of,
};

const CLAIM: Rule = Rule::new("inside-claims", "mail from outside that claims an inside author");
const VERIFIED: Rule = Rule::new("verified", "the author's domain vouches for the message");
const DIRECTORY: Rule = Rule::new("directory", "the directory cannot be asked now");

/// Maximum number of authors that are looked up.
const MAX_AUTHORS: usize = 32;

/// Settings of the policy.
#[derive(serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct InsideClaims {
    /// Name of the quarantine folder.
    #[serde(default = "default_folder")]
    folder: String,
    /// Inside domains in addition to the directory's domains.
    #[serde(default)]
    domains: Vec<String>,
}

fn default_folder() -> String {
    "inside-claims".to_owned()
}

impl InsideClaims {
    /// Returns the first author in an inside domain; the error is the reason of a deferral.
    fn inside_author(&self, message: &Message<'_>, host: &Host) -> Result<Option<String>, Because> {
        let Some(header) = message.parse_header() else {
            return Ok(None);
        };
        let authors = header
            .headers()
            .iter()
            .filter(|field| field.name.as_str().eq_ignore_ascii_case("from"));
        let addresses = authors
            .filter_map(|field| field.value.as_address())
            .flat_map(|list| list.iter());
        for author in addresses
            .filter_map(|author| author.address.as_deref())
            .take(MAX_AUTHORS)
        {
            let domain = domain_of(author).to_lowercase();
            let listed = self.domains.iter().any(|known| known.eq_ignore_ascii_case(&domain));
            if listed || host.is_local_domain(&domain).map_err(|_| DIRECTORY.with(&domain))? {
                return Ok(Some(author.to_owned()));
            }
        }
        Ok(None)
    }
}

impl Policy for InsideClaims {
    fn describe() -> Description {
        posthouse_policy::description!(CLAIM, VERIFIED, DIRECTORY)
    }

    fn configure(settings: Settings<'_>) -> Result<Self, Vec<Problem>> {
        let claims: Self = settings.read()?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if claims.folder.is_empty() || claims.folder.len() > 64 || !claims.folder.chars().all(is_name) {
            let text = "expected 1 to 64 lower-case letters, digits and hyphens";
            return Err(vec![Problem::new("folder", text)]);
        }
        Ok(claims)
    }
}

impl Homing for InsideClaims {
    fn message(&self, client: &Client, _: &Envelope, message: &Message<'_>, host: &Host) -> Decision<Disposition> {
        // The exemption from `homing` does not count: a listener for mail from outside grants that exemption to all
        // clients.
        if client.identity.is_some() || client.is_exempt("originator") {
            return Decision::pass();
        }
        let author = match self.inside_author(message, host) {
            Ok(Some(author)) => author,
            Ok(None) => return Decision::pass(),
            Err(because) => {
                let later = Reply::new(451, (4, 3, 0), "The directory cannot be asked now, try again later");
                return Disposition::Defer(later).because(because);
            }
        };
        // A colleague's mail that comes back over a mailing list has a signature of the inside domain.
        let vouched = host.findings(message).into_iter().any(|finding| {
            let same = finding
                .domain
                .is_some_and(|domain| domain.eq_ignore_ascii_case(domain_of(&author)));
            same && finding.method == "dmarc" && finding.outcome == "pass"
        });
        if vouched {
            host.info(format!("{author} is vouched for by DMARC"));
            return Decision::pass();
        }
        Disposition::Quarantine(self.folder.clone()).because(CLAIM.with(author))
    }
}

posthouse_policy::export!(InsideClaims: Homing; settings = "settings.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        posthouse_policy::testing::cases::<InsideClaims>("cases.toml");
    }

    #[test]
    fn settings() {
        posthouse_policy::testing::settings_schema("settings.schema.json", schemars::schema_for!(InsideClaims));
    }
}
