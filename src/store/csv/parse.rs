//! What a CSV file says of subscribers: our own columns, a bare list of addresses, and the exports
//! of Cachet and Statuspage. Pure; finds all that is wrong with a file at once.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::LineError;
use crate::{
    domain::{
        GroupId, Impact, ServiceId,
        service::Rules,
        subscriber::{BadDestination, Destination, SubscriberState},
    },
    untrusted,
};

/// What a file says of one subscriber; `None`: nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where to write.
    pub address: Destination,
    /// These services.
    pub services: Option<Vec<ServiceId>>,
    /// These groups.
    pub groups: Option<Vec<GroupId>>,
    /// Incidents, and planned work.
    pub kinds: Option<(bool, bool)>,
    /// Nothing of less impact.
    pub min_impact: Option<Impact>,
    /// Language of the mails.
    pub language: Option<String>,
    /// Zone of the times in them.
    pub timezone: Option<String>,
    /// Whether they are written to.
    pub state: Option<SubscriberState>,
    /// When they asked.
    pub created_at: Option<Timestamp>,
    /// When they confirmed.
    pub confirmed_at: Option<Timestamp>,
}

/// All that a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Good lines, in order.
    pub candidates: Vec<Candidate>,
    /// Bad lines, in order.
    pub errors: Vec<LineError>,
    /// Lines of another kind than mail or webhook.
    pub other_kinds: u64,
    /// Columns that mean nothing to us.
    pub ignored_columns: Vec<String>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Email,
    Webhook,
    Services,
    Groups,
    Kinds,
    MinImpact,
    Language,
    Timezone,
    State,
    CreatedAt,
    ConfirmedAt,
    /// Statuspage: `email`, `sms`, `webhook`, …
    Mode,
    /// Cachet: whether they follow everything.
    Global,
    /// Statuspage: set if mail to them bounced.
    Quarantined,
    Ignored,
}

impl Column {
    fn named(header: &str) -> Self {
        let name: String =
            header.trim().to_lowercase().chars().map(|c| if matches!(c, ' ' | '-' | '.') { '_' } else { c }).collect();
        match name.as_str() {
            "email" | "e_mail" | "mail" | "email_address" | "address" => Self::Email,
            "webhook" | "webhook_url" | "endpoint" => Self::Webhook,
            "services" | "service" | "components" | "component" | "subscriptions" => Self::Services,
            "groups" | "group" => Self::Groups,
            "kinds" => Self::Kinds,
            "min_impact" => Self::MinImpact,
            "language" | "locale" => Self::Language,
            "timezone" | "time_zone" => Self::Timezone,
            "state" => Self::State,
            "created_at" => Self::CreatedAt,
            "confirmed_at" | "verified_at" => Self::ConfirmedAt,
            "mode" | "type" => Self::Mode,
            "global" => Self::Global,
            "quarantined_at" => Self::Quarantined,
            _ => Self::Ignored,
        }
    }
}

/// Reads a file. Services and groups may be given by id or by name.
#[must_use]
pub fn parse(bytes: &[u8], rules: &Rules) -> Parsed {
    let mut parsed = Parsed::default();
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let what = "the file is UTF-16: save it as UTF-8".to_owned();
        parsed.errors.push(LineError { line: 1, what });
        return parsed;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(::csv::Trim::All)
        .comment(Some(b'#'))
        .delimiter(delimiter(bytes))
        .from_reader(bytes);
    let mut columns: Option<Vec<Column>> = None;
    let mut record = ::csv::ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return parsed,
            Err(error) => {
                let line = error.position().map_or(1, ::csv::Position::line);
                parsed.errors.push(LineError { line, what: error.to_string() });
                return parsed;
            }
        }
        let line = first_line(&record);
        let fields: Result<Vec<&str>, _> = record.iter().map(std::str::from_utf8).collect();
        let Ok(fields) = fields else {
            parsed.errors.push(LineError { line, what: "it is not valid UTF-8: save the file as UTF-8".to_owned() });
            continue;
        };
        if fields.iter().all(|field| field.is_empty()) {
            continue;
        }
        let Some(columns) = &columns else {
            let named: Vec<_> = fields.iter().map(|field| Column::named(field)).collect();
            if named.contains(&Column::Email) || named.contains(&Column::Webhook) {
                let ignored = fields.iter().zip(&named).filter(|(_, column)| **column == Column::Ignored);
                parsed.ignored_columns = ignored.map(|(name, _)| untrusted::line(name, 60)).collect();
                columns = Some(named);
                continue;
            }
            let bare = vec![Column::Email];
            parse_line(&mut parsed, rules, &bare, &fields, line);
            columns = Some(bare);
            continue;
        };
        parse_line(&mut parsed, rules, columns, &fields, line);
    }
}

