//! The default policy's reading of originator fields against readers of mail of other projects. An account that may use
//! its own addresses only must not reach a reader as another author, and each form that all readers read alike passes.

use posthouse_tests::{Authors, Client, MailReaders, Site};

/// Addresses of the account `anna`.
const HERS: [&str; 2] = ["anna@posthouse.test", "anna@posthouse.example"];

/// Forms in use; `%` stands for an address of the account.
const ADDRESSES: [&str; 23] = [
    "%",
    "<%>",
    "Anna <%>",
    "Anna<%>",
    "Anna Smith <%>",
    "A. N. Smith <%>",
    "O'Hara-Smith <%>",
    "\"Anna\" <%>",
    "\"Smith, Anna\" <%>",
    "\"Anna \\\"Ann\\\" Smith\" <%>",
    "\"bert@posthouse.test\" <%>",
    "\"Bert <bert@posthouse.test>\" <%>",
    "'Anna' <%>",
    "% (Anna)",
    "% (Smith, Anna)",
    "Anna (bert@posthouse.test) <%>",
    "Anna (at work) <%> (really)",
    "\"anna\"@posthouse.test",
    "=?utf-8?Q?J=C3=B6rg?= <%>",
    "=?UTF-8?B?SsO2cmc=?= Smith <%>",
    "=?iso-8859-1?Q?Smith=2C_J=F6rg?= <%>",
    "=?iso-2022-jp?B?GyRCRURDZhsoQg==?= <%>",
    "Jörg <%>",
];

/// Messages of the forms in use: alone, folded, in lists and groups, beside other fields.
fn forms_in_use() -> Vec<String> {
    let mut headers = Vec::new();
    for form in ADDRESSES {
        let form = form.replace('%', HERS[0]);
        headers.push(format!("From: {form}\r\n"));
        headers.push(format!("FROM:{form}\r\nSubject: x\r\n y\r\n"));
        headers.push(format!("Received: from x\r\n by y\r\nFrom:\r\n {form}\r\n"));
        headers.push(format!("From: {}\r\n", form.replacen(' ', "\r\n\t", 1)));
        headers.push(format!("From: {form},\r\n Sales <anna@posthouse.example>\r\n"));
        headers.push(format!("From: anna@posthouse.example, {form}\r\nTo: x@example.org\r\n"));
        headers.push(format!("From: {form},\r\n"));
        headers.push(format!("From: Team: {form};\r\n"));
        headers.push(format!("From: Bert <bert@posthouse.test>\r\nSender: {form}\r\n"));
        headers.push(format!(
            "Sender: {form}\r\nFrom: bert@posthouse.test, x@example.org\r\n"
        ));
    }
    headers.push("From: \"Our Team\": anna@posthouse.test, Anna <anna@posthouse.example>;\r\n".to_owned());
    headers.push("From: anna@posthouse.test <anna@posthouse.test>\r\n".to_owned());
    headers.push("From: anna@posthouse.test\r\nX: y\r\nno field\r\n".to_owned());
    headers.push("X: y\r\n \r\nFrom: anna@posthouse.test\r\n".to_owned());
    headers
}

/// Headers that some reader of mail shows with another author.
const FORGED: [&str; 17] = [
    "From: Bert <bert@posthouse.test>\r\n",
    "From: Bert <bert@posthouse.test>:anna@posthouse.test;\r\n",
    "From: =?utf-8?q?Bert <bert@posthouse.test>, Anna?= <anna@posthouse.test>\r\n",
    "X\r\n \r\nFrom: Bert <bert@posthouse.test>\r\n",
    "Send er: anna@posthouse.test\r\nFrom: Bert <bert@posthouse.test>\r\n",
    "From: bert@posthouse.test <anna@posthouse.test>\r\n",
    "From: anna@posthouse.test\r\nFrom: bert@posthouse.test\r\n",
    "From: anna@posthouse.test\r\nFrom : bert@posthouse.test\r\n",
    "From: bert@posthouse.test\r\nX: y\r\n \r\nSender: anna@posthouse.test\r\n",
    "From: <@posthouse.test:bert@posthouse.test>\r\n",
    "From: \"bert@posthouse.test x\"@posthouse.test\r\n",
    "From: =?utf-8?q?bert=40posthouse.test?= <anna@posthouse.test>\r\n",
    "From: =?utf-8?q?bert=40posthouse.test=00?=@posthouse.test\r\n",
    "From: anna@posthouse.test (Bert <bert@posthouse.test>)\r\n",
    "From: (a (b) bert@posthouse.test) <anna@posthouse.test>\r\n",
    "From: (a \\) bert@posthouse.test) <anna@posthouse.test>\r\n",
    "From: anna@posthouse.test\r\nSender: anna@posthouse.test\r\nSender: bert@posthouse.test\r\n",
];

/// Pieces of which random fields are made.
const PIECES: [&str; 26] = [
    "anna@posthouse.test",
    "<anna@posthouse.test>",
    "bert@posthouse.test",
    "<bert@posthouse.test>",
    "Anna",
    "=?utf-8?q?",
    "?=",
    "=40",
    " ",
    "\r\n ",
    "\"",
    "\\",
    "(",
    ")",
    "<",
    ">",
    "@",
    ",",
    ";",
    ":",
    ".",
    "[",
    "]",
    "'",
    "ö",
    "\r\nSender: ",
];

/// A generator of numbers with a fixed seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}

