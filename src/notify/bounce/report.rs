//! A delivery status notification: RFC 3464, or RFC 6533.

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};

use super::{Action, Told, headers, words::codes};

/// What the report in a mail says, of each recipient; `None` if there is no report in it.
pub(super) fn read(message: &Message<'_>) -> Option<Result<Vec<Told>, &'static str>> {
    let mut report = None;
    for part in &message.parts {
        let Some(kind) = part.content_type() else { continue };
        let subtype = kind.subtype().unwrap_or("").to_ascii_lowercase();
        match (kind.ctype().to_ascii_lowercase().as_str(), subtype.as_str()) {
            ("message", "delivery-status" | "global-delivery-status") if !matches!(part.body, PartType::Message(_)) => {
                report = Some(part.contents());
                break;
            }
            ("message", "disposition-notification" | "global-disposition-notification") => {
                return Some(Err("it says that a mail was shown to somebody"));
            }
            ("message", "feedback-report") => return Some(Err("it is a complaint, not a report of a delivery")),
            _ => {}
        }
    }
    let text = String::from_utf8_lossy(report?).replace("\r\n", "\n");
    // The first block is about the message.
    let told: Vec<Told> = blocks(&text).filter_map(|block| of_recipient(&block)).collect();
    Some(if told.is_empty() { Err("its report names no recipient") } else { Ok(told) })
}

/// Blocks of fields, with blank lines between them.
fn blocks(text: &str) -> impl Iterator<Item = String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match blocks.last_mut() {
            Some(block) if !line.trim().is_empty() => {
                block.push_str(line);
                block.push_str("\r\n");
            }
            Some(block) if block.is_empty() => {}
            _ => blocks.push(String::new()),
        }
    }
    blocks.into_iter().filter(|block| !block.is_empty())
}

/// What one block says of its recipient; `None` if it is not about one.
fn of_recipient(block: &str) -> Option<Told> {
    let text = format!("{block}\r\n");
    let fields = MessageParser::default().parse_headers(&text)?;
    let first = |name: &str| headers(&fields, name).into_iter().next();
    let names: Vec<String> = ["Original-Recipient", "Final-Recipient"]
        .iter()
        .filter_map(|name| first(name))
        .map(|name| typed(&name))
        .collect();
    if names.is_empty() {
        return None;
    }
    let action = match first("Action").unwrap_or_default().to_ascii_lowercase().split([' ', '(']).next().unwrap_or("") {
        "failed" => Action::Failed,
        "delayed" => Action::Delayed,
        "delivered" => Action::Delivered,
        "relayed" => Action::Relayed,
        "expanded" => Action::Expanded,
        _ => Action::Other,
    };
    let status = first("Status").and_then(|status| codes(&status).enhanced);
    let said = first("Diagnostic-Code").map(|said| typed(&said)).unwrap_or_default();
    Some(Told { action, status, said, names })
}

/// What follows the type of a field's value, as in `rfc822; ann@example.net`.
fn typed(value: &str) -> String {
    let value = value.split_once(';').map_or(value, |(_, value)| value);
    value.trim().trim_matches(['<', '>']).to_owned()
}
