//! The catalogue of events: id, name, severity, meaning and action of the operator.

use serde::Serialize;

/// Severity of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Normal operation; no action is needed.
    Info,
    /// A problem that the operator should look at eventually.
    Warning,
    /// A problem that the operator should look at now.
    Error,
}

/// An entry of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct EventKind {
    /// Stable id, never reused for another kind of event.
    pub id: u32,
    /// Name in logs, in kebab-case.
    pub name: &'static str,
    /// Severity of all events of this kind.
    pub severity: Severity,
    /// Description of the event.
    pub meaning: &'static str,
    /// Action that the operator should take.
    pub action: &'static str,
    /// Names of the event's fields, in snake case.
    pub fields: &'static [&'static str],
}

/// Declares the events: `id Name "name" severity { fields } "meaning" "action"`.
macro_rules! events {
    ($($id:literal $variant:ident $name:literal $severity:ident { $($field:ident : $type:ty),* $(,)? } $meaning:literal $action:literal;)*) => {
        /// An event for the operator.
        #[derive(Debug, Clone, Serialize)]
        #[serde(untagged)]
        #[allow(missing_docs)] // the catalogue documents each event
        pub enum Event {
            $(
                #[doc = concat!($meaning, " (", $id, ")")]
                #[serde(rename_all = "kebab-case")]
                $variant { $($field: $type),* },
            )*
        }

        /// The catalogue: all kinds of events, in the order of ids.
        pub fn catalogue() -> &'static [EventKind] {
            const CATALOGUE: &[EventKind] = &[$(EventKind {
                id: $id,
                name: $name,
                severity: Severity::$severity,
                meaning: $meaning,
                action: $action,
                fields: &[$(stringify!($field)),*],
            }),*];
            CATALOGUE
        }

        impl Event {
            /// Entry of the catalogue for this event.
            pub fn entry(&self) -> &'static EventKind {
                let id: u32 = match self { $(Self::$variant { .. } => $id),* };
                match catalogue().iter().find(|entry| entry.id == id) {
                    Some(entry) => entry,
                    None => unreachable!("the same table makes both"),
                }
            }
        }
    };
}

/// A fault of a policy, with the facts that the policy's author needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyFault {
    /// `panic`, `cpu-timeout`, `host-timeout`, `memory`, `stack`, `trap`, `abi`, `invalid-answer`, `host-bug`.
    pub class: String,
    /// Name of the class in the release before, where that differs: `lie` for `invalid-answer`. Goes with the next release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_class: Option<String>,
    /// Name of the module in the chain.
    pub policy: String,
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// Generation of the policy that was called.
    pub generation: u64,
    /// Stage of the call: `admit`, `sender`, `recipient`, `message`, `ndr`, `configure`, `describe`.
    pub stage: String,
    /// The trap's code, or the reason why the answer is invalid, in words.
    pub code: String,
    /// Innermost function of the policy's own code, if known.
    pub function: Option<String>,
    /// Location of `function` as `file:line`.
    pub location: Option<String>,
    /// Output of the policy on stderr, usually the panic text.
    pub stderr: String,
    /// Id of the session, if the call belongs to a connection.
    pub session: Option<String>,
    /// Id of the message, if the call belongs to a message.
    pub message: Option<String>,
    /// Action of the host in place of the policy's answer.
    pub instead: String,
    /// Path of the core dump of the trapped instance, if core dumps are configured.
    #[serde(default)]
    pub core_dump: Option<String>,
}

type Text = String;
type Maybe = Option<String>;

