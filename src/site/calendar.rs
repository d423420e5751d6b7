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
    calendar.name(&super::feeds::text::clean(head.name).replace(['\n', '\t'], " "));
    calendar.append_property(Property::new("URL", head.url));
    calendar.extend(events);
    calendar.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

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
