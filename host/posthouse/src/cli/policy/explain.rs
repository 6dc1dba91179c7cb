//! `posthouse policy explain`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::input::of_file;
use super::schema::{self, Setting};
use crate::cli::output::{self, line};
use crate::cli::policy::case_host::CaseHost;
use crate::cli::policy::policy_args::{Subject, cache_folder};
use host_config::{ConfigError, PolicyLimits, PolicyModule};
use host_engine::component::anatomy::{Anatomy, SETTINGS_SECTION, anatomy};
use host_events::escape;
use host_mail::Timestamp;
use host_policy::{HarnessCode, PolicyDescription, PolicyHarness, Purpose};

#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    subject: Subject,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Everything there is to say.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Explanation {
    file: String,
    #[serde(flatten)]
    anatomy: Anatomy,
    /// What keeps it from being loaded, whatever its settings.
    problems: Vec<String>,
    /// Interfaces that must be granted.
    grants: Vec<String>,
    digest: Option<String>,
    name: Option<String>,
    version: Option<String>,
    rules: Vec<Rule>,
    /// None: the policy does not tell.
    settings: Option<Vec<Setting>>,
    settings_problem: Option<String>,
    /// What it says to the settings that were given, or to none.
    complaints: Vec<String>,
    /// Bytes of linear memory of a configured instance, or of one that is not if it has complaints.
    memory: Option<usize>,
    /// To make and configure an instance, about instructions.
    fuel_to_begin: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Rule {
    name: String,
    summary: String,
}

pub async fn run(options: ExplainArgs) -> anyhow::Result<ExitCode> {
    let code = options.subject.code()?;
    let mut told = Explanation::outside(&options, &code)?;
    let lab = PolicyHarness::new(
        Purpose::Observe,
        Arc::new(CaseHost::default()),
        cache_folder().as_deref(),
    )?;
    match lab.compile(&code).await {
        Err(problems) => told.problems = problems.iter().map(ToString::to_string).collect(),
        Ok(compiled) => told.inside(&options, &lab, &compiled, code.len()).await?,
    }
    if options.json {
        output::json(&told)?;
    } else {
        show(&told)?;
    }
    Ok(ExitCode::from(u8::from(!told.problems.is_empty())))
}

impl Explanation {
    fn outside(options: &ExplainArgs, code: &[u8]) -> anyhow::Result<Self> {
        let anatomy = anatomy(code).map_err(|problems| ConfigError(of_file(&options.subject.file, problems)))?;
        let settings = anatomy.settings.as_deref().map(schema::settings);
        let (settings, settings_problem) = match settings.transpose() {
            Ok(settings) => (settings, None),
            Err(problem) => (None, Some(problem)),
        };
        Ok(Self {
            file: options.subject.file.display().to_string(),
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

    async fn inside(
        &mut self,
        options: &ExplainArgs,
        lab: &PolicyHarness,
        code: &HarnessCode,
        size: usize,
    ) -> anyhow::Result<()> {
        self.digest = Some(code.digest().to_owned());
        self.grants = code.uses().map(str::to_owned).collect();
        let module = PolicyModule {
            grants: self.grants.clone(),
            limits: ample(),
            ..options.subject.module()?
        };
        match lab.introduce(code, &module).await {
            Ok(introduction) => self.introduced(introduction),
            Err(problems) => {
                self.problems = problems.iter().map(ToString::to_string).collect();
                return Ok(());
            }
        }
        match lab.load(code, size, &module).await {
            Err(problems) => self.complaints = problems.iter().map(ToString::to_string).collect(),
            Ok(specimen) => {
                let mut sitting = lab.sitting(&specimen, Arc::new(CaseHost::default()), Timestamp::now());
                if let Ok(cost) = sitting.begin().await {
                    self.memory = Some(cost.memory);
                    self.fuel_to_begin = cost.fuel;
                }
            }
        }
        Ok(())
    }

    fn introduced(&mut self, introduction: PolicyDescription) {
        let rules = introduction.rules.into_iter();
        self.rules = rules.map(|(name, summary)| Rule { name, summary }).collect();
        self.name = Some(introduction.name);
        self.version = Some(introduction.version);
        self.memory = Some(introduction.instantiation.memory);
    }
}

/// What it needs is measured, not what it may have.
fn ample() -> PolicyLimits {
    PolicyLimits {
        cpu: Duration::from_secs(10),
        wall: Duration::from_secs(60),
        memory: 1 << 30,
        component_size: u64::MAX,
        ..PolicyLimits::default()
    }
}

fn show(told: &Explanation) -> std::io::Result<()> {
    let field = |name: &str, value: &str| line(format!("{name:<11} {}", escape(value)));
    let list = |items: &[String]| match items {
        [] => "none".to_owned(),
        items => items.join(", "),
    };
    let anatomy = &told.anatomy;
    match (&told.name, &told.version) {
        (Some(name), Some(version)) => field("policy", &format!("{name} {version}"))?,
        _ => field("policy", &told.file)?,
    }
    field("contract", &list(&anatomy.contracts))?;
    field("roles", &list(&anatomy.roles))?;
    field(
        "size",
        &format!("{} KiB, {} core modules", anatomy.size.div_ceil(1024), anatomy.modules),
    )?;
    if let Some(digest) = &told.digest {
        field("digest", digest)?;
    }
    for (what, made_by) in &anatomy.producers {
        field(what, &list(made_by))?;
    }
    field("imports", &list(&anatomy.imports))?;
    field("grants", &format!("needs {}", list(&told.grants)))?;
    field("others", &list(&anatomy.others))?;
    field("faults", &visibility(anatomy))?;
    limits(told)?;
    show_rules(&told.rules)?;
    show_settings(told)?;
    for problem in &told.problems {
        field("problem", problem)?;
    }
    Ok(())
}

/// What Event 4037 will be able to say.
fn visibility(anatomy: &Anatomy) -> String {
    match (anatomy.has_names, anatomy.has_lines) {
        (true, true) => "Event 4037 names function, file and line".to_owned(),
        (true, false) => "Event 4037 names the function; build with line tables for file and line".to_owned(),
        (false, _) => "Event 4037 cannot name the function: build without stripping".to_owned(),
    }
}

fn limits(told: &Explanation) -> std::io::Result<()> {
    let defaults = PolicyLimits::default();
    let Some(memory) = told.memory else {
        return Ok(());
    };
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let begin = told
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
    if u64::try_from(told.anatomy.size).unwrap_or(u64::MAX) > defaults.component_size {
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

fn show_settings(told: &Explanation) -> std::io::Result<()> {
    match (&told.settings, &told.settings_problem) {
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
    for complaint in &told.complaints {
        line(format!("  it says: {}", escape(complaint)))?;
    }
    Ok(())
}
