//! Reading everything again, and saying what could not be applied.

use std::sync::Arc;

use crate::control::Reloaded;
use crate::daemon::preflight::open_tls;
use crate::daemon::services::RunningHost;
use host_config::{Config, Problem, problems_around};
use host_events::Event;

impl RunningHost {
    /// Configuration, certificate, directory and policies. Each that fails stays as it was; the
    /// others are applied.
    pub(super) async fn reload(&self) -> Reloaded {
        let mut done = Reloaded::default();
        self.reload_configuration(&mut done);
        // The directory tells of itself (5011, 5020).
        match self.directory.reload() {
            Ok(()) => done.changed.push("directory".to_owned()),
            Err(problems) => done.problems.extend(problems.into_iter().map(of_directory)),
        }
        let (changed, problems) = self.policies.reconfigure(&self.config.load_full()).await;
        done.changed.extend(changed);
        done.problems.extend(problems);
        done
    }

    fn reload_configuration(&self, done: &mut Reloaded) {
        let old = self.config.load_full();
        let (mut what, mut problems) = (Vec::new(), Vec::new());
        match read_again(&old) {
            Ok(mut new) => {
                problems.extend(keep_what_needs_a_restart(&old, &mut new));
                match open_tls(&new) {
                    Ok(tls) => {
                        self.tls.store(tls.map(Arc::new));
                        what.push("certificate".to_owned());
                    }
                    Err(found) => problems.extend(found),
                }
                self.config.store(Arc::new(new));
                what.push("configuration".to_owned());
            }
            Err(found) => problems.extend(found),
        }
        if !problems.is_empty() {
            self.events.emit(Event::ReloadFailed {
                what: "configuration".to_owned(),
                problems: problems.iter().map(ToString::to_string).collect(),
            });
        }
        if !what.is_empty() {
            self.events.emit(Event::Reloaded { what: what.clone() });
        }
        done.changed.extend(what);
        done.problems.extend(problems);
    }
}

/// Its keys are those of another file than the configuration.
fn of_directory(problem: Problem) -> Problem {
    Problem::new("directory", problem.to_string())
}

/// The built-in defaults have no file and read as they were.
fn read_again(old: &Config) -> Result<Config, Vec<Problem>> {
    let Some(file) = &old.file else {
        return Ok(old.clone());
    };
    let new = Config::load(file).map_err(|error| error.0)?;
    let problems = problems_around(&new);
    if problems.is_empty() { Ok(new) } else { Err(problems) }
}

/// Puts back what is bound, open or handed out for the life of the process, and names it.
fn keep_what_needs_a_restart(old: &Config, new: &mut Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    macro_rules! keep {
        ($($key:literal $($field:ident).+;)*) => { $(
            if old.$($field).+ != new.$($field).+ {
                new.$($field).+.clone_from(&old.$($field).+);
                problems.push(Problem::new($key, "takes effect at the next start"));
            }
        )* };
    }
    keep! {
        "hostname" hostname;
        "data" data;
        "mailboxes" mailboxes;
        "directory" directory;
        "administrator" administrator;
        "control" control;
        "listener" listeners;
        "limits.sessions" limits.sessions;
        "limits.sessions-per-client" limits.sessions_per_client;
        "overload" overload;
        "policy-engine" policy_engine;
        "low-water" low_water;
        "events.format" event_format;
        "events.log-size" event_log_size;
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(text: &str) -> Config {
        let text = format!("administrator = 'a@b.example'\n{text}");
        Config::parse(&text, Path::new("/")).expect("right")
    }

    #[test]
    fn what_is_bound_or_open_stays_and_is_named() {
        let old = config("data = '/a'\n[limits]\nrecipients = 100");
        let mut new = config(
            "data = '/b'\n[[listener]]\nname = 'x'\naddress = '127.0.0.1:1'\n[limits]\nrecipients = 200\nsessions = 7",
        );
        let problems = keep_what_needs_a_restart(&old, &mut new);
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "data",
                "mailboxes",
                "directory",
                "control",
                "listener",
                "limits.sessions"
            ]
        );
        assert_eq!(new.data, old.data);
        assert_eq!(new.listeners, old.listeners);
        assert_eq!((new.limits.recipients, new.limits.sessions), (200, old.limits.sessions));
    }

    #[test]
    fn nothing_changed_is_no_problem() {
        let old = config("");
        assert!(keep_what_needs_a_restart(&old, &mut old.clone()).is_empty());
    }

    #[test]
    fn a_broken_file_is_a_problem_and_nothing_else() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("posthouse.toml");
        std::fs::write(&path, "administrator = 'a@b.example'\ndata = 'd'").expect("writes");
        let old = Config::load(&path).expect("right");
        assert!(read_again(&old).is_ok());
        std::fs::write(&path, "administrator = 5").expect("writes");
        assert_eq!(read_again(&old).expect_err("wrong")[0].key, "administrator");
    }
}
