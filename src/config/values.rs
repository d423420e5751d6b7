//! Small texts with a form of their own: durations, sizes, rates, targets, addresses.
//!
//! Each function takes the text between the quotes and gives the value, or what is wrong with it
//! and what to write instead. Where in the file the text stood is not known here.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use jiff::tz::TimeZone;
use url::{Host, Url};

use super::reading::hint;
use crate::domain::subscriber::Address;

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub hint: String,
}

impl Wrong {
    /// Both as given.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// Units of time, longest first, in milliseconds.
const UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads `300ms`, `30s`, `5m`, `24h`, `90d` and sums such as `1h30m`, longest unit first.
///
/// # Errors
/// For anything else, and for more than ten years.
pub fn duration(text: &str) -> Result<Duration, Wrong> {
    const EXAMPLES: &str = "write a number and a unit: `300ms`, `30s`, `5m`, `24h`, `90d`, `1h30m`";
    let no_duration = |hint: String| Wrong::new(format!("`{text}` is not a duration"), hint);
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(no_duration(EXAMPLES.to_owned()));
    }
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let Ok(number) = number.parse::<u64>() else { return Err(no_duration(EXAMPLES.to_owned())) };
        let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let hint = match unit.to_ascii_lowercase().as_str() {
                "" if after.is_empty() => format!("add a unit: `{number}s` or `{number}m`"),
                "msec" | "millis" | "milliseconds" => format!("write `{number}ms`"),
                "s" | "sec" | "secs" | "second" | "seconds" => format!("write `{number}s`"),
                "m" | "min" | "mins" | "minute" | "minutes" => format!("write `{number}m`"),
                "h" | "hr" | "hrs" | "hour" | "hours" => format!("write `{number}h`"),
                "d" | "day" | "days" => format!("write `{number}d`"),
                "w" | "week" | "weeks" => format!("write `{}d`", number.saturating_mul(7)),
                _ => EXAMPLES.to_owned(),
            };
            return Err(no_duration(hint));
        };
        if *millis >= smallest {
            return Err(no_duration("write each unit once, the longest first: `1h30m`".to_owned()));
        }
        smallest = *millis;
        total = total.saturating_add(number.saturating_mul(*millis));
        rest = after.trim_start();
    }
    if total > 3660 * 86_400_000 {
        return Err(Wrong::new(format!("`{text}` is longer than ten years"), ""));
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration as [`duration`] reads it; parts of a millisecond are dropped.
#[must_use]
pub fn shown(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in UNITS {
        if rest >= *millis {
            let _ = write!(text, "{}{unit}", rest / millis);
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads a number of bytes: `512`, `64KiB`, `1MiB`, `10MB`.
///
/// # Errors
/// For anything else.
pub fn size(text: &str) -> Result<u64, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not a size"), "write a number and a unit: `64KiB`, `1MiB`");
    let trimmed = text.trim();
    let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = trimmed.split_at(digits);
    let scale: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).ok_or_else(wrong)
}

/// Reads how often a second: `50/s`, `600/m`, `1000/h`.
///
/// # Errors
/// For anything else, and for zero.
pub fn rate(text: &str) -> Result<f64, Wrong> {
    let wrong =
        || Wrong::new(format!("`{text}` is not a rate"), "write how many in what time: `50/s`, `600/m`, `1000/h`");
    let (number, unit) = text.trim().split_once('/').ok_or_else(wrong)?;
    let number: u32 = number.trim().parse().map_err(|_| wrong())?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    if number == 0 {
        return Err(Wrong::new("a rate of zero would let nothing through", "leave the key out for no limit"));
    }
    Ok(f64::from(number) / seconds)
}

/// Reads a name or address of a host; a name comes out in its ASCII form, an IPv6 address bare.
///
/// # Errors
/// If it is neither.
pub fn host(text: &str) -> Result<String, Wrong> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    match Host::parse(text.trim()) {
        Ok(Host::Domain(name)) if name.len() <= 253 => Ok(name),
        Ok(Host::Ipv4(address)) => Ok(address.to_string()),
        _ => Err(Wrong::new(
            format!("`{text}` is neither a host name nor an address"),
            "write `db.example.org` or `192.0.2.1`",
        )),
    }
}

/// Reads `host:port`; an IPv6 address stands in brackets.
///
/// # Errors
/// If either part is missing or unusable.
pub fn host_port(text: &str) -> Result<(String, u16), Wrong> {
    let example = "write `db.example.org:5432`, or `[2001:db8::1]:5432`";
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.trim_end_matches('/');
        return Err(Wrong::new(format!("a target here has no `{scheme}://`"), format!("write `{rest}`")));
    }
    let (name, port) = match text.trim().rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || (name.starts_with('[') && name.ends_with(']')) => (name, port),
        Some(_) => return Err(Wrong::new(format!("`{text}` is not `host:port`"), example)),
        None => return Err(Wrong::new(format!("`{text}` has no port"), example)),
    };
    match port.parse::<u16>() {
        Ok(port @ 1..) => Ok((host(name)?, port)),
        _ => Err(Wrong::new(format!("`{port}` is not a port"), "write a number from 1 to 65535")),
    }
}

