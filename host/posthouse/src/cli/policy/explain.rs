//! `posthouse policy explain`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::input::name_file;
use super::schema::{self, Setting};
use crate::cli::output::{self, line};
use crate::cli::policy::case_host::CaseHost;
use crate::cli::policy::policy_args::{PolicyArgs, cache_folder};
use host_config::{ConfigError, PolicyLimits, PolicyModule};
use host_engine::component::anatomy::{Anatomy, SETTINGS_SECTION, anatomy};
use host_events::escape;
use host_mail::Timestamp;
use host_policy::{HarnessCode, PolicyDescription, PolicyHarness, Purpose};

#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Description of a policy; printed as JSON with `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Explanation {
    file: String,
    #[serde(flatten)]
    anatomy: Anatomy,
    /// Problems that prevent a load with any settings.
    problems: Vec<String>,
    /// Interfaces that the configuration must grant.
    grants: Vec<String>,
    digest: Option<String>,
    name: Option<String>,
    version: Option<String>,
    rules: Vec<Rule>,
    /// Settings of the embedded schema; `None` without a schema.
    settings: Option<Vec<Setting>>,
    settings_problem: Option<String>,
    /// Problems that the policy's configure reports for the given settings, or for no settings.
    complaints: Vec<String>,
    /// Linear memory in bytes of a configured instance; of an instance before configure if there are complaints.
    memory: Option<usize>,
    /// Fuel to instantiate and configure, about the number of executed instructions.
    fuel_to_begin: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Rule {
    name: String,
    summary: String,
}

pub async fn run(options: ExplainArgs) -> anyhow::Result<ExitCode> {
    let code = options.policy.code()?;
    let mut explanation = Explanation::from_anatomy(&options, &code)?;
    let harness = PolicyHarness::new(
        Purpose::Observe,
        Arc::new(CaseHost::default()),
        cache_folder().as_deref(),
    )?;
    match harness.compile(&code).await {
        Err(problems) => explanation.problems = problems.iter().map(ToString::to_string).collect(),
        Ok(compiled) => {
            explanation
                .run_policy(&options, &harness, &compiled, code.len())
                .await?
        }
    }
    if options.json {
        output::json(&explanation)?;
    } else {
        show(&explanation)?;
    }
    Ok(ExitCode::from(u8::from(!explanation.problems.is_empty())))
}

impl Explanation {
    /// Reads the explanation from the component's binary, without running code.
    fn from_anatomy(options: &ExplainArgs, code: &[u8]) -> anyhow::Result<Self> {
        let anatomy = anatomy(code).map_err(|problems| ConfigError(name_file(&options.policy.file, problems)))?;
        let settings = anatomy.settings.as_deref().map(schema::settings);
        let (settings, settings_problem) = match settings.transpose() {
            Ok(settings) => (settings, None),
            Err(problem) => (None, Some(problem)),
        };
        Ok(Self {
            file: options.policy.file.display().to_string(),
            anatomy,
            problems: Vec::new(),
            grants: Vec::new(),
            digest: None,
            name: None,
            version: None,
            rules: Vec::new(),
            settings,
            settings_problem,
            complaints: Vec::new(),
            memory: None,
            fuel_to_begin: None,
        })
    }

    /// Adds the explanation that only running code gives: rules, complaints, memory and fuel.
    async fn run_policy(
        &mut self,
        options: &ExplainArgs,
        harness: &PolicyHarness,
        code: &HarnessCode,
        size: usize,
    ) -> anyhow::Result<()> {
        self.digest = Some(code.digest().to_owned());
        self.grants = code.uses().map(str::to_owned).collect();
        let module = PolicyModule {
            grants: self.grants.clone(),
            limits: generous_limits(),
            ..options.policy.module()?
        };
        match harness.describe(code, &module).await {
            Ok(description) => self.set_description(description),
            Err(problems) => {
                self.problems = problems.iter().map(ToString::to_string).collect();
                return Ok(());
            }
        }
        match harness.load(code, size, &module).await {
            Err(problems) => self.complaints = problems.iter().map(ToString::to_string).collect(),
            Ok(policy) => {
                let mut session = harness.session(&policy, Arc::new(CaseHost::default()), Timestamp::now());
                if let Ok(cost) = session.begin().await {
                    self.memory = Some(cost.memory);
                    self.fuel_to_begin = cost.fuel;
                }
            }
        }
        Ok(())
    }

    fn set_description(&mut self, description: PolicyDescription) {
        let rules = description.rules.into_iter();
        self.rules = rules.map(|(name, summary)| Rule { name, summary }).collect();
        self.name = Some(description.name);
        self.version = Some(description.version);
        self.memory = Some(description.instantiation.memory);
    }
}

