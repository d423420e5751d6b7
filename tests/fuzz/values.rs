//! The small texts of a config: lengths, hosts, addresses, cron patterns.

use jiff::{Timestamp, tz::TimeZone};
use watchbell::{
    config::{cron, values},
    domain::{CheckId, ServiceId, subscriber::Address},
    schedule,
};

use super::{dice::Dice, harness::Target, html};

const SMALL: &[&str] = &[
    "0",
    "1",
    "9",
    "60",
    "300",
    "18446744073709551615",
    "99999999999",
    "ms",
    "s",
    "m",
    "h",
    "d",
    "w",
    " ",
    "KiB",
    "MiB",
    "GB",
    "/",
    "/s",
    "/m",
    ":",
    "::",
    "::1",
    "[",
    "]",
    "[::1]:80",
    "127.0.0.1",
    "0.0.0.0",
    "255.255.255.256",
    "10.0.0.0/8",
    "a",
    "b.example",
    "example.org",
    ".",
    "..",
    "-",
    "--",
    "xn--",
    "xn--a",
    "ü",
    "İ",
    "ß",
    "\u{3002}",
    "@",
    "ann",
    "+tag",
    "\"",
    "<",
    ">",
    "Ann <ann@example.org>",
    "https://",
    "http:",
    "mailto:",
    "2xx",
    "200-299",
    "200",
    "xx",
    "Europe/Berlin",
    "UTC",
    "../",
    "en",
    "de-AT",
    "#",
    "ff0000",
    "smtp://",
    "%",
    "%2e",
    "\\",
];

/// The small texts of a config are read or refused with words that are fit to be shown; what is
/// written as it is read is read again.
pub fn values() {
    let make = |dice: &mut Dice| dice.pieces(SMALL, 8).into_bytes();
    let large = vec!["1".repeat(100_000).into(), "a.".repeat(50_000).into(), "1d".repeat(50_000).into()];
    Target { words: SMALL, large, ..Target::new("values", 3000) }.run(make, |input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(duration) = values::duration(&text) {
            assert!(duration.as_secs() <= 3660 * 86_400);
            assert_eq!(values::duration(&values::shown(duration)), Ok(duration));
        }
        if let Ok(host) = values::host(&text) {
            assert_eq!(values::host(&host).as_ref(), Ok(&host));
            assert!(host.is_ascii() && !host.contains(|c: char| c.is_control() || " /@?#".contains(c)), "{host:?}");
        }
        if let Ok((host, port)) = values::host_port(&text) {
            let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            assert_eq!(values::host_port(&shown), Ok((host, port)));
        }
        if let Ok(rate) = values::rate(&text) {
            assert!(rate.is_finite() && rate > 0.0);
        }
        if let Ok((first, last)) = values::statuses(&text) {
            assert!(100 <= first && first <= last && last <= 599);
        }
        if let Ok((name, address)) = values::mailbox(&text) {
            html::is_clean(&name);
            is_an_address(&address);
        }
        if let Ok(socket) = values::socket(&text) {
            assert_eq!(values::socket(&socket.to_string()), Ok(socket));
        }
        if let Ok(network) = values::network(&text) {
            assert_eq!(values::network(&network.to_string()), Ok(network));
        }
        if let Ok(url) = values::url(&text, &["mailto", "http", "https"]) {
            assert_eq!(values::url(url.as_str(), &["mailto", "http", "https"]).as_ref(), Ok(&url));
        }
        if let Ok(tag) = values::language(&text) {
            assert!(tag.is_ascii() && tag.len() < 200_000);
        }
        let _ = values::size(&text);
        // Finding the nearest of some hundred names takes a while.
        if input.len() % 32 == 0 {
            let _ = values::zone(&text);
        }
        for id in [ServiceId::new(&text).map(|id| id.to_string()), CheckId::new(&text).map(|id| id.to_string())] {
            assert!(id.is_err() || id == Ok(text.to_string()));
        }
    });
}

fn is_an_address(address: &Address) {
    let text = address.as_str();
    assert!(text.is_ascii() && text.len() <= 254 && text.matches('@').count() == 1, "{text}");
    assert!(!text.contains(|c: char| c.is_control() || c.is_whitespace() || "<>,;:\"()[]\\".contains(c)), "{text}");
    assert_eq!(Address::parse(text).as_ref(), Ok(address));
    assert_eq!(format!("{address:?}"), "Address(***)");
    // Whoever composes a message must be able to take it.
    let taken: Result<lettre::Address, _> = text.parse();
    assert_eq!(taken.map(|taken| taken.to_string()).ok().as_deref(), Some(text));
}

