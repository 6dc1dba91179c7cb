//! Authentication results: translates the verifier's results into findings in the terms of RFC 8601 section 2.7.

use mail_auth::arc::ArcError;
use mail_auth::dkim::DkimError;
use mail_auth::{ArcOutput, DkimOutput, DkimResult, DmarcOutput, DmarcResult, Error, SpfOutput, SpfResult};

use host_engine::host_call::Finding;
use host_mail::cut;

/// Maximum length of a detail, in bytes; details may quote the sender's text.
const DETAIL: usize = 512;

pub(crate) fn finding(method: &str, outcome: &str, domain: Option<String>, detail: Option<String>) -> Finding {
    Finding {
        method: method.to_owned(),
        outcome: outcome.to_owned(),
        domain: domain
            .filter(|domain| !domain.is_empty())
            .map(|domain| cut(domain, DETAIL)),
        detail: detail.map(|detail| cut(detail, DETAIL)),
    }
}

pub(crate) fn found_spf(output: &SpfOutput) -> Finding {
    let outcome = match output.result() {
        SpfResult::Pass => "pass",
        SpfResult::Fail => "fail",
        SpfResult::SoftFail => "softfail",
        SpfResult::Neutral => "neutral",
        SpfResult::TempError => "temperror",
        SpfResult::PermError => "permerror",
        SpfResult::None => "none",
    };
    let detail = output.explanation().map(str::to_owned);
    finding("spf", outcome, Some(output.domain().to_lowercase()), detail)
}

/// Returns a finding for each signature; `none` without signatures.
pub(crate) fn found_dkim(outputs: &[DkimOutput<'_>]) -> Vec<Finding> {
    if outputs.is_empty() {
        return vec![finding("dkim", "none", None, None)];
    }
    let one = |output: &DkimOutput<'_>| {
        let (outcome, detail) = of_signature(output.result());
        let domain = output.signature().map(|signature| signature.d.to_lowercase());
        finding("dkim", outcome, domain, detail)
    };
    outputs.iter().map(one).collect()
}

pub(crate) fn found_arc(output: &ArcOutput<'_>) -> Finding {
    let (outcome, detail) = of_signature(output.result());
    let sealer = output.sets().last().map(|set| set.seal.header.d.to_lowercase());
    finding("arc", outcome, sealer, detail)
}

/// Returns the finding of DMARC. `undecided` is true if SPF or DKIM has no result.
pub(crate) fn found_dmarc(output: &DmarcOutput, undecided: bool) -> Finding {
    let wants = output.dmarc_record().map(|_| format!("p={}", output.policy()));
    let (outcome, why) = match output.result() {
        DmarcResult::Pass => ("pass", None),
        DmarcResult::None => ("none", None),
        DmarcResult::Fail(_) if undecided => ("temperror", Some("a result it depends on is not known".to_owned())),
        DmarcResult::Fail(error) => ("fail", Some(error.to_string())),
        DmarcResult::TempError(error) => ("temperror", Some(error.to_string())),
        DmarcResult::PermError(error) => ("permerror", Some(error.to_string())),
    };
    let detail: Vec<String> = wants.into_iter().chain(why).collect();
    let detail = (!detail.is_empty()).then(|| detail.join("; "));
    finding("dmarc", outcome, Some(output.domain().to_lowercase()), detail)
}

/// Returns outcome and detail of a signature. A changed body is a failed verification (RFC 6376 section 6.1.3),
/// although the verifier calls the result neutral.
fn of_signature(result: &DkimResult) -> (&'static str, Option<String>) {
    match result {
        DkimResult::Pass => ("pass", None),
        DkimResult::None => ("none", None),
        DkimResult::Neutral(
            error @ (Error::Dkim(DkimError::FailedBodyHashMatch) | Error::Arc(ArcError::FailedBodyHashMatch)),
        ) => ("fail", Some(error.to_string())),
        DkimResult::Neutral(error) => ("neutral", Some(error.to_string())),
        DkimResult::Fail(error) => ("fail", Some(error.to_string())),
        DkimResult::PermError(error) => ("permerror", Some(error.to_string())),
        DkimResult::TempError(error) => ("temperror", Some(error.to_string())),
    }
}
