//! Reads the tables of policies: `policy`, `policy-engine` and `faults`.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Map;
use toml::Value;

use super::defaults::GRANTS;
use super::{
    AdmitFault, FaultActions, ModuleFaults, NdrFault, PolicyEngine, PolicyLimits, PolicyModule, ProbationConfig,
    RecordMode, Share,
};
use crate::toml_reader::{TableReader, boolean, choice, count, duration, parsed, size, text};
use crate::values::{at_least, identifier, path};

const RECORD_MODES: [(&str, RecordMode); 3] = [
    ("off", RecordMode::Off),
    ("on", RecordMode::On),
    ("hashed", RecordMode::Hashed),
];

pub(crate) fn read_policies(root: &mut TableReader<'_>, base: &Path) -> Vec<PolicyModule> {
    let mut names = HashSet::new();
    let mut modules = Vec::new();
    for mut reader in root.tables("policy") {
        let default = PolicyModule::default();
        let name = reader.or("name", default.name, identifier);
        if !names.insert(name.clone()) {
            reader.problem("name", format!("there is a policy {name:?} already"));
        }
        let grants = if reader.has("grants") {
            reader.list("grants", grant)
        } else {
            default.grants
        };
        modules.push(PolicyModule {
            name,
            file: reader.optional("file", path(base)),
            signed_by: reader.or("signed-by", default.signed_by, signers),
            settings: reader.or("settings", default.settings, settings),
            grants,
            counters: reader.or("counters", default.counters, count(0..=1_000_000)),
            limits: read_policy_limits(reader.table("limits"), default.limits),
            stateless: reader.optional("stateless", boolean),
            core_dumps: reader.optional("core-dumps", path(base)),
            record: reader.or("record", default.record, choice(&RECORD_MODES)),
            faults: read_module_faults(reader.table("faults")),
        });
    }
    modules
}

fn read_policy_limits(mut reader: TableReader<'_>, default: PolicyLimits) -> PolicyLimits {
    let memory = |value: &Value| {
        let bytes = size(value).and_then(|bytes| at_least(64 << 10, bytes))?;
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= 4 << 30);
        bytes.ok_or_else(|| "at most 4GiB: a policy has 32-bit addresses".to_owned())
    };
    PolicyLimits {
        cpu: reader.or("cpu", default.cpu, duration),
        wall: reader.or("wall", default.wall, duration),
        memory: reader.or("memory", default.memory, memory),
        component_size: reader.or("component-size", default.component_size, size),
        host_calls: reader.or("host-calls", default.host_calls, count(0..=1_000_000_000)),
    }
}

pub(crate) fn read_policy_engine(mut reader: TableReader<'_>, default: PolicyEngine, base: &Path) -> PolicyEngine {
    reader.removed(
        "remembered-admissions",
        "every connection is asked about, which costs under 1 % of a message",
    );
    PolicyEngine {
        instances: reader.or("instances", default.instances, count(1..=10_000)),
        wait: reader.or("wait", default.wait, duration),
        compile_time: reader.or("compile-time", default.compile_time, duration),
        compile_memory: reader.or("compile-memory", default.compile_memory, |value| {
            size(value).and_then(|bytes| at_least(64 << 20, bytes))
        }),
        prepare_after: reader.or("prepare-after", default.prepare_after, duration),
        shadow_cpu: reader.or("shadow-cpu", default.shadow_cpu, parsed::<Share>),
        watch: reader.optional("watch", path(base)),
        probation: read_probation(reader.table("probation"), default.probation),
    }
}

fn read_probation(mut reader: TableReader<'_>, default: ProbationConfig) -> ProbationConfig {
    ProbationConfig {
        lasts: reader.or("lasts", default.lasts, duration),
        window: reader.or("window", default.window, duration),
        faults: reader.or("faults", default.faults, count(0..=1_000_000)),
        share: reader.or("share", default.share, parsed::<Share>),
    }
}

const ADMIT_FAULTS: [(&str, AdmitFault); 2] = [("not-exempt", AdmitFault::NotExempt), ("defer", AdmitFault::Defer)];
const NDR_FAULTS: [(&str, NdrFault); 2] = [
    ("standard-report", NdrFault::StandardReport),
    ("freeze", NdrFault::Freeze),
];

fn read_module_faults(mut reader: TableReader<'_>) -> ModuleFaults {
    ModuleFaults {
        admit: reader.optional("admit", choice(&ADMIT_FAULTS)),
        ndr: reader.optional("ndr", choice(&NDR_FAULTS)),
    }
}

pub(crate) fn read_faults(mut reader: TableReader<'_>, default: FaultActions) -> FaultActions {
    FaultActions {
        admit: reader.or("admit", default.admit, choice(&ADMIT_FAULTS)),
        ndr: reader.or("ndr", default.ndr, choice(&NDR_FAULTS)),
        message_limit: reader.or("message-limit", default.message_limit, count(1..=1000)),
    }
}

fn grant(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    if GRANTS.contains(&text.as_str()) {
        return Ok(text);
    }
    Err(format!(
        "{text:?} is nothing a policy can import; there are {}",
        GRANTS.join(", ")
    ))
}

/// Reads a minisign public key or a list of keys, which must not be empty.
fn signers(value: &Value) -> Result<Vec<String>, String> {
    let keys = match value {
        Value::Array(keys) if keys.is_empty() => return Err("at least one key is needed".to_owned()),
        Value::Array(keys) => keys.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        single => vec![text(single)?],
    };
    for key in &keys {
        minisign_verify::PublicKey::from_base64(key).map_err(|_| {
            format!("{key:?} is not a minisign public key: expected the second line of minisign.pub, such as \"RWQ…\"")
        })?;
    }
    Ok(keys)
}

/// Converts a policy's settings to JSON; a TOML date becomes a string.
fn settings(value: &Value) -> Result<Map<String, serde_json::Value>, String> {
    match json(value)? {
        serde_json::Value::Object(settings) => Ok(settings),
        _ => Err("expected a table".to_owned()),
    }
}

fn json(value: &Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::String(text) => text.clone().into(),
        Value::Integer(number) => (*number).into(),
        Value::Boolean(boolean) => (*boolean).into(),
        Value::Datetime(date) => date.to_string().into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)
            .ok_or_else(|| format!("{number} is not a number in JSON"))?
            .into(),
        Value::Array(items) => items.iter().map(json).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Table(table) => table
            .iter()
            .map(|(key, value)| Ok((key.clone(), json(value)?)))
            .collect::<Result<Map<_, _>, String>>()?
            .into(),
    })
}