events! {
    2000 DeliveryAttemptFailed "delivery-attempt-failed" Warning { message: Text, recipients: Vec<String>, destination: Text, reply: Text, next_attempt: Maybe }
        "A delivery attempt failed for now; it will be tried again." "None, unless it repeats: see the reply.";
    3041 TooManyRecipients "too-many-recipients" Warning { session: Text, client: Text, limit: u64 }
        "A client named more recipients than the limit; the rest were answered 452." "Raise limits.recipients if the sender is legitimate.";
    4007 CannotBind "cannot-bind-listener" Error { listener: Text, address: Text, error: Text }
        "A listener could not be opened." "Free the port or change the listener's address.";
    4031 RemoteRefused "remote-refused" Warning { message: Text, recipients: Vec<String>, remote: Text, reply: Text }
        "A remote host refused recipients for good; its reply is quoted." "None: whom the policy names is notified.";
    4037 PolicyFault "policy-fault" Error { fault: PolicyFault }
        "A policy faulted; the fault was contained and the service goes on." "Report function, location and text to the policy's author; load a good policy.";
    4056 WillNotStart "will-not-start" Error { problems: Vec<String> }
        "The host will not start until configuration errors are corrected." "Correct every problem listed; posthouse check lists them too.";
    4072 AdministratorMissing "administrator-missing" Error { address: Text }
        "The administrator's mailbox is not in the directory." "Create the account or correct administrator.";
    4081 MessageNotProcessed "message-not-processed" Error { message: Text, error: Text }
        "A message could not be processed and stays in the spool." "See the error; the message is tried again.";
    4098 HopCountExceeded "hop-count-exceeded" Warning { message: Text, hops: u64, limit: u64 }
        "A message passed too many hosts: a mail loop." "Find the loop between the hosts in its Received fields.";
    4115 PolicyLoop "policy-loop" Error { message: Text, policy: Text, passes: u64 }
        "A message came back again and again after a policy had changed its recipients; it was refused." "Correct the policy: it must not add a recipient whose mail comes back here.";
    4117 MessageSetAside "message-set-aside" Error { message: Text, reason: Text }
        "A message was frozen: it stays in the spool untouched until an operator acts." "posthouse queue show; then release or delete it.";
    4120 NdrNotMade "ndr-not-made" Error { message: Text, error: Text, instead: Text }
        "The policy could not plan a notification; the standard report was sent instead." "See the fault logged with it.";
    4123 NotificationDropped "notification-dropped" Warning { message: Text, to: Text, reason: Text }
        "A notification was dropped on purpose: it would have been an NDR about an NDR, or looped." "Correct the address that could not be notified.";
    4151 OriginatorMismatch "originator-mismatch" Warning { session: Text, client: Text, account: Text, originator: Text, because: Text }
        "The originator does not match the authenticated account." "Grant send-as if the account may use the address.";
    4183 AuthFailed "authentication-failed" Warning { session: Text, client: Text, mechanism: Text, account: Text, reason: Text }
        "An AUTH attempt failed." "None, unless it repeats.";
    4192 MessageFiltered "message-filtered" Warning { session: Text, message: Maybe, sender: Text, action: Text, because: Text }
        "A message was discarded or quarantined by the policy." "posthouse queue list shows what is quarantined.";
    5000 Started "started" Info { version: Text, pid: u32, hostname: Text, listeners: Vec<String> }
        "The host is ready." "None.";
    5001 Stopping "stopping" Info { sessions: u64, deliveries: u64, limit_seconds: u64 }
        "The host stops: no new connections; active work is finished or given back." "None.";
    5002 Stopped "stopped" Info { left_in_spool: u64, gave_up: u64 }
        "The host has stopped." "None.";
    5003 PolicyActivated "policy-activated" Info { policy: Text, version: Text, digest: Text, generation: u64, by: Text }
        "A policy generation is active." "None.";
    5004 PolicyRefused "policy-refused" Error { policy: Text, digest: Text, by: Text, problems: Vec<String> }
        "A policy was not activated; the active one stays." "Correct the problems listed.";
    5005 PolicyRestored "policy-restored" Warning { policy: Text, digest: Text, reason: Text }
        "The last good generation of a policy serves, because the configured code or settings cannot be used." "Correct the configured file or settings.";
    5006 MessageAccepted "message-accepted" Info { message: Text, session: Text, client: Text, account: Maybe, sender: Text, recipients: Vec<String>, size: u64, because: Text }
        "A message is on disk and was acknowledged." "None.";
    5007 Delivered "delivered" Info { message: Text, recipients: Vec<String>, destination: Text, reply: Text, tls_version: Maybe, tls_cipher: Maybe, tls_verified: Option<bool>, tls_policy: Maybe }
        "A message was delivered or handed over." "None.";
    5008 NoticeSent "notice-sent" Info { message: Text, notice: Text, to: Text, about: Vec<String>, class: Text, because: Text }
        "A non-delivery report is on its way." "None.";
    5009 NobodyTold "nobody-told" Warning { message: Text, about: Vec<String>, class: Text, because: Text }
        "The policy decided that no one is notified of a failure." "None: the reason is quoted.";
    5010 Refused "refused" Info { session: Text, client: Text, stage: Text, subject: Text, reply: Text, because: Text }
        "A connection, sender, recipient or message was refused or deferred by the policy." "None: the rule is quoted.";
    5011 Reloaded "reloaded" Info { what: Vec<String> }
        "Configuration, directory or policies were read again." "None.";
    5012 ReloadFailed "reload-failed" Error { what: Text, problems: Vec<String> }
        "Something could not be read again or not be applied; what was in force stays in force." "Correct the problems listed and reload.";
    5013 SpaceLow "space-low" Error { free: u64, mark: u64 }
        "The disk is nearly full: new mail is answered 452, delivery goes on." "Make room.";
    5014 SpaceEnough "space-enough" Info { free: u64, mark: u64 }
        "There is room again; new mail is accepted." "None.";
    5015 SpoolRecovered "spool-recovered" Info { messages: u64, orphans_removed: u64, orphans_kept_in: Maybe, set_aside: u64 }
        "The spool was opened and every left-over of the last run put in order." "None.";
    5016 SpoolEntrySetAside "spool-entry-set-aside" Error { message: Text, error: Text }
        "One spool entry is not whole; it alone was set aside, and the rest goes on." "posthouse queue list --state set-aside; put the missing part back and release it, or delete it.";
    5017 SessionAborted "session-aborted" Info { session: Text, client: Text, reason: Text }
        "A connection ended before its time." "None.";
    5018 PolicyLog "policy-log" Info { policy: Text, level: Text, text: Text, session: Maybe, message: Maybe }
        "A line a policy logged." "None.";
    5019 PolicyUnavailable "policy-unavailable" Error { policy: Text, error: Text }
        "A policy cannot run at all; clients are answered 421 until it can." "Load a good policy.";
    5020 DirectoryProblem "directory-problem" Error { error: Text }
        "The directory could not be read; the last good one stays in force." "Correct the file.";
    5021 PolicyOverload "policy-overload" Warning { stage: Text, waited_ms: u64 }
        "No policy instance was free in time; the client was deferred." "Raise policy-engine.instances or find the slow policy.";
    5022 MessageExpired "message-expired" Warning { message: Text, recipients: Vec<String>, last_reply: Text }
        "A message could not be delivered in its time; whom the policy names is notified." "None.";
    5023 QueueChanged "queue-changed" Info { message: Text, action: Text, by: Text }
        "An operator released, retried or deleted a message." "None.";
    5024 PolicyRolledBack "policy-rolled-back" Warning { policy: Text, generation: u64, digest: Text, was: Option<u64>, to: u64, how: Text, by: Text, reason: Text }
        "A policy went back to the code and settings of an earlier generation (to)." "posthouse policy history shows what was active when, and why.";
    5028 PolicyProved "policy-proved" Info { policy: Text, generation: u64, digest: Text, calls: u64, recent_faults: u64 }
        "A policy has passed its probation." "None.";
    5029 PolicyRollbackNotKept "policy-rollback-not-kept" Error { policy: Text, generation: u64, error: Text }
        "A policy was rolled back, but that could not be made durable: a restart would bring the faulty one back." "Make room on the disk, then load the good policy.";
    5030 EventsDropped "events-dropped" Warning { count: u64 }
        "Events came faster than they could be written or followed; `count` of them were dropped, the least severe first." "Find what floods the log; see whether the disk is slow.";
    5031 AcceptFailed "accept-failed" Warning { listener: Text, error: Text }
        "A listener cannot take connections for now; it goes on trying. Logged once until it can again." "Usually too few file descriptors: raise the limit or lower limits.sessions.";
    5032 PartFailed "part-failed" Error { part: Text, error: Text }
        "A part of the host cannot go on: the spool after an error of its disk, or another by a defect. The host stops; nothing acknowledged is lost." "See whether the disk is full or failing; start the host again. Report a defect.";
    5033 ShadowStarted "shadow-started" Info { policy: Text, version: Text, digest: Text, against: u64, share: f64, until: Text, by: Text }
        "A candidate is asked what a policy is asked; its answers are compared and not applied." "posthouse policy diff shows what would change.";
    5034 ShadowEnded "shadow-ended" Info { policy: Text, digest: Text, reason: Text, compared: u64, same: u64, different: u64, faulted: u64, unrecorded: u64, dropped: u64 }
        "A shadow has ended." "posthouse policy diff shows what it found.";
    5035 ShadowFault "shadow-fault" Warning { policy: Text, digest: Text, class: Text, code: Text, function: Maybe, location: Maybe, session: Maybe, message: Maybe }
        "A candidate faulted in the shadow; no mail was touched. Emitted once for each class of faults." "Report it to the candidate's author; do not load it.";
    5036 RecordsDropped "records-dropped" Warning { count: u64, reason: Text }
        "Decisions are not being recorded; mail goes on. Emitted once until decisions are recorded again." "Make room, or record less: see the reason.";
    5037 PolicyCompiledHere "policy-compiled-here" Warning { digest: Text, reason: Text }
        "A policy had to be compiled inside the daemon, where compiling can slow the mail down." "See the reason: usually a disk without room for policies/cache, or a limit on processes.";
    5039 CountersLost "counters-lost" Warning { error: Text }
        "The counters of the policies could not be read; they begin anew." "None, unless it repeats: see to the disk.";
    5040 AddressLoop "address-loop" Warning { message: Text, address: Text, detail: Text }
        "An alias or group leads back to itself, or to too many addresses." "Correct the alias or group in the directory.";
    5041 PolicyWatchFailed "policy-watch-failed" Error { folder: Text, error: Text }
        "The folder from which policies are loaded cannot be watched; it is tried again every few seconds." "Make the folder, and let the host read it.";
    5042 PolicyWatchResumed "policy-watch-resumed" Info { folder: Text }
        "The folder from which policies are loaded is watched again." "None.";
    5045 PolicyStaged "policy-staged" Info { policy: Text, version: Text, digest: Text, generation: u64, share: Text, clients: Vec<String>, until: Text, by: Text, reason: Maybe }
        "A candidate decides for a share of the sessions or for some clients." "posthouse policy promote or cancel; the stage ends automatically.";
    5046 PolicyStageEnded "policy-stage-ended" Info { policy: Text, generation: u64, digest: Text, why: Text, by: Text }
        "A staged candidate was promoted, cancelled or replaced, its time was over (time-over), or the host was stopped (stopped)." "None.";
    5047 PolicyStageFailed "policy-stage-failed" Warning { policy: Text, generation: u64, digest: Text, faults: u64, calls: u64 }
        "A staged candidate faulted too often; the active policy decides everything again." "See the faults (4037); report them to the policy's author.";
    5049 RecordsResumed "records-resumed" Info { missed: u64 }
        "Decisions are being recorded again; `missed` records are missing." "None.";
    5053 CountersFull "counters-full" Warning { policy: Text, limit: u64 }
        "A policy keeps as many counters as it may and cannot begin another; the call returns an error. Emitted once until there is room." "Raise its counters, or have it count less or for a shorter time.";
    5054 CountersNotSaved "counters-not-saved" Warning { error: Text }
        "The counters of the policies could not be saved; it is tried again. A restart would lose what was counted since." "See to the disk.";
    5060 SessionsFull "sessions-full" Warning { limit: u64 }
        "All connection slots are taken. A session that has been idle for long enough is evicted for a new client; without one, clients are answered 421. Emitted once until that has not happened for some seconds." "Raise limits.sessions if the machine has room for more; see who holds them.";
    5061 SessionsEnough "sessions-enough" Info { refused: u64, made_way: u64 }
        "Connection slots are free again; `refused` clients were refused, `made-way` sessions were evicted." "None.";
    5064 DiskBehind "disk-behind" Warning { waited_ms: u64, waiting: u64 }
        "Accepted messages wait too long for the disk; MAIL is answered 451 until they are on it." "See to the disk: what else writes to it, or whether it is failing.";
    5065 DiskCaughtUp "disk-caught-up" Info { refused: u64 }
        "Messages reach the disk in time again; `refused` transactions were deferred." "None.";
    5066 FewDescriptors "few-descriptors" Warning { descriptors: u64, needed: u64, sessions: u64 }
        "The process may have fewer file descriptors open than limits.sessions asks for; `sessions` sessions are taken instead." "Raise the hard limit (LimitNOFILE of a systemd unit, ulimit -Hn), or lower limits.sessions.";
    5067 DestinationDown "destination-down" Warning { destination: Text, reply: Text }
        "A server cannot be reached; its messages wait, and one of them tries now and then." "Nothing, if it comes back; else see the route and the server.";
    5068 DestinationReached "destination-reached" Info { destination: Text, after_seconds: u64 }
        "A server that could not be reached takes mail again." "None.";
    5069 DestinationCrowded "destination-crowded" Info { destination: Text, connections: u64, reply: Text }
        "A server takes mail, and refuses more connections than it has; the host opens fewer from now on, and later more again. Emitted once until the configured number is reached." "None, unless it should give more; delivery.per-destination says how many are wanted.";
    5070 ConfigurationWarnings "configuration-warnings" Warning { warnings: Vec<String> }
        "The host runs with settings that are dangerous or cannot work, each with its key." "Correct each; posthouse check lists them too.";
    5071 FilesMadePrivate "files-made-private" Warning { folder: Text, count: u64, files: Text }
        "Files and folders of the host were open to other users of the machine; they are private now." "See what made them so: a package, a umask, a copy.";
    5072 FileMadeAgain "file-made-again" Warning { file: Text, reason: Text }
        "A file of the host's own could not be used and was made again." "None, unless it repeats: see to the disk.";
    5080 SpoolSalvaged "spool-salvaged" Error { damage: Vec<String>, kept: Text }
        "Parts of the spool are missing. What was there is kept below `kept`, and the host goes on with what is left of it." "Compare with a backup; posthouse spool check tells whether the rest is whole. Remove the folder when it is no longer needed.";
    5081 SpacePromised "space-promised" Warning { free: u64, promised: u64, mark: u64 }
        "Messages that are being received will take the disk down to its low-water mark; new ones are answered 452 until there is room for them. Logged once until then." "Make room, or lower limits.message-size: see who sends.";
    5082 SpoolFull "spool-full" Error { error: Text }
        "A write to the spool failed for lack of room. New mail is answered 452 and nothing is delivered; what was accepted is kept, and the host goes on automatically once there is room." "Make room on the disk.";
    5083 SpoolWritable "spool-writable" Info { }
        "The spool can be written again; mail is taken and delivered." "None.";
    5095 LoginsRefused "logins-refused" Warning { client: Maybe, account: Maybe, failures: u64, for_seconds: u64 }
        "Too many logins of a client's network, or at an account, have failed: further ones are answered 454 for a while. Addresses from which logins to the account have succeeded go on." "None for a client that guesses; else correct the password that a program of the client keeps sending.";
    5096 RefusalsSummed "refusals-summed" Info { session: Text, client: Text, count: u64, last_stage: Text, last_reply: Text }
        "A session had `count` refusals beyond the first five, which have an event each (5010)." "None: the last reply is quoted.";
    5097 OutputStalled "output-stalled" Warning { }
        "The reader of standard output does not take events; further ones are not printed until it does. The event log has all of them." "See to the program that reads the output of posthouse.";
    5098 OutputResumed "output-resumed" Info { dropped: u64 }
        "The reader of standard output takes events again; `dropped` events were not printed." "None: posthouse events shows them.";
    5105 TlsFallback "tls-fallback" Warning { host: Text, reason: Text }
        "TLS with a host that offers it failed; mail goes there in the clear, as the level `may` allows." "None, or see to the host's TLS; tls = \"encrypt\" or \"verify\" in [delivery] or a route keeps the mail instead.";
    5120 DelayNoticeSent "delay-notice-sent" Info { message: Text, notice: Text, to: Text, about: Vec<String>, until: Text }
        "A message is not delivered yet; its sender gets one notice that the host tries until `until`." "None.";
    5121 DeliveryFailed "delivery-failed" Warning { message: Text, recipients: Vec<String>, class: Text, reply: Text }
        "This host found that recipients cannot get a message; its finding is quoted." "See the reply; whom the policy names is notified.";
    5130 PolicyUntrusted "policy-untrusted" Error { policy: Text, generation: u64, digest: Text, problem: Text, instead: Text }
        "The code of a running policy has no signature that signed-by accepts any more." "Load trusted code, or posthouse reload --require-now.";
    5131 PolicyLoadReplaced "policy-load-replaced" Warning { policy: Text, generation: u64, was: u64, lost: Vec<String>, loaded_by: Text }
        "A newer configuration replaced code or settings that an operator had loaded." "Put into the configuration what shall stay, or load it again.";
    5132 PolicyChangeUndone "policy-change-undone" Error { policy: Text, generation: u64, was: u64, undone: Vec<String>, changed_by: Text }
        "An automatic rollback undid a change of an operator: the code or settings listed are no longer in force." "See the faults (4037). Correct the policy and load it, or put the change in force with --force.";
    5133 AcceptResumed "accept-resumed" Info { listener: Text }
        "A listener takes connections again (see 5031)." "None.";
    5134 SetAsideNoticeSent "set-aside-notice-sent" Info { notice: Text, to: Text, messages: u64 }
        "The administrator gets a notice about messages that were set aside (5016)." "See the notice.";
    5140 MessageCompleted "message-completed" Info { message: Text, client: Text, account: Maybe, added: Vec<String>, removed: Vec<String> }
        "A submitted message lacked fields, or had some that must not go out; the host added and removed those listed. `mbox` is a first line `From `." "None.";
    5150 SuccessNoticeSent "success-notice-sent" Info { message: Text, notice: Text, to: Text, about: Vec<String> }
        "A message was delivered, passed on to a host that sends no reports, or sent on to the members of an address; its sender, who requested that with NOTIFY=SUCCESS, gets a notice." "None.";
    5151 QueueStarted "queue-started" Info { session: Text, client: Text, node: Text, messages: u64 }
        "A client asked with ETRN for the mail that waits for a node; `messages` of it go to their next hop now." "None.";
    5152 ClientNamed "client-named" Info { session: Text, front_end: Text, client: Text }
        "A host in front of this one named the client of a session with XCLIENT; the session goes on as that of the client." "None; xclient of the listener says which hosts may do so.";
    5160 DestinationThrottled "destination-throttled" Info { destination: Text, connections: u64, reply: Text }
        "A server defers mail for its number; `connections` connections are opened from now on, and mail goes at half of its rate if it has one. Both grow again after a minute without such a reply." "None, unless it repeats: set messages-per-minute or connections of the next hop.";
    5161 DaneOff "dane-off" Warning { reason: Text }
        "The resolver does not validate: TLSA records are not looked up, and levels that ask for them go on without; dane-only keeps the mail. The resolver is probed again every 10 minutes." "Run a validating resolver on this machine, such as unbound, and name it in dns.servers.";
    5162 DaneOn "dane-on" Info { }
        "The resolver validates again, and TLSA records are looked up." "None.";
    5163 TlsPolicyUnmet "tls-policy-unmet" Warning { host: Text, policy: Text, reason: Text, enforced: bool }
        "A mail exchange does not meet what its domain publishes about TLS (DANE, MTA-STS). If `enforced` is true, it gets no mail." "None, unless it lasts: inform the domain's postmaster.";
    5164 StsPolicyFetched "sts-policy-fetched" Info { domain: Text, id: Text, mode: Text, mx: Vec<String>, max_age_seconds: u64 }
        "A domain has a new MTA-STS policy." "None.";
    5165 StsPolicyNotFetched "sts-policy-not-fetched" Warning { domain: Text, reason: Text, kept: Maybe }
        "The MTA-STS policy that a domain announces could not be fetched. The policy with the id `kept` stays in force; without one mail goes as if there were none (RFC 8461 section 5.1)." "None, unless it lasts: inform the domain's postmaster.";
    5166 TlsReportSent "tls-report-sent" Info { message: Text, domain: Text, to: Text, successes: u64, failures: u64 }
        "A report about the TLS sessions of a day goes to a domain that asks for it." "None.";
    5167 TlsReportNotSent "tls-report-not-sent" Warning { domain: Text, to: Text, error: Text }
        "A report about TLS sessions could not be put into the spool." "See to the disk.";
    5173 CertificateExpires "certificate-expires" Warning { file: Text, until: Text, days: u64 }
        "A certificate expires soon. Emitted 30 days, 7 days and 1 day before its end, once each." "Renew it, then posthouse reload.";
    5174 CertificateExpired "certificate-expired" Error { file: Text, until: Text }
        "A certificate has expired; clients and servers that verify it send no mail here." "Renew it, then posthouse reload.";
    5175 SenderRewritten "sender-rewritten" Info { session: Text, from: Text, to: Text }
        "A rule of the directory replaced the reverse-path of a transaction, before the policy saw it." "None.";
    10000 AmbiguousAddress "ambiguous-address" Warning { address: Text, entries: Vec<String> }
        "An address has several meanings in the directory." "Remove all but one.";
}

/// Renders the catalogue as Markdown, the content of `docs/reference/events.md`.
pub fn catalogue_markdown() -> String {
    let mut out = String::from(
        "# Events\n\nMade by `posthouse events --catalogue`; a test keeps the two equal. Ids below 5000 and 10000 are those\nof the system Posthouse descends from; new kinds start at 5000. An id never changes its meaning.\n\n| id | name | severity | meaning | what to do | fields |\n|---|---|---|---|---|---|\n",
    );
    for entry in catalogue() {
        let severity = format!("{:?}", entry.severity).to_lowercase();
        let fields = entry.fields.join(", ").replace('_', "-");
        out.push_str(&format!(
            "| {} | {} | {severity} | {} | {} | {fields} |\n",
            entry.id, entry.name, entry.meaning, entry.action
        ));
    }
    out
}