/// The line on which a record's own text begins.
fn first_line(record: &::csv::ByteRecord) -> u64 {
    record.position().map_or(1, ::csv::Position::line)
}

/// What separates the fields: whatever of `,`, `;` and tab the first line has most of.
fn delimiter(bytes: &[u8]) -> u8 {
    let first = bytes.split(|&byte| byte == b'\n').find(|line| !line.starts_with(b"#")).unwrap_or(bytes);
    let times = |wanted: u8| first.split(|&byte| byte == wanted).count();
    [b'\t', b';', b','].into_iter().max_by_key(|&byte| times(byte)).unwrap_or(b',')
}

fn parse_line(parsed: &mut Parsed, rules: &Rules, columns: &[Column], fields: &[&str], line: u64) {
    if fields.len() > columns.len() && fields.iter().skip(columns.len()).any(|field| !field.is_empty()) {
        let what = if columns.len() == 1 {
            "a list without a header has one address on each line".to_owned()
        } else {
            format!("it has {} fields, the header has {}", fields.len(), columns.len())
        };
        parsed.errors.push(LineError { line, what });
        return;
    }
    let cell = |wanted: Column| {
        let found = columns.iter().zip(fields).find(|(column, field)| **column == wanted && !field.is_empty());
        found.map(|(_, field)| *field)
    };
    let is_ours = |mode: &str| mode.contains("mail") || mode.contains("webhook");
    if cell(Column::Mode).is_some_and(|mode| !is_ours(&mode.to_lowercase())) {
        parsed.other_kinds += 1;
        return;
    }
    let mut errors = Vec::new();
    let candidate = candidate(rules, columns, &cell, &mut errors);
    match candidate {
        Some(candidate) if errors.is_empty() => parsed.candidates.push(candidate),
        _ => parsed.errors.extend(errors.into_iter().map(|what| LineError { line, what })),
    }
}

