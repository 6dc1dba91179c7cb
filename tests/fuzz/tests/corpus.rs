//! Runs every target over its corpus and over random mutations of the corpus.
//!
//! `POSTHOUSE_FUZZ_SECONDS` is the time for each target, 2 seconds by default. A failure prints seed and number of the
//! input and writes the input to a file; `POSTHOUSE_FUZZ_SEED` changes the seed. Should the process abort, the file
//! `TARGET.running` in the folder `target/tmp` holds seed and number, and `POSTHOUSE_FUZZ_INPUT` runs that input alone.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use posthouse_fuzz::{TARGETS, Target};

/// Maximum number of files of a corpus.
const MAX_FILES: usize = 30;
/// Maximum size of a file of a corpus, in bytes.
const MAX_SEED: usize = 4096;
/// Maximum size of a mutated input, in bytes.
const MAX_INPUT: usize = 16 * 1024;
/// Time after which an input counts as endless.
const MAX_TIME: Duration = Duration::from_secs(30);
/// Stack of a target, in bytes: that of a worker of tokio.
const STACK: usize = 2 << 20;

/// A generator of numbers: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// Returns a number below `bound`, which is above 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Returns a range of at most `longest` bytes within `length` bytes.
    fn range(&mut self, length: usize, longest: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below(longest.min(length - start) + 1)
    }
}

/// Words of a corpus: runs of letters and digits, and what stands between them.
fn words(corpus: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = corpus
        .iter()
        .flat_map(|seed| seed.chunk_by(|a, b| a.is_ascii_alphanumeric() == b.is_ascii_alphanumeric()))
        .filter(|word| (1..=40).contains(&word.len()))
        .map(<[u8]>::to_vec)
        .collect();
    words.sort();
    words.dedup();
    words
}

/// Mutates an input of the corpus, the same for the same `random`.
fn mutated(corpus: &[Vec<u8>], words: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const BYTES: &[u8] = b"\0\x01\x7f\x80\xff\r\n\t .:;,<>@\"'\\/-+=#%[]{}()09aAzZ";
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let length = input.len();
        match random.below(10) {
            0 if length > 0 => input[random.below(length)] ^= 1 << random.below(8),
            1 if length > 0 => input[random.below(length)] = BYTES[random.below(BYTES.len())],
            2 if length > 0 => input[random.below(length)] = random.next() as u8,
            3 if length > 0 => {
                let at = random.below(length);
                let step = (random.below(71) as u8).wrapping_sub(35);
                input[at] = input[at].wrapping_add(step);
            }
            4 => drop(input.drain(random.range(length, 64))),
            5 => {
                let at = random.below(length + 1);
                let byte = BYTES[random.below(BYTES.len())];
                input.splice(at..at, std::iter::repeat_n(byte, 1 + random.below(8)));
            }
            6 if !words.is_empty() => {
                let range = random.range(length, 16);
                input.splice(range, words[random.below(words.len())].iter().copied());
            }
            7 => {
                let part = input[random.range(length, 64)].to_vec();
                let at = random.below(length + 1);
                input.splice(at..at, part);
            }
            // Nesting: a part many times over.
            8 => {
                let range = random.range(length, 32);
                let part = input[range.clone()].repeat(1 << random.below(12));
                input.splice(range, part);
            }
            _ => {
                let other = &corpus[random.below(corpus.len())];
                let part = other[random.range(other.len(), other.len())].to_vec();
                let range = random.range(length, length);
                input.splice(range, part);
            }
        }
        input.truncate(MAX_INPUT);
    }
    input
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file")).collect()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}: {text:?} is not a number")),
    )
}

/// Runs the target on an input. Panics with the label and the file of the input if the target panics.
fn run((name, target): Target, input: &[u8], label: &str) -> Duration {
    let started = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| target(input)));
    let took = started.elapsed();
    if result.is_err() || took > MAX_TIME {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.failed"));
        fs::write(&file, input).expect("target/tmp");
        panic!("{name} fails after {took:?}, {label}: {}", file.display());
    }
    took
}

fn fuzz(target: Target) {
    let (name, _) = target;
    let corpus = corpus(name);
    for (index, seed) in corpus.iter().enumerate() {
        run(target, seed, &format!("file {index} of the corpus"));
    }
    let words = words(&corpus);
    let seed = number("POSTHOUSE_FUZZ_SEED").unwrap_or(1);
    let only = number("POSTHOUSE_FUZZ_INPUT");
    let time = Duration::from_secs(number("POSTHOUSE_FUZZ_SECONDS").unwrap_or(2));
    let running = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.running"));
    let file = File::create(&running).expect("target/tmp");
    let started = Instant::now();
    let mut slowest = (Duration::ZERO, 0);
    let first = only.unwrap_or(0);
    let mut input = first;
    while started.elapsed() < time {
        let label = format!("seed {seed}, input {input:<20}");
        file.write_all_at(label.as_bytes(), 0).expect("target/tmp");
        let mut random = Random(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ input.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let took = run(target, &mutated(&corpus, &words, &mut random), &label);
        slowest = slowest.max((took, input));
        input += 1;
        if only.is_some() {
            break;
        }
    }
    fs::remove_file(&running).expect("target/tmp");
    let (took, at) = slowest;
    println!(
        "{name}: {} inputs in {:?}, the slowest, {at}, in {took:?}",
        input - first,
        started.elapsed()
    );
}

fn fuzz_named(name: &str) {
    let target = *TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let thread = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || fuzz(target));
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn every_corpus_is_small_and_belongs_to_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in fs::read_dir(folder).expect("the corpus") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "{name} is no target");
        let corpus = corpus(&name);
        assert!(
            (1..=MAX_FILES).contains(&corpus.len()),
            "{name}: {} files",
            corpus.len()
        );
        assert!(
            corpus.iter().all(|seed| seed.len() <= MAX_SEED),
            "{name}: a file is too large"
        );
    }
}

/// A change of a format must change the corpus, too: a target that skips every seed tests nothing.
#[test]
fn seeds_of_records_and_control_bodies_are_read() {
    for seed in corpus("record") {
        let read = serde_json::from_slice::<host_policy::Record>(&seed);
        assert!(read.is_ok(), "{read:?}: {}", String::from_utf8_lossy(&seed));
    }
    for seed in corpus("control") {
        let bodies = posthouse_fuzz::control::check_bodies(&seed);
        assert!(bodies > 0, "{}", String::from_utf8_lossy(&seed));
    }
}

/// Defines a test for each target.
macro_rules! survives {
    ($($name:ident)*) => {
        mod survives_hostile_input {
            $(#[test]
            fn $name() {
                super::fuzz_named(stringify!($name));
            })*
        }

        #[test]
        fn every_target_has_a_test() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|(name, _)| name), tested);
        }
    };
}

survives!(address command component config control data_reader debug_info directory header proxy_header record reply);
