//! Properties of the stored record: every message round-trips, and no bytes make the decoder panic.

use std::net::IpAddr;

use host_contract::Reason;
use host_mail::{
    BodyType, Client, DeliverBy, DeliverByMode, DeliveryHold, EnvelopeId, EnvelopeOptions, Identity, OriginalRecipient,
    RecipientDsn, RemoteName, Reply, RequestedReports, ReturnedPart, StatusCode, TlsSession,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::message::{Success, SuccessAction};
use crate::stored_record::FilePart;

fn id() -> impl Strategy<Value = MessageId> {
    any::<[u8; 10]>().prop_map(|bytes| {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text.parse().expect("id")
    })
}

fn address() -> impl Strategy<Value = Mailbox> {
    let local = prop_oneof![
        "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[a-z0-9]{1,5}){0,2}",
        "[äöüßéЖ漢]{1,8}",
        "\"[ !#-\\[\\]-~]{0,20}\"",
        "\"\\\\[ -~]\"",
    ];
    let domain = prop_oneof![
        "[a-zA-Z0-9]{1,10}(\\.[a-z]{2,5}){0,2}",
        "[äöüßéЖ漢]{1,8}\\.example",
        Just("[192.0.2.1]".to_owned()),
        Just("[IPv6:2001:db8::1]".to_owned()),
    ];
    (local, domain).prop_map(|(local, domain)| mailbox(&format!("{local}@{domain}")))
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let sender = prop_oneof![Just(ReversePath::Null), address().prop_map(ReversePath::Mailbox)];
    let body = prop_oneof![Just(BodyType::SevenBit), Just(BodyType::EightBitMime)];
    (sender, vec(address(), 0..4), body, any::<bool>(), option::of(options())).prop_map(
        |(sender, recipients, body, smtputf8, options)| Envelope {
            sender,
            recipients,
            body,
            smtputf8,
            options: options.map(Box::new),
        },
    )
}

fn options() -> impl Strategy<Value = EnvelopeOptions> {
    let returned = option::of(select(&[ReturnedPart::Full, ReturnedPart::Headers][..]));
    let id = option::of("[a-z]{1,20}".prop_map(|id| EnvelopeId::parse(&id).expect("valid")));
    let recipients = btree_map("[a-z]{1,8}@x[.]example", dsn(), 0..3);
    (returned, id, recipients, timing()).prop_map(|(return_content, envelope_id, recipients, timing)| EnvelopeOptions {
        return_content,
        envelope_id,
        recipients,
        ..timing
    })
}

fn timing() -> impl Strategy<Value = EnvelopeOptions> {
    let modes = select(&[DeliverByMode::Notify, DeliverByMode::Return][..]);
    let by = (any::<i64>(), modes, any::<bool>()).prop_map(|(seconds, mode, trace)| DeliverBy { seconds, mode, trace });
    let hold = prop_oneof![
        any::<u64>().prop_map(DeliveryHold::For),
        time().prop_map(DeliveryHold::Until)
    ];
    (any::<bool>(), option::of(by), option::of(hold), any::<Option<i8>>()).prop_map(
        |(require_tls, deliver_by, hold, priority)| EnvelopeOptions {
            require_tls,
            deliver_by,
            hold,
            priority,
            ..EnvelopeOptions::default()
        },
    )
}

fn dsn() -> impl Strategy<Value = RecipientDsn> {
    let notify = any::<(bool, bool, bool)>().prop_map(|(success, failure, delay)| RequestedReports {
        success,
        failure,
        delay,
    });
    let original = "rfc822;[a-z]{1,8}".prop_map(|text| OriginalRecipient::parse(&text).expect("valid"));
    (option::of(notify), option::of(original)).prop_map(|(notify, original)| RecipientDsn { notify, original })
}

fn success() -> impl Strategy<Value = Success> {
    let actions = vec![
        SuccessAction::Delivered,
        SuccessAction::Relayed,
        SuccessAction::Expanded,
    ];
    let facts = (reply(), any::<Option<String>>(), time());
    (address(), address(), select(actions), facts).prop_map(|(written, address, action, (reply, remote, at))| Success {
        written,
        address,
        action,
        reply,
        remote,
        at,
    })
}

fn client() -> impl Strategy<Value = Client> {
    let text = any::<String>;
    let tls = (text(), text(), option::of(text())).prop_map(|(version, cipher, subject)| TlsSession {
        version,
        cipher,
        subject,
    });
    let identity = (text(), text()).prop_map(|(account, mechanism)| Identity { account, mechanism });
    (
        text(),
        (any::<IpAddr>(), any::<u16>()),
        (option::of(text()), option::of(text())),
        option::of(tls),
        option::of(identity),
        vec(text(), 0..3),
    )
        .prop_map(
            |(listener, (address, port), (name, helo), tls, identity, exemptions)| Client {
                listener,
                address,
                port,
                name,
                helo,
                tls,
                identity,
                exemptions: exemptions.into(),
            },
        )
}

fn reply() -> impl Strategy<Value = Reply> {
    let status = any::<(u8, u16, u16)>().prop_map(|(class, subject, detail)| StatusCode(class, subject, detail));
    let remote = option::of(any::<String>().prop_map(|name| Box::new(RemoteName(name))));
    (any::<u16>(), option::of(status), any::<String>(), remote).prop_map(|(code, status, text, remote)| Reply {
        code,
        status,
        text,
        remote,
    })
}

fn reason() -> impl Strategy<Value = Reason> {
    any::<(String, String, Option<String>)>().prop_map(|(policy, rule, entry)| Reason { policy, rule, entry })
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Queued),
        (any::<String>(), reason()).prop_map(|(class, because)| State::Failing { class, because }),
        (any::<String>(), reason()).prop_map(|(folder, because)| State::Quarantined { folder, because }),
        any::<String>().prop_map(|reason| State::Frozen { reason }),
    ]
}