/// Reads an address to listen on.
///
/// # Errors
/// If it is not `address:port`; names are refused, since what they mean may change.
pub fn socket(text: &str) -> Result<SocketAddr, Wrong> {
    text.trim().parse().map_err(|_| {
        let hint = match text.trim().rsplit_once(':') {
            Some(("", port)) => format!("write `127.0.0.1:{port}`, or `0.0.0.0:{port}` for every interface"),
            Some(("localhost", port)) => format!("write `127.0.0.1:{port}`"),
            _ => "write an address and a port: `127.0.0.1:8080`".to_owned(),
        };
        Wrong::new(format!("`{text}` is not an address to listen on"), hint)
    })
}

/// Reads a network such as `10.0.0.0/8`, or one address.
///
/// # Errors
/// If it is neither.
pub fn network(text: &str) -> Result<IpNet, Wrong> {
    let trimmed = text.trim();
    let one = trimmed.parse::<IpAddr>().map(IpNet::from);
    one.or_else(|_| trimmed.parse::<IpNet>())
        .map_err(|_| Wrong::new(format!("`{text}` is not a network"), "write `10.0.0.0/8` or one address"))
}

/// Reads an e-mail address.
///
/// # Errors
/// If no usual mail server would take it.
pub fn address(text: &str) -> Result<Address, Wrong> {
    Address::parse(text).map_err(|error| Wrong::new(format!("this is not an e-mail address: {error}"), ""))
}

/// Reads `Name <name@example.org>` or a bare address.
///
/// # Errors
/// If there is no usable address in it.
pub fn mailbox(text: &str) -> Result<(String, Address), Wrong> {
    let text = text.trim();
    let Some((name, rest)) = text.split_once('<') else { return Ok((String::new(), address(text)?)) };
    let inner = rest.strip_suffix('>').ok_or_else(|| {
        Wrong::new(format!("`{text}` is not a sender"), "write `Example Status <status@example.org>`")
    })?;
    Ok((crate::untrusted::line(name.trim().trim_matches('"'), 200), address(inner)?))
}

/// Reads HTTP status codes: `2xx`, `200-299`, `301`. Ends are included.
///
/// # Errors
/// For anything else.
pub fn statuses(text: &str) -> Result<(u16, u16), Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is no HTTP status"), "write `200`, `\"2xx\"` or `\"200-299\"`");
    let code = |text: &str| text.trim().parse::<u16>().ok().filter(|code| (100..=599).contains(code));
    if let Some(digit) = text.strip_suffix("xx") {
        let first = digit.parse::<u16>().ok().filter(|digit| (1..=5).contains(digit)).ok_or_else(wrong)? * 100;
        return Ok((first, first + 99));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (code(first), code(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(wrong()),
    }
}

/// Reads an IANA time zone; gives it with its proper name.
///
/// # Errors
/// If there is no such zone.
pub fn zone(text: &str) -> Result<(TimeZone, String), Wrong> {
    let wrong = || {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let hint = match hint::nearest(text, names.iter().map(String::as_str)) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "write a name such as `Europe/Berlin` or `UTC`".to_owned(),
        };
        Wrong::new(format!("there is no time zone `{text}`"), hint)
    };
    let zone = TimeZone::get(text).map_err(|_| wrong())?;
    let name = zone.iana_name().ok_or_else(wrong)?.to_owned();
    Ok((zone, name))
}

/// Reads an absolute URL with one of `schemes`. Messages do not repeat it, since it may hold a
/// password.
///
/// # Errors
/// If it is none.
pub fn url(text: &str, schemes: &[&str]) -> Result<Url, Wrong> {
    let example = match schemes {
        ["mailto", ..] => "write `mailto:help@example.org` or `https://example.org/`".to_owned(),
        [.., last] => format!("write it whole: `{last}://example.org/`"),
        [] => String::new(),
    };
    let url = Url::parse(text.trim()).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => Wrong::new("this is not an absolute URL", &example),
        other => Wrong::new(format!("this is not a URL: {other}"), &example),
    })?;
    if !schemes.contains(&url.scheme()) {
        return Err(Wrong::new(format!("a URL with `{}:` will not do here", url.scheme()), example));
    }
    Ok(url)
}

