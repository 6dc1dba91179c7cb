//! Checks and preparations before the first connection: folders, directory, administrator, certificate, listeners.
//! Event 4056 reports all problems together; no connection has been accepted by then.

use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::sync::Arc;

use crate::daemon::descriptors::{self, DescriptorShares};
use crate::daemon::directory_review::directory_warnings;
use crate::daemon::start_failed::StartFailed;
use host_config::{
    Config, ListenerTls, ListenerTlsConfigs, Problem, data_folder_warnings, dkim_signers, inspect_data_folder,
    listener_tls_configs, make_self_signed, ownership_problems, problems_around, warnings_around,
};
use host_directory::{Directory, FileDirectory, SenderRewriting};
use host_dkim::Signers;
use host_events::{Event, EventLog, EventRecord, Events, Format, StallProof};
use host_files::{FolderAudit, make_private_folder};
use host_mail::Timestamp;
use host_smtp::listener::Bound;

/// Maximum number of warnings in Event 5070.
const MAX_WARNINGS: usize = 50;

/// Resources that are ready before any part of the host runs.
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) events: Events,
    pub(super) log: EventLog,
    pub(super) directory: Arc<FileDirectory>,
    pub(super) tls: Option<ListenerTlsConfigs>,
    /// Keys that sign mail for other hosts.
    pub(super) signers: Signers,
    /// Bound listeners with their configured names.
    pub(super) bound: Vec<(String, Bound)>,
    /// Limits on sessions and connections, which may be lower than configured if file descriptors are short.
    pub(super) shares: DescriptorShares,
}

pub(super) async fn prepare(config: Config) -> Result<Prepared, StartFailed> {
    let (events, log, data_folder) = open_events(&config)?;
    let shares = descriptors::share(&config, &events);
    let mut problems = problems_around(&config);
    problems.extend(ownership_problems(&config, &data_folder));
    if let Err(error) = make_private_folder(&config.mailboxes) {
        problems.push(Problem::new(
            "mailboxes",
            format!("{}: {error}", config.mailboxes.display()),
        ));
    }
    let directory = match open_directory(&config) {
        Ok(directory) => {
            problems.extend(missing_administrator(&config, &directory, &events).await);
            Some(directory.with_events(events.clone()))
        }
        Err(found) => {
            problems.extend(found);
            None
        }
    };
    let mut warnings = warnings(&config, directory.as_ref()).await;
    warnings.extend(data_folder_warnings(&config, &data_folder, true));
    emit_warnings(&events, &warnings);
    let tls = match open_tls(&config, &events) {
        Ok(tls) => tls,
        Err(found) => {
            problems.extend(
                found
                    .into_iter()
                    .filter(|problem| !problems.iter().any(|known| known.is_same(problem)))
                    .collect::<Vec<_>>(),
            );
            None
        }
    };
    // The problems of keys are among those of the configuration.
    let signers = dkim_signers(&config).unwrap_or_default();
    make_cache_usable(&config, &events);
    let bound = bind(&config, &events, &mut problems).await;
    match directory {
        Some(directory) if problems.is_empty() => Ok(Prepared {
            config,
            events,
            log,
            directory: Arc::new(directory),
            tls,
            signers,
            bound,
            shares,
        }),
        _ => {
            config.add_lines(&mut problems);
            emit_will_not_start(&events, &problems);
            Err(StartFailed::new(problems))
        }
    }
}

/// Makes the data folder private and opens the event log. A failure is printed to stdout, since there is no event log
/// yet.
fn open_events(config: &Config) -> Result<(Events, EventLog, FolderAudit), StartFailed> {
    let made = make_private_folder(&config.data);
    let data_folder = inspect_data_folder(config, true);
    let opened =
        made.and_then(|()| Events::open(&config.data.join("events"), config.event_format, config.event_log_size));
    match opened {
        Ok((events, log)) => {
            for (folder, open) in [
                (&config.data, &data_folder.open),
                (&config.mailboxes, &data_folder.mailboxes.open),
            ] {
                if !open.is_empty() {
                    events.emit(Event::FilesMadePrivate {
                        folder: folder.display().to_string(),
                        count: open.count,
                        files: open.to_string(),
                    });
                }
            }
            Ok((events, log, data_folder))
        }
        Err(error) => {
            let mut problems = vec![Problem::new("data", format!("{}: {error}", config.data.display()))];
            problems.extend(ownership_problems(config, &data_folder));
            print_will_not_start(config.event_format, &problems);
            Err(StartFailed::new(problems))
        }
    }
}

/// Returns the warnings of a configuration and its directory, each with its key.
pub async fn warnings(config: &Config, directory: Option<&FileDirectory>) -> Vec<Problem> {
    let mut warnings = warnings_around(config);
    if let Some(directory) = directory {
        warnings.extend(directory_warnings(config, directory).await);
    }
    warnings
}

