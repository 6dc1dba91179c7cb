//! Checks and preparations before the first connection: folders, directory, administrator, certificate, listeners.
//! Event 4056 reports all problems together; no connection has been accepted by then.

use std::fmt::Display;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use crate::daemon::descriptors;
use crate::daemon::start_failed::StartFailed;
use host_config::{Config, ListenerTls, Problem, make_self_signed, problems_around, server_config};
use host_directory::{Directory, FileDirectory};
use host_events::{Event, EventLog, EventRecord, Events, Format};
use host_mail::Timestamp;
use host_smtp::listener::Bound;

/// Resources that are ready before any part of the host runs.
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) events: Events,
    pub(super) log: EventLog,
    pub(super) directory: Arc<FileDirectory>,
    pub(super) tls: Option<TlsAcceptor>,
    /// Bound listeners with their configured names.
    pub(super) bound: Vec<(String, Bound)>,
    /// Maximum number of sessions: the configured limit, or fewer if file descriptors are short.
    pub(super) sessions: usize,
}

pub(super) async fn prepare(config: Config) -> Result<Prepared, StartFailed> {
    let (events, log) = open_events(&config)?;
    let sessions = descriptors::sessions(&config, &events);
    let mut problems = problems_around(&config);
    if let Err(error) = make_folder(&config.mailboxes) {
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
    let tls = match open_tls(&config) {
        Ok(tls) => tls,
        Err(found) => {
            problems.extend(
                found
                    .into_iter()
                    .filter(|problem| !problems.contains(problem))
                    .collect::<Vec<_>>(),
            );
            None
        }
    };
    let bound = bind(&config, &events, &mut problems).await;
    match directory {
        Some(directory) if problems.is_empty() => Ok(Prepared {
            config,
            events,
            log,
            directory: Arc::new(directory),
            tls,
            bound,
            sessions,
        }),
        _ => {
            emit_will_not_start(&events, &problems);
            Err(StartFailed(problems))
        }
    }
}

/// Opens the event log. A failure is printed to stdout, since there is no event log yet.
fn open_events(config: &Config) -> Result<(Events, EventLog), StartFailed> {
    let opened = make_folder(&config.data)
        .and_then(|()| Events::open(&config.data.join("events"), config.event_format, config.event_log_size));
    opened.map_err(|error| {
        let problems = vec![Problem::new("data", format!("{}: {error}", config.data.display()))];
        print_will_not_start(config.event_format, &problems);
        StartFailed(problems)
    })
}

/// Prints Event 4056 to stdout only, for failures before the event log is open.
pub fn print_will_not_start(format: Format, problems: &[Problem]) {
    let event = Event::WillNotStart {
        problems: problems.iter().map(ToString::to_string).collect(),
    };
    let line = format.line(&EventRecord::new(Timestamp::now(), &event));
    // If stdout is closed, the exit code still reports the failure.
    let _ = writeln!(io::stdout(), "{line}");
}

/// Makes a folder, and its parents, with mode 0750: mail is accessible to the host and its group only.
fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(path)
}

/// Opens the configured directory for local delivery to the configured mailboxes.
///
/// # Errors
/// Problems of the directory's file, under the key `directory`.
pub fn open_directory(config: &Config) -> Result<FileDirectory, Vec<Problem>> {
    let opened = FileDirectory::open(&config.directory, &config.mailboxes, config.administrator.clone());
    let named = |problem: Problem| Problem::new("directory", format!("{}: {problem}", config.directory.display()));
    opened
        .map(|directory| directory.with_hostname(&config.hostname))
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

/// Loads the configured certificate, or makes a self-signed one if a listener uses TLS without a configured
/// certificate. Returns `None` if no listener uses TLS.
pub(super) fn open_tls(config: &Config) -> Result<Option<TlsAcceptor>, Vec<Problem>> {
    let uses_tls = config.listeners.iter().any(|listener| listener.tls != ListenerTls::Off);
    let files = match &config.tls {
        Some(files) => files.clone(),
        None if !uses_tls => return Ok(None),
        None => make_self_signed(&config.data.join("tls"), &config.hostname)
            .map_err(|error| vec![Problem::new("tls", format!("no self-signed certificate: {error}"))])?,
    };
    server_config(&files).map(TlsAcceptor::from).map(Some)
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
    StartFailed(problems)
}