fn recipient() -> impl Strategy<Value = Recipient> {
    let failed = (any::<String>(), reply(), any::<Option<String>>());
    let state = prop_oneof![
        option::of(reply()).prop_map(|last| RecipientState::Pending { last }),
        time().prop_map(|at| RecipientState::Delivered { at }),
        failed.prop_map(|(class, reply, remote)| RecipientState::Failed(Failed { class, reply, remote })),
    ];
    (address(), option::of(address()), state, option::of(dsn())).prop_map(|(address, original, state, dsn)| Recipient {
        address,
        original,
        state,
        dsn: dsn.map(Box::new),
    })
}

fn any_message() -> impl Strategy<Value = Message> {
    (
        (id(), envelope(), option::of(client())),
        (state(), vec(recipient(), 0..4), vec(success(), 0..2)),
        (time(), time(), time()),
        any::<(u64, u32, bool, u32, bool)>(),
    )
        .prop_map(
            |(
                (id, envelope, client),
                (state, recipients, successes),
                (received, due, expires),
                (size, attempts, notification, faults, delay_reported),
            )| Message {
                id,
                received,
                envelope,
                client,
                size,
                state,
                recipients,
                attempts,
                due,
                expires,
                notification,
                faults,
                delay_reported,
                successes,
            },
        )
}

/// Creates the record of a message that was put, then settled and released.
fn stored() -> impl Strategy<Value = Stored> {
    let part = (0..1_u64 << 50, 0..1_u64 << 20).prop_map(|(size, skip)| FilePart {
        size,
        skip: skip.min(size),
    });
    let later = (option::of(state()), option::of(state()), option::of(time()));
    (any_message(), 0..1_u64 << 50, option::of(part), later).prop_map(
        |(message, head, file, (first, second, released))| {
            let mut stored = Stored::new(message, head, file);
            for state in [first, second].into_iter().flatten() {
                let next = Message {
                    state,
                    ..stored.message.clone()
                };
                stored = stored.with_message(next);
            }
            released.map_or_else(|| stored.clone(), |now| stored.released(now))
        },
    )
}

/// Selects a byte, often one with a meaning in JSON.
fn damage() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), select(&b"0189-+.eE\"\\{}[]:, tfn"[..])]
}

/// Decodes bytes. A success must be the record of `id` and round-trip again.
fn decode(id: MessageId, bytes: &[u8]) {
    if let Ok(stored) = Stored::decode(id, bytes) {
        assert_eq!(stored.message.id, id);
        let encoded = stored.encode().expect("encoded");
        assert_eq!(Stored::decode(id, &encoded), Ok(stored));
    }
}

proptest! {
    #[test]
    fn every_record_round_trips(stored in stored()) {
        let encoded = stored.encode().expect("encoded");
        prop_assert_eq!(Stored::decode(stored.message.id, &encoded), Ok(stored));
    }

    #[test]
    fn no_record_decodes_under_another_id(stored in stored(), other in id()) {
        prop_assume!(other != stored.message.id);
        let encoded = stored.encode().expect("encoded");
        prop_assert!(Stored::decode(other, &encoded).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(id in id(), bytes in vec(any::<u8>(), 0..512)) {
        decode(id, &bytes);
    }

    #[test]
    fn damaged_records_never_panic(
        stored in stored(),
        damages in vec((any::<usize>(), damage()), 0..6),
        length in option::of(any::<usize>()),
    ) {
        let mut bytes = stored.encode().expect("encoded");
        for (at, byte) in damages {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(length.map_or(usize::MAX, |length| length % bytes.len()));
        decode(stored.message.id, &bytes);
    }

    #[test]
    fn sizes_must_add_up(
        stored in stored(),
        head in any::<u64>(),
        file in option::of(any::<(u64, u64)>()),
        size in option::of(any::<u64>()),
    ) {
        let rest = file.map_or(Some(0), |(size, skip)| size.checked_sub(skip));
        let sum = rest.and_then(|rest| head.checked_add(rest));
        let size = size.or(sum).unwrap_or(u64::MAX);
        let mut record: Value = serde_json::from_slice(&stored.encode().expect("encoded")).expect("JSON");
        record["head"] = head.into();
        record["file"] = file.map_or(Value::Null, |(size, skip)| json!({"size": size, "skip": skip}));
        record["message"]["size"] = size.into();
        let decoded = Stored::decode(stored.message.id, record.to_string().as_bytes());
        prop_assert_eq!(decoded.is_ok(), sum == Some(size), "{:?}", decoded);
    }
}
