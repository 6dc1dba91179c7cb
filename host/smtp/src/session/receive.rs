//! Takes a message off the wire into a draft, whatever it is worth.

use super::driver::{Driver, Interrupted};
use super::replies;
use super::wire::{DATA_ROOM, Wire};
use crate::session::data_reader::{DataReader, Defect};
use crate::session::transport::Stream;
use host_contract::Reason;
use host_mail::Reply;
use host_spool::{Draft, PutError};

/// So many octets are progress; fewer may be somebody who only keeps a place.
const STRIDE: usize = 16 * 1024;

/// Why this host does not take a message.
#[derive(Debug)]
pub struct Rejection {
    /// What the client is told.
    pub reply: Reply,
    /// What the operator is told.
    pub because: Reason,
}

impl Rejection {
    /// One of the host's own rules.
    pub fn new(reply: Reply, rule: &str) -> Self {
        Self {
            reply,
            because: Reason::host(rule),
        }
    }
}

impl From<PutError> for Rejection {
    fn from(error: PutError) -> Self {
        let reply = match error {
            PutError::Full { .. } => replies::system_full(),
            PutError::Behind { .. } => replies::busy(),
            PutError::Store(_) => replies::system_error(),
        };
        let because = Reason {
            entry: Some(error.to_string()),
            ..Reason::host("spool")
        };
        Self { reply, because }
    }
}

impl From<Defect> for Rejection {
    fn from(defect: Defect) -> Self {
        let rule = match defect {
            Defect::BareCr(_) | Defect::BareLf(_) => "bare-line-end",
            Defect::Nul(_) => "nul",
            Defect::LongLine(_) => "line-length",
            Defect::EightBit => "undeclared-8bit",
        };
        Self::new(defect.reply(), rule)
    }
}

/// Reads to the end of the message in any case; what cannot be kept is read and thrown away, so that
/// the reply comes where the client waits for it. `limit` is in octets, `eight_bit` what MAIL announced.
pub async fn receive<S: Stream>(
    driver: &mut Driver,
    wire: &mut Wire<S>,
    draft: Draft,
    limit: u64,
    eight_bit: bool,
) -> Result<Result<Draft, Rejection>, Interrupted> {
    let mut reader = DataReader::default();
    let mut kept = Ok(draft);
    let place = driver.place();
    let waiting = place.wait();
    let mut owed = STRIDE;
    loop {
        while !wire.input().is_empty() {
            let piece = reader.read(wire.input());
            kept = keep(kept, piece.content, limit).await;
            let (consumed, ended) = (piece.consumed, piece.ended);
            wire.consume(consumed);
            owed = owed.saturating_sub(consumed);
            if owed == 0 {
                waiting.reset_idle();
                owed = STRIDE;
            }
            if ended {
                wire.shrink();
                let sound = |draft| match reader.defect(eight_bit) {
                    None => Ok(draft),
                    Some(defect) => Err(defect.into()),
                };
                return Ok(kept.and_then(sound));
            }
        }
        driver.flush(wire).await?;
        driver.fill_data(wire, DATA_ROOM).await?;
    }
}

/// Dropping the draft on the first error gives its room back while the rest is still coming.
async fn keep(kept: Result<Draft, Rejection>, content: &[u8], limit: u64) -> Result<Draft, Rejection> {
    let mut draft = kept?;
    if content.is_empty() {
        return Ok(draft);
    }
    if draft.size().saturating_add(content.len() as u64) > limit {
        return Err(Rejection::new(replies::too_big(), "message-size"));
    }
    draft.write(content).await?;
    Ok(draft)
}