/// Emits Event 5070 if there are warnings.
pub(super) fn emit_warnings(events: &Events, warnings: &[Problem]) {
    if warnings.is_empty() {
        return;
    }
    let mut texts: Vec<String> = warnings.iter().take(MAX_WARNINGS).map(ToString::to_string).collect();
    if let Some(more) = warnings.len().checked_sub(MAX_WARNINGS).filter(|more| *more > 0) {
        texts.push(format!("{more} more: see posthouse check"));
    }
    events.emit(Event::ConfigurationWarnings { warnings: texts });
}

/// Prints Event 4056 to stdout only, for failures before the event log is open.
pub fn print_will_not_start(format: Format, problems: &[Problem]) {
    let event = Event::WillNotStart {
        problems: problems.iter().map(ToString::to_string).collect(),
    };
    let line = format.line(&EventRecord::new(Timestamp::now(), &event));
    // If stdout is closed, the exit code still reports the failure.
    let _ = writeln!(StallProof::stdout(), "{line}");
}

/// Opens the configured directory for local delivery to the configured mailboxes.
///
/// # Errors
/// Problems of the directory's file, under the key `directory`.
pub fn open_directory(config: &Config) -> Result<FileDirectory, Vec<Problem>> {
    let opened = FileDirectory::open(&config.directory, &config.mailboxes, config.administrator.clone());
    let rewriting = config.srs.as_ref().map(SenderRewriting::open).transpose();
    let rewriting = rewriting.map_err(|text| vec![Problem::new("srs.secret-file", text)])?;
    let named = |problem: Problem| Problem::new("directory", format!("{}: {problem}", config.directory.display()));
    opened
        .map(|directory| directory.with_hostname(&config.hostname).with_rewriting(rewriting))
        .map_err(|problems| problems.into_iter().map(named).collect())
}

/// Returns a problem if the administrator's address cannot be resolved. The administrator gets the notifications that
/// have no other recipient.
pub async fn administrator_problem(config: &Config, directory: &FileDirectory) -> Option<Problem> {
    let address = &config.administrator;
    let text = match directory.lookup(address).await {
        Ok(found) if !found.is_empty() => return None,
        Ok(_) => format!("{address} is not in the directory {}", config.directory.display()),
        Err(error) => error.to_string(),
    };
    Some(Problem::new("administrator", text))
}

async fn missing_administrator(config: &Config, directory: &FileDirectory, events: &Events) -> Option<Problem> {
    let problem = administrator_problem(config, directory).await?;
    events.emit(Event::AdministratorMissing {
        address: config.administrator.to_string(),
    });
    Some(problem)
}

/// Loads the configured certificates, or makes a self-signed one if a listener uses TLS without a configured
/// certificate. Returns `None` if no listener uses TLS.
pub(super) fn open_tls(config: &Config, events: &Events) -> Result<Option<ListenerTlsConfigs>, Vec<Problem>> {
    let uses_tls = config.listeners.iter().any(|listener| listener.tls != ListenerTls::Off);
    let mut certificates = config.certificates();
    match &config.tls {
        Some(_) => {}
        None if !uses_tls => return Ok(None),
        None => {
            let made = make_self_signed(&config.data.join("tls"), &config.hostname)
                .map_err(|error| vec![Problem::new("tls", format!("no self-signed certificate: {error}"))])?;
            if let Some(reason) = made.made_again {
                events.emit(Event::FileMadeAgain {
                    file: made.files.certificate.display().to_string(),
                    reason,
                });
            }
            certificates.push(("tls".to_owned(), made.files));
        }
    }
    listener_tls_configs(config, &certificates).map(Some)
}

/// Removes a file that stands in the place of the cache of compiled policies, which is then made again.
fn make_cache_usable(config: &Config, events: &Events) {
    let cache = config.data.join("policies/cache");
    let is_file = fs::symlink_metadata(&cache).is_ok_and(|existing| existing.is_file());
    if is_file && fs::remove_file(&cache).is_ok() {
        events.emit(Event::FileMadeAgain {
            file: cache.display().to_string(),
            reason: "it was a file and no folder".to_owned(),
        });
    }
}

async fn bind(config: &Config, events: &Events, problems: &mut Vec<Problem>) -> Vec<(String, Bound)> {
    let mut bound = Vec::with_capacity(config.listeners.len());
    for (index, listener) in config.listeners.iter().enumerate() {
        match Bound::bind(listener).await {
            Ok(socket) => bound.push((listener.name.clone(), socket)),
            Err(error) => {
                events.emit(Event::CannotBind {
                    listener: listener.name.clone(),
                    address: listener.address.to_string(),
                    error: error.to_string(),
                });
                problems.push(Problem::new(format!("listener[{index}].address"), error.to_string()));
            }
        }
    }
    bound
}

fn emit_will_not_start(events: &Events, problems: &[Problem]) {
    events.emit(Event::WillNotStart {
        problems: problems.iter().map(ToString::to_string).collect(),
    });
    events.flush();
}

/// Reports that a part of the host could not start (Event 4056), and returns the error.
pub(super) fn start_failure(events: &Events, key: &str, error: &dyn Display) -> StartFailed {
    let problems = vec![Problem::new(key, error.to_string())];
    emit_will_not_start(events, &problems);
    StartFailed::new(problems)
}
