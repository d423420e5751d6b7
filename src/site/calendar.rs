//! `maintenance.ics`: planned work as a calendar (RFC 5545, RFC 7986) to which people subscribe.

use icalendar::{Calendar, Property};

/// What is needed to write the calendar.
#[derive(Clone, Copy, Debug)]
pub struct CalendarHead<'a> {
    /// What a calendar program shows as its name.
    pub name: &'a str,
    /// Where it is found, absolute.
    pub url: &'a str,
}

/// The whole file. `events` are the planned work of the last and next 90 days; each sets its own
/// `UID`, `DTSTAMP` and `SEQUENCE`, so that the bytes depend on nothing else.
#[must_use]
pub fn ics(head: &CalendarHead<'_>, events: Vec<icalendar::Event>) -> Vec<u8> {
    let mut calendar = Calendar::empty();
    calendar
        .append_property(Property::new("VERSION", "2.0"))
        .append_property(Property::new("PRODID", "-//watchbell//maintenance//EN"))
        .append_property(Property::new("CALSCALE", "GREGORIAN"))
        .append_property(Property::new("METHOD", "PUBLISH"));
    let name = super::feeds::text::clean(head.name).replace(['\n', '\t'], " ");
    // The crate escapes the properties that RFC 5545 knows as text; `NAME` came later.
    calendar.append_property(Property::new("NAME", escape(&name)));
    calendar.append_property(Property::new("X-WR-CALNAME", name));
    calendar.append_property(Property::new("URL", head.url));
    let is_empty = events.is_empty();
    calendar.extend(events);
    let mut text = folded(&calendar.to_string());
    if is_empty && let Some(end) = text.rfind("END:VCALENDAR") {
        text.insert_str(end, UTC);
    }
    text.into_bytes()
}

/// A calendar without any component is not valid (RFC 5545, section 3.6): without events, this one
/// stands in it.
const UTC: &str = "BEGIN:VTIMEZONE\r\nTZID:UTC\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n\
    TZOFFSETFROM:+0000\r\nTZOFFSETTO:+0000\r\nTZNAME:UTC\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n";

/// The longest line, in octets (RFC 5545, section 3.1).
const LONGEST: usize = 75;

/// The same lines, folded anew: the crate's own may be an octet too long before a wide character.
fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.replace("\r\n ", "").split_inclusive("\r\n") {
        let mut width = 0;
        for c in line.trim_end_matches("\r\n").chars() {
            if width + c.len_utf8() > LONGEST {
                out.push_str("\r\n ");
                width = 1;
            }
            out.push(c);
            width += c.len_utf8();
        }
        out.push_str("\r\n");
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace(';', "\\;").replace(',', "\\,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_longer_than_it_may_be_whatever_its_characters_are_as_wide_as() {
        let wide = |n| "🚨".repeat(n) + &"ü".repeat(n) + "a";
        for before in 0..80 {
            let text = format!("NAME:{}{}\r\nURL:x\r\n", "x".repeat(before), wide(40));
            let lines = folded(&text);
            assert!(lines.split("\r\n").all(|line| line.len() <= LONGEST), "{lines}");
            assert_eq!(lines.replace("\r\n ", ""), text);
        }
    }

    #[test]
    fn a_calendar_without_events_is_complete_and_folded_by_octets() {
        let name = "Zustand; der Dienste, ".to_owned() + &"ü".repeat(40);
        let head = CalendarHead { name: &name, url: "https://status.example.org/maintenance.ics" };
        let text = String::from_utf8(ics(&head, Vec::new())).unwrap();
        assert!(
            text.starts_with("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//watchbell//maintenance//EN\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nMETHOD:PUBLISH\r\n"), "{text}");
        assert!(text.contains("\r\nNAME:Zustand\\; der Dienste\\, üü"), "{text}");
        assert!(text.ends_with("\r\nEND:VCALENDAR\r\n"), "{text}");
        assert!(text.split("\r\n").all(|line| line.len() <= 75), "{text}");
    }
}