/// Random fields: sequences of pieces, and forms in use with a piece put in, taken out or in place of a character.
fn random_headers(count: usize) -> Vec<String> {
    let mut random = Random(0x5EED_0F5E_ED0F_5EED);
    let forms: Vec<String> = forms_in_use();
    let mut headers = Vec::new();
    while headers.len() < count {
        if headers.len() % 3 == 0 {
            let pieces: String = (0..1 + random.below(7))
                .map(|_| PIECES[random.below(PIECES.len())])
                .collect();
            headers.push(format!("From: {pieces}\r\n"));
            continue;
        }
        let mut header = forms[random.below(forms.len())].clone();
        for _ in 0..1 + random.below(2) {
            let at = 5 + random.below(header.len() - 6);
            let Some(rest) = header.get(at..) else { continue };
            let length = rest.chars().next().map_or(0, char::len_utf8);
            let end = at + if random.below(2) == 0 { 0 } else { length };
            header.replace_range(at..end, PIECES[random.below(PIECES.len())]);
        }
        headers.push(header);
    }
    // Line ends that are none are refused before any policy; a field must begin each line.
    headers.retain(|header| !header.replace("\r\n", "").contains(['\r', '\n']) && header.ends_with("\r\n"));
    headers
}

fn message(header: &str) -> String {
    format!("{header}\r\nText\r\n")
}

fn site() -> Site {
    let site = Site::new();
    site.add_domain("posthouse.example", &["anna@posthouse.example"]);
    site
}

/// Submits a message and returns the reply to the final dot.
fn submit(client: &mut Client, header: &str) -> (u16, String) {
    client.command("MAIL FROM:<anna@posthouse.test> BODY=8BITMIME SMTPUTF8", 250);
    client.command("RCPT TO:<bert@posthouse.test>", 250);
    let reply = client.data(&message(header));
    (reply.code, reply.line().to_owned())
}

/// True if every reader shows addresses of the account, and nothing else.
fn all_hers(authors: &Authors) -> bool {
    let hers = |found: &Vec<String>| !found.is_empty() && found.iter().all(|address| HERS.contains(&address.as_str()));
    authors.values().all(hers)
}

/// Returns an address that a reader shows and that is not the account's.
fn other(authors: &Authors) -> Option<(&String, &String)> {
    let all = authors
        .iter()
        .flat_map(|(reader, found)| found.iter().map(move |address| (reader, address)));
    all.into_iter()
        .find(|(_, address)| address.contains('@') && !HERS.contains(&address.as_str()))
}

#[test]
fn forms_in_use_are_accepted() {
    let Some(readers) = MailReaders::find() else { return };
    let headers = forms_in_use();
    let messages: Vec<Vec<u8>> = headers.iter().map(|header| message(header).into_bytes()).collect();
    let site = site();
    let daemon = site.start();
    let mut client = daemon.connect_as_anna();
    let mut alike = 0;
    for (header, authors) in headers.iter().zip(readers.authors(&messages)) {
        let (code, line) = submit(&mut client, header);
        if all_hers(&authors) {
            assert_eq!(code, 250, "{header:?}: {line}; {authors:?}");
            alike += 1;
        }
        assert!(code == 554 || other(&authors).is_none(), "{header:?}: {authors:?}");
    }
    assert!(
        alike * 10 > headers.len() * 9,
        "only {alike} of {} are read alike",
        headers.len()
    );
}

#[test]
fn forged_originators_are_refused_with_the_reason() {
    let site = site();
    let daemon = site.start();
    for header in FORGED {
        let (code, line) = submit(&mut daemon.connect_as_anna(), header);
        let is_clear = line.contains(" field ") || line.contains("does not match authentication credentials");
        assert!(code == 554 && is_clear, "{header:?}: {code} {line}");
        daemon.events().take(4151);
    }
    // The account's own form, and a comparison that only reads the text, are no forgeries.
    for header in [
        "From: \"anna\"@posthouse.test\r\n",
        "From: anna@posthouse.test <anna@posthouse.test>\r\n",
    ] {
        assert_eq!(submit(&mut daemon.connect_as_anna(), header).0, 250, "{header:?}");
    }
}

#[test]
fn accepted_random_headers_show_no_other_author() {
    let Some(readers) = MailReaders::find() else { return };
    let count = std::env::var("POSTHOUSE_HEADERS")
        .ok()
        .and_then(|count| count.parse().ok());
    let headers = random_headers(count.unwrap_or(1500));
    let messages: Vec<Vec<u8>> = headers.iter().map(|header| message(header).into_bytes()).collect();
    let site = site();
    let daemon = site.start();
    let (mut accepted, mut refused_though_alike) = (0, Vec::new());
    let mut client = daemon.connect_as_anna();
    for (at, (header, authors)) in headers.iter().zip(readers.authors(&messages)).enumerate() {
        // Replies to refused messages are delayed from the sixth on.
        if at % 5 == 0 {
            client = daemon.connect_as_anna();
        }
        let (code, line) = submit(&mut client, header);
        match code {
            250 => {
                accepted += 1;
                assert_eq!(other(&authors), None, "accepted: {header:?}: {authors:?}");
            }
            554 if all_hers(&authors) => refused_though_alike.push((header, line)),
            554 => {}
            _ => panic!("{header:?}: {code} {line}"),
        }
    }
    assert!(accepted > 100, "only {accepted} of {} were accepted", headers.len());
    println!(
        "{accepted} accepted, {} refused though read alike: {refused_though_alike:#?}",
        refused_though_alike.len()
    );
}
