//! The reload: reads configuration, certificate, directory and policies again, and reports each part that could not be
//! applied.

use std::sync::Arc;

use crate::control::Reloaded;
use crate::daemon::preflight::{emit_warnings, open_tls, warnings};
use crate::daemon::services::RunningHost;
use host_config::{Config, Problem, dkim_signers, problems_around};
use host_delivery::is_rerouted;
use host_events::{Condition, Event};

impl RunningHost {
    /// Reloads configuration, certificate, directory and policies. A part that fails keeps the old state; the other
    /// parts are applied. `require_now` replaces policies whose code has no accepted signature.
    pub(super) async fn reload(&self, require_now: bool) -> Reloaded {
        let mut done = Reloaded::default();
        let old = self.config.load_full();
        self.reload_configuration(&mut done);
        self.review_certificates();
        self.retry_rerouted(&old, &mut done).await;
        // The directory emits its own events (5011, 5020).
        match self.directory.reload() {
            Ok(()) => done.changed.push("directory".to_owned()),
            Err(problems) => done.problems.extend(problems.into_iter().map(directory_problem)),
        }
        let config = self.config.load_full();
        let found = warnings(&config, Some(&self.directory)).await;
        emit_warnings(&self.events, &found);
        done.dubious = found;
        let policies = self.policies.reconfigure(&config, require_now).await;
        done.changed.extend(policies.changed);
        done.warnings.extend(policies.warnings);
        done.problems.extend(policies.problems);
        done
    }

    /// Makes the messages due now whose next hop has changed.
    async fn retry_rerouted(&self, old: &Arc<Config>, done: &mut Reloaded) {
        let (old, new, spool) = (Arc::clone(old), self.config.load_full(), self.spool.clone());
        if old.delivery == new.delivery {
            return;
        }
        let hastened = tokio::task::spawn_blocking(move || {
            spool.hasten(|message| is_rerouted(message, &old.delivery, &new.delivery))
        });
        match hastened.await {
            Ok(Ok(retried)) => done.retried = retried,
            Ok(Err(error)) => done.problems.push(Problem::new("delivery", error.to_string())),
            Err(error) => done.problems.push(Problem::new("delivery", error.to_string())),
        }
    }

    fn reload_configuration(&self, done: &mut Reloaded) {
        let old = self.config.load_full();
        let (mut applied, mut problems) = (Vec::new(), Vec::new());
        match reread(&old) {
            Ok(mut new) => {
                problems.extend(keep_restart_only_keys(&old, &mut new));
                match open_tls(&new, &self.events) {
                    Ok(tls) => {
                        self.tls.store(tls.map(Arc::new));
                        applied.push("certificate".to_owned());
                    }
                    Err(found) => problems.extend(found),
                }
                // A configuration with a bad key is not applied at all.
                if let Ok(signers) = dkim_signers(&new) {
                    self.signers.store(Arc::new(signers));
                }
                self.config.store(Arc::new(new));
                applied.push("configuration".to_owned());
            }
            Err(found) => problems.extend(found),
        }
        let health = self.events.health();
        match problems.first() {
            None => health.clear("configuration"),
            Some(first) => {
                let text = format!("{} problem(s) at the last reload, the first: {first}", problems.len());
                health.raise("configuration", Condition::Degraded, text);
            }
        }
        if !problems.is_empty() {
            self.events.emit(Event::ReloadFailed {
                what: "configuration".to_owned(),
                problems: problems.iter().map(ToString::to_string).collect(),
            });
        }
        if !applied.is_empty() {
            self.events.emit(Event::Reloaded { what: applied.clone() });
        }
        done.changed.extend(applied);
        done.problems.extend(problems);
    }
}

/// Puts a problem under the key `directory`, since its own key belongs to the directory's file and not to the
/// configuration.
fn directory_problem(problem: Problem) -> Problem {
    Problem::new("directory", problem.to_string())
}

/// Loads and checks the configuration's file again. The built-in defaults have no file and stay as they are.
fn reread(old: &Config) -> Result<Config, Vec<Problem>> {
    let Some(file) = &old.file else {
        return Ok(old.clone());
    };
    let new = Config::load(file).map_err(|error| error.0)?;
    let problems = problems_around(&new);
    if problems.is_empty() { Ok(new) } else { Err(problems) }
}

/// Restores the old value of every key that takes effect only at the next start, and returns a problem for each key
/// that differed.
fn keep_restart_only_keys(old: &Config, new: &mut Config) -> Vec<Problem> {
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
        "srs" srs;
        "administrator" administrator;
        "control" control;
        "listener" listeners;
        "limits.sessions" limits.sessions;
        "limits.sessions-per-client" limits.sessions_per_client;
        "delivery.connections" delivery.connections;
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
    fn keeps_and_names_keys_that_need_a_restart() {
        let old = config("data = '/a'\n[limits]\nrecipients = 100");
        let mut new = config(
            "data = '/b'\n[[listener]]\nname = 'x'\naddress = '127.0.0.1:1'\n[limits]\nrecipients = 200\nsessions = 7",
        );
        let problems = keep_restart_only_keys(&old, &mut new);
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
    fn accepts_unchanged_configuration() {
        let old = config("");
        assert!(keep_restart_only_keys(&old, &mut old.clone()).is_empty());
    }

    #[test]
    fn reports_invalid_file() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("posthouse.toml");
        std::fs::write(&path, "administrator = 'a@b.example'\ndata = 'd'").expect("writes");
        let old = Config::load(&path).expect("right");
        assert!(reread(&old).is_ok());
        std::fs::write(&path, "administrator = 5").expect("writes");
        assert_eq!(reread(&old).expect_err("wrong")[0].key, "administrator");
    }
}