/// Reads a language tag (BCP 47), such as `en` or `pt-BR`.
///
/// # Errors
/// If it does not look like one.
pub fn language(text: &str) -> Result<String, Wrong> {
    let mut parts = text.split('-');
    let fits = |part: &str, min: usize, max: usize| {
        (min..=max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let first = parts.next().is_some_and(|part| fits(part, 2, 3) && part.bytes().all(|b| b.is_ascii_lowercase()));
    if first && parts.all(|part| fits(part, 1, 8)) {
        Ok(text.to_owned())
    } else {
        Err(Wrong::new(format!("`{text}` is not a language tag"), "write `en`, `de` or `pt-BR`"))
    }
}

/// Reads a colour: `#rrggbb`, or `#rgb` for short.
///
/// # Errors
/// For anything else.
pub fn colour(text: &str) -> Result<String, Wrong> {
    let digits = text.strip_prefix('#').filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    match digits.map(|digits| (digits.len(), digits.to_ascii_lowercase())) {
        Some((6, digits)) => Ok(format!("#{digits}")),
        Some((3, digits)) => Ok(digits.chars().fold("#".to_owned(), |all, digit| format!("{all}{digit}{digit}"))),
        _ => Err(Wrong::new(format!("`{text}` is not a colour"), "write `#2563eb`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> u128 {
        duration(text).unwrap().as_millis()
    }

    #[test]
    fn durations_have_a_unit_and_add_up() {
        assert_eq!(millis("300ms"), 300);
        assert_eq!(millis("30s"), 30_000);
        assert_eq!(millis("5m"), 300_000);
        assert_eq!(millis("24h"), 86_400_000);
        assert_eq!(millis("90d"), 7_776_000_000);
        assert_eq!(millis("1h30m"), 5_400_000);
        assert_eq!(millis("1h 30m"), 5_400_000);
        assert_eq!(millis("0s"), 0);
        for bad in ["", "30", "-5s", "1.5h", "30x", "30m1h", "1s1s", "s", "99999999999999999999s", "4000d", "5 m"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("30").unwrap_err().hint, "add a unit: `30s` or `30m`");
        assert_eq!(duration("2 weeks").unwrap_err().message, "`2 weeks` is not a duration");
        assert_eq!(duration("2weeks").unwrap_err().hint, "write `14d`");
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["300ms", "30s", "5m", "1d", "1h30m", "0s", "1m500ms"] {
            assert_eq!(shown(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_and_rates_are_numbers_with_units() {
        assert_eq!(size("1MiB"), Ok(1_048_576));
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("10 kB"), Ok(10_000));
        assert!(size("1 GB per day").is_err() && size("MiB").is_err() && size("99999999999GiB").is_err());
        assert_eq!(rate("50/s"), Ok(50.0));
        assert_eq!(rate("600/m"), Ok(10.0));
        assert!(rate("50").is_err() && rate("0/s").is_err() && rate("-1/s").is_err() && rate("5/year").is_err());
    }

    #[test]
    fn targets_need_a_host_and_a_port() {
        assert_eq!(host_port("db.internal:5432"), Ok(("db.internal".to_owned(), 5432)));
        assert_eq!(host_port("[2001:DB8::1]:53"), Ok(("2001:db8::1".to_owned(), 53)));
        assert_eq!(host_port("bücher.example:80"), Ok(("xn--bcher-kva.example".to_owned(), 80)));
        assert_eq!(host_port("tcp://db:1/").unwrap_err().hint, "write `db:1`");
        for bad in ["db", "db:", ":80", "db:0", "db:65536", "2001:db8::1:80", "a b:80", "a/b:80", ""] {
            assert!(host_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_to_listen_on_are_numbers() {
        assert!(socket("[::1]:8080").is_ok());
        assert!(socket(":8080").unwrap_err().hint.contains("`0.0.0.0:8080`"));
        assert!(socket("localhost:80").unwrap_err().hint.contains("`127.0.0.1:80`"));
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert!(network("10.0.0.0/33").is_err());
    }

    #[test]
    fn a_sender_is_a_name_and_an_address() {
        let (name, address) = mailbox("\"Example Status\" <status@example.org>").unwrap();
        assert_eq!((name.as_str(), address.as_str()), ("Example Status", "status@example.org"));
        assert_eq!(mailbox("status@example.org").unwrap().0, "");
        assert!(mailbox("Status <status@example.org").is_err() && mailbox("Status").is_err());
    }

    #[test]
    fn statuses_are_codes_classes_or_ranges() {
        assert_eq!(statuses("2xx"), Ok((200, 299)));
        assert_eq!(statuses("200-204"), Ok((200, 204)));
        assert_eq!(statuses("418"), Ok((418, 418)));
        for bad in ["6xx", "xx", "99", "600", "300-200", "ok", "2xx-3xx"] {
            assert!(statuses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn zones_are_found_by_name_and_guessed_when_misspelt() {
        assert_eq!(zone("europe/berlin").unwrap().1, "Europe/Berlin");
        assert_eq!(zone("Europe/Berln").unwrap_err().hint, "did you mean `Europe/Berlin`?");
        assert!(zone("CEST").is_err());
    }

    #[test]
    fn languages_and_colours_are_checked_by_form() {
        assert!(language("pt-BR").is_ok() && language("zh-Hant-TW").is_ok());
        assert!(language("English").is_err() && language("EN").is_err() && language("").is_err());
        assert_eq!(colour("#25F"), Ok("#2255ff".to_owned()));
        assert!(colour("blue").is_err() && colour("#12345").is_err());
    }
}