/// Limits far above the defaults, so that the policy's need is measured and not cut off.
fn generous_limits() -> PolicyLimits {
    PolicyLimits {
        cpu: Duration::from_secs(10),
        wall: Duration::from_secs(60),
        memory: 1 << 30,
        component_size: u64::MAX,
        ..PolicyLimits::default()
    }
}

fn show(explanation: &Explanation) -> std::io::Result<()> {
    let field = |name: &str, value: &str| line(format!("{name:<11} {}", escape(value)));
    let list = |items: &[String]| match items {
        [] => "none".to_owned(),
        items => items.join(", "),
    };
    let anatomy = &explanation.anatomy;
    match (&explanation.name, &explanation.version) {
        (Some(name), Some(version)) => field("policy", &format!("{name} {version}"))?,
        _ => field("policy", &explanation.file)?,
    }
    field("contract", &list(&anatomy.contracts))?;
    field("roles", &list(&anatomy.roles))?;
    field(
        "size",
        &format!("{} KiB, {} core modules", anatomy.size.div_ceil(1024), anatomy.modules),
    )?;
    if let Some(digest) = &explanation.digest {
        field("digest", digest)?;
    }
    for (what, made_by) in &anatomy.producers {
        field(what, &list(made_by))?;
    }
    field("imports", &list(&anatomy.imports))?;
    field("grants", &format!("needs {}", list(&explanation.grants)))?;
    field("others", &list(&anatomy.others))?;
    field("faults", &fault_detail(anatomy))?;
    limits(explanation)?;
    show_rules(&explanation.rules)?;
    show_settings(explanation)?;
    for problem in &explanation.problems {
        field("problem", problem)?;
    }
    Ok(())
}

/// Detail that Event 4037 can give about a fault of this build.
fn fault_detail(anatomy: &Anatomy) -> String {
    match (anatomy.has_names, anatomy.has_lines) {
        (true, true) => "Event 4037 names function, file and line".to_owned(),
        (true, false) => "Event 4037 names the function; build with line tables for file and line".to_owned(),
        (false, _) => "Event 4037 cannot name the function: build without stripping".to_owned(),
    }
}

fn limits(explanation: &Explanation) -> std::io::Result<()> {
    let defaults = PolicyLimits::default();
    let Some(memory) = explanation.memory else {
        return Ok(());
    };
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let begin = explanation
        .fuel_to_begin
        .map_or(String::new(), |fuel| format!(", fuel {fuel} to begin"));
    line(format!(
        "needs       {:.1} MiB of memory before the first question{begin}",
        mib(memory)
    ))?;
    if memory > defaults.memory {
        let advice = format!(
            "limits.memory must be above the default of {:.0} MiB",
            mib(defaults.memory)
        );
        line(format!("            {advice}"))?;
    }
    if u64::try_from(explanation.anatomy.size).unwrap_or(u64::MAX) > defaults.component_size {
        line("            limits.component-size must be above the default")?;
    }
    Ok(())
}

fn show_rules(rules: &[Rule]) -> std::io::Result<()> {
    line(if rules.is_empty() {
        "rules       none declared"
    } else {
        "rules"
    })?;
    rules
        .iter()
        .try_for_each(|rule| line(format!("  {:<20} {}", escape(&rule.name), escape(&rule.summary))))
}

fn show_settings(explanation: &Explanation) -> std::io::Result<()> {
    match (&explanation.settings, &explanation.settings_problem) {
        (Some(settings), _) if settings.is_empty() => line("settings    none")?,
        (Some(settings), _) => {
            line("settings")?;
            for setting in settings {
                let default = match (&setting.default, setting.required) {
                    (Some(default), _) => format!(", default {default}"),
                    (None, true) => ", required".to_owned(),
                    (None, false) => String::new(),
                };
                let head = format!("{}: {}{default}", setting.key, setting.kind);
                line(format!("  {}", escape(&head)))?;
                if !setting.description.is_empty() {
                    line(format!("      {}", escape(&setting.description)))?;
                }
            }
        }
        (None, Some(problem)) => line(format!(
            "settings    told in {SETTINGS_SECTION}, but {}",
            escape(problem)
        ))?,
        (None, None) => line(format!(
            "settings    the policy does not tell (it has no section {SETTINGS_SECTION})"
        ))?,
    }
    for complaint in &explanation.complaints {
        line(format!("  it says: {}", escape(complaint)))?;
    }
    Ok(())
}
