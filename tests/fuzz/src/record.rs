//! Decision records.

use host_mail::HeaderBlock;
use host_policy::{Completeness, Record};

/// Reads a record, describes its questions and removes personal data. Record and redacted record must be written and
/// read without a change.
pub fn record(data: &[u8]) {
    let Ok(record) = serde_json::from_slice::<Record>(data) else {
        return;
    };
    check_round_trip(&record);
    let _ = record.weight();
    let _ = (record.time.to_string(), record.time.rfc5322());
    for exchange in &record.exchanges {
        let _ = (exchange.question.subject(), exchange.question.stage());
        if let Some(message) = exchange.question.message() {
            HeaderBlock::read(message).expect("in memory");
        }
    }
    let redacted = record.redact(&|text| format!("{:016x}", text.len()));
    assert_eq!(redacted.kept, Completeness::Hashed);
    check_round_trip(&redacted);
    let exchanges = redacted.exchanges.len();
    assert_eq!(redacted.redact(&|_| "0".to_owned()).exchanges.len(), exchanges);
}

fn check_round_trip(record: &Record) {
    let json = serde_json::to_vec(record).expect("JSON");
    let read: Record = serde_json::from_slice(&json).expect("a record");
    assert_eq!(&read, record);
}