fn candidate<'a>(
    rules: &Rules,
    columns: &[Column],
    cell: &impl Fn(Column) -> Option<&'a str>,
    errors: &mut Vec<String>,
) -> Option<Candidate> {
    let shown = |text: &str| untrusted::line(text, 80);
    let given = cell(Column::Email).or(cell(Column::Webhook));
    let address = match given.map(|text| (text, Destination::parse(text))) {
        Some((text, Ok(Destination::Webhook(url)))) if url.is_inner() => {
            errors.push(format!("`{}` cannot be called: only public addresses are", shown(text)));
            None
        }
        Some((_, Ok(address))) => Some(address),
        Some((text, Err(BadDestination::Webhook(why)))) => {
            errors.push(format!("`{}` is no webhook: {why}", shown(text)));
            None
        }
        Some((text, Err(BadDestination::Mail(why)))) => {
            errors.push(format!("`{}` is no address: {why}", shown(text)));
            None
        }
        None => {
            errors.push("there is no address on it".to_owned());
            None
        }
    };
    let has = |column: Column| columns.contains(&column);
    let is_global =
        cell(Column::Global).is_some_and(|text| matches!(text.to_lowercase().as_str(), "1" | "true" | "yes"));
    let services = names(if is_global { None } else { cell(Column::Services) }, errors, "service", |name| {
        let found = rules.services.iter().find(|service| service.id.as_str() == name || same(&service.name, name));
        found.map(|service| service.id.clone())
    });
    let groups = names(cell(Column::Groups), errors, "group", |name| {
        rules
            .groups
            .iter()
            .find(|group| group.id.as_str() == name || same(&group.name, name))
            .map(|group| group.id.clone())
    });
    let mut refuse = |text: &str, rule: &str| errors.push(format!("`{}` is not {rule}", shown(text)));
    let kinds = cell(Column::Kinds).map(|text| {
        let mut kinds = (false, false);
        for word in text.split([' ', ',', ';', '|']).filter(|word| !word.is_empty()) {
            match word {
                "incidents" => kinds.0 = true,
                "maintenance" => kinds.1 = true,
                other => refuse(other, "a kind of news: write `incidents` or `maintenance`"),
            }
        }
        kinds
    });
    let min_impact = cell(Column::MinImpact).and_then(|text| {
        text.parse().map_err(|_| refuse(text, "an impact: write `none`, `minor`, `major` or `critical`")).ok()
    });
    let is_tag =
        |text: &str| (2..=35).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if let Some(text) = cell(Column::Language).filter(|text| !is_tag(text)) {
        refuse(text, "a language: write a tag such as `de` or `pt-BR`");
    }
    if let Some(text) = cell(Column::Timezone).filter(|text| TimeZone::get(text).is_err()) {
        refuse(text, "a time zone: write a name such as `Europe/Berlin`");
    }
    let state = cell(Column::State).and_then(|text| match text {
        "pending" => Some(SubscriberState::Pending),
        "confirmed" => Some(SubscriberState::Confirmed),
        "suspended" => Some(SubscriberState::Suspended),
        _ => {
            refuse(text, "a state: write `pending`, `confirmed` or `suspended`");
            None
        }
    });
    let mut time = |column| {
        let text = cell(column)?;
        let parsed = instant(text);
        if parsed.is_none() {
            refuse(text, "a time: write it as `2026-11-21T10:15:00Z`");
        }
        parsed
    };
    let (created_at, confirmed_at) = (time(Column::CreatedAt), time(Column::ConfirmedAt));
    // Cachet: who has no time of verification never confirmed.
    let never_confirmed = has(Column::ConfirmedAt) && !has(Column::State) && cell(Column::ConfirmedAt).is_none();
    let state = match state {
        None if cell(Column::Quarantined).is_some() => Some(SubscriberState::Suspended),
        None if never_confirmed => Some(SubscriberState::Pending),
        state => state,
    };
    Some(Candidate {
        address: address?,
        services: (has(Column::Services) || is_global).then_some(services),
        groups: has(Column::Groups).then_some(groups),
        kinds,
        min_impact,
        language: cell(Column::Language).map(str::to_owned),
        timezone: cell(Column::Timezone).map(str::to_owned),
        state,
        created_at,
        confirmed_at,
    })
}

fn same(one: &str, two: &str) -> bool {
    one.to_lowercase() == two.to_lowercase()
}

/// The things that a cell names: separated by `,`, `;` or `|`, or by spaces if they are ids.
fn names<T: PartialEq>(
    cell: Option<&str>,
    errors: &mut Vec<String>,
    what: &str,
    find: impl Fn(&str) -> Option<T>,
) -> Vec<T> {
    let mut found = Vec::new();
    let mut take = |name: &str, errors: &mut Vec<String>| match find(name) {
        Some(id) if found.contains(&id) => {}
        Some(id) => found.push(id),
        None => errors.push(format!("there is no {what} `{}` in the config", untrusted::line(name, 80))),
    };
    for part in cell.unwrap_or("").split([',', ';', '|']).map(str::trim).filter(|part| !part.is_empty()) {
        if find(part).is_some() || !part.contains(char::is_whitespace) {
            take(part, errors);
        } else {
            part.split_whitespace().for_each(|name| take(name, errors));
        }
    }
    found
}

/// A time as RFC 3339, or without a zone as databases write it, which is then UTC.
fn instant(text: &str) -> Option<Timestamp> {
    let local = || text.trim_end_matches(" UTC").parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    text.parse::<Timestamp>().ok().or_else(|| local().map(|zoned| zoned.timestamp())).map(crate::clock::to_millis)
}