/// Addresses that are taken can stand in a header and in a command, and mean nothing else there.
pub fn address() {
    let make = |dice: &mut Dice| {
        if dice.one_in(2) {
            format!("{}@{}.org", dice.pieces(SMALL, 3), dice.pieces(SMALL, 4)).into_bytes()
        } else {
            dice.pieces(SMALL, 8).into()
        }
    };
    Target { words: SMALL, ..Target::new("address", 4000) }.run(make, |input| {
        if let Ok(address) = Address::parse(&String::from_utf8_lossy(input)) {
            is_an_address(&address);
        }
    });
}

const CRON: &[&str] = &[
    "*",
    " ",
    "*/5",
    "*/0",
    "0",
    "1",
    "29",
    "30",
    "31",
    "59",
    "60",
    "7",
    "255",
    "-",
    "1-5",
    "5-1",
    "/",
    "/2",
    ",",
    "mon",
    "sun",
    "fri-mon",
    "feb",
    "jan",
    "?",
    "L",
    "W",
    "#",
    "@daily",
    "@hourly",
    "@yearly",
    "@reboot",
    "0 2 * * *",
    "*/5 * * * *",
    "30 2 * * *",
    "0 0 29 2 *",
    "0 0 31 4 *",
    "\t",
];

/// A cron pattern is refused at a place within it, or fires: after the time asked for, at a time
/// that it names, and at none that it names in between.
pub fn cron() {
    let make = |dice: &mut Dice| {
        let fields = if dice.one_in(8) { dice.below(8) } else { 5 + dice.below(2) };
        let all: Vec<String> = (0..fields)
            .map(|_| {
                (if dice.one_in(3) {
                    dice.pick(CRON)
                } else {
                    dice.pick(&["*", "*", "*/5", "0", "1", "7", "1-5", "2/3", "1,4"])
                })
                .to_owned()
                    + if dice.one_in(12) { dice.pick(CRON) } else { "" }
            })
            .collect();
        all.join(" ").into_bytes()
    };
    let zones = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"];
    Target { words: CRON, ..Target::new("cron", 1500) }.run(make, |input| {
        let text = String::from_utf8_lossy(input);
        let parsed = match cron::Cron::parse(&text) {
            Ok(parsed) => parsed,
            Err(error) => {
                assert!(!error.message.is_empty() && text.get(error.span.clone()).is_some(), "{error:?}");
                return;
            }
        };
        let zone = zones[input.len() % zones.len()];
        let cron = schedule::cron::Cron::new(&parsed.patterns, zone).expect("what is read can be used");
        let start = 1_772_000_000 + input.iter().map(|byte| i64::from(*byte)).sum::<i64>() * 86_400;
        let mut at = Timestamp::from_second(start).unwrap();
        for _ in 0..4 {
            let Some(next) = cron.next_after(at) else {
                assert!(at.as_second() > start, "a pattern that never fires: {text}");
                return;
            };
            assert!(next > at && next.subsec_nanosecond() == 0, "{next} after {at}: {text}");
            if zone == "UTC" {
                assert!(names(&parsed.patterns, next), "{text} fires at {next}");
                let before = (at.as_second() + 1..next.as_second()).step_by(1).take(20_000);
                for second in before {
                    assert!(
                        !names(&parsed.patterns, Timestamp::from_second(second).unwrap()),
                        "{text} misses {second}"
                    );
                }
            }
            at = next;
        }
    });
}

/// Whether one of `patterns` (six lists of numbers or stars, as the config makes them) names `at`.
fn names(patterns: &[String], at: Timestamp) -> bool {
    let civil = TimeZone::UTC.to_datetime(at);
    let weekday = civil.weekday().to_sunday_zero_offset() + 1;
    let now = [civil.second(), civil.minute(), civil.hour(), civil.day(), civil.month(), weekday];
    patterns.iter().any(|pattern| {
        let mut fields = pattern.split(' ').zip(now);
        fields.all(|(field, now)| field.split(',').any(|part| part == "*" || part.parse() == Ok(now)))
    })
}
