//! Bounces in words: those of qmail, of Exim and sendmail as they are set up here and there, of
//! Exchange, and of anybody's whose report was lost on the way. They are believed only if a mail
//! system sent them, and says in a sentence that we know that it gave up.

use mail_parser::{Message, PartType};

use super::{Action, Told, headers};

/// Who writes them: the part before the `@`.
const SYSTEMS: [&str; 6] = ["mailer-daemon", "postmaster", "mail-daemon", "maildaemon", "mdaemon", "microsoftexchange"];

/// That it is not over yet: Postfix, sendmail, Exim.
const NOT_YET: [&str; 5] = [
    "this is a warning only",
    "this is a warning message only",
    "has not yet been delivered",
    "will be retried",
    "delivery attempts will continue",
];

/// That it is over: qmail, Exim, Postfix, sendmail, Exchange (twice), Gmail and others.
const OVER: [&str; 9] = [
    "hi. this is the",
    "could not be delivered to one or more",
    "this is a permanent error",
    "had permanent fatal errors",
    "did not reach the following recipient",
    "delivery has failed to these recipients",
    "diagnostic information for administrators",
    "delivery to the following recipient failed permanently",
    "your message wasn't delivered to",
];

/// That time ran out, and nobody knows more.
const EXPIRED: [&str; 4] =
    ["retry timeout exceeded", "in the queue too long", "delivery time expired", "message expired"];

/// Where what comes back begins: what stands there was not said by a server.
const COPY: [&str; 5] = [
    "below this line is a copy",
    "this is a copy of",
    "original message follows",
    "original message headers",
    "unsent message below",
];

/// What a mail says in words; or why it is no bounce.
pub(super) fn read(message: &Message<'_>) -> Result<Told, &'static str> {
    let from = message.from().and_then(|from| from.first()).and_then(|from| from.address()).unwrap_or("");
    let local = from.rsplit_once('@').map_or(from, |(local, _)| local).to_ascii_lowercase();
    if !SYSTEMS.iter().any(|system| local.starts_with(system)) {
        let says = |name: &str, value: &str| {
            headers(message, name).iter().any(|found| found.to_ascii_lowercase().starts_with(value))
        };
        let is_automatic = says("Auto-Submitted", "auto-") || says("Precedence", "auto_reply");
        return Err(if is_automatic { "an automatic answer" } else { "no report, and no mail system sent it" });
    }
    let texts = message.parts.iter().filter_map(|part| match &part.body {
        PartType::Text(text) => Some(&**text),
        _ => None,
    });
    let text = texts.collect::<Vec<_>>().join("\n");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let lower = words.to_ascii_lowercase();
    let end = COPY.iter().filter_map(|mark| lower.find(mark)).min().unwrap_or(lower.len());
    let (said, lower) = (words.get(..end).unwrap_or(&words), lower.get(..end).unwrap_or(&lower));
    let has = |any: &[&str]| any.iter().any(|sentence| lower.contains(sentence));
    let names: Vec<String> = headers(message, "X-Failed-Recipients")
        .iter()
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    if has(&NOT_YET) {
        return Ok(Told { action: Action::Delayed, status: None, said: String::new(), names });
    }
    if names.is_empty() && !has(&OVER) {
        return Err("a mail system sent it, but not to say that a mail could not be delivered");
    }
    let status = if has(&EXPIRED) { Some((4, 4, 7)) } else { codes(said).enhanced };
    Ok(Told { action: Action::Failed, status, said: reason(said), names })
}

/// What of a text is worth keeping: from its first code on.
fn reason(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let is_code = |word: &&str| {
        let codes = codes(word);
        codes.basic.is_some() || codes.enhanced.is_some()
    };
    let from = words.iter().position(is_code).unwrap_or(0);
    let reason = words.iter().skip(from).take(30).copied().collect::<Vec<_>>().join(" ");
    reason.trim_end_matches([' ', '-']).to_owned()
}

/// What a server's words begin with, or have in them.
#[derive(Debug, Default)]
pub(super) struct Codes<'a> {
    /// The first code of RFC 5321.
    pub basic: Option<u16>,
    /// The first code of RFC 3463, or the first that says something.
    pub enhanced: Option<(u8, u16, u16)>,
    /// What follows the codes at the beginning.
    pub rest: &'a str,
}

/// The codes of a server in a text.
pub(super) fn codes(text: &str) -> Codes<'_> {
    let mut codes = Codes { rest: text, ..Codes::default() };
    let mut is_beginning = true;
    for word in text.split_whitespace().take(2000) {
        let bare = word.trim_matches(|c: char| !c.is_ascii_digit());
        // `550-5.1.1`, as the lines of a long answer begin.
        for piece in bare.split('-') {
            let found = enhanced_code(piece);
            let says_why = found.is_some_and(|(_, subject, _)| subject > 0);
            if codes.enhanced.is_none_or(|(_, subject, _)| subject == 0 && says_why) {
                codes.enhanced = found.or(codes.enhanced);
            }
            if codes.basic.is_none() && is_code(piece) {
                codes.basic = piece.parse().ok();
            }
        }
        is_beginning &= bare.split('-').all(|piece| is_code(piece) || enhanced_code(piece).is_some());
        if is_beginning {
            codes.rest = codes.rest.trim_start().get(word.len()..).unwrap_or("");
        }
    }
    codes.rest = codes.rest.trim_start();
    codes
}

fn is_code(text: &str) -> bool {
    text.len() == 3 && matches!(text.as_bytes().first(), Some(b'4' | b'5')) && text.bytes().all(|b| b.is_ascii_digit())
}

/// `5.1.1`, of 4 or 5.
fn enhanced_code(text: &str) -> Option<(u8, u16, u16)> {
    let mut parts = text.split('.');
    let mut part = || parts.next().filter(|part| part.len() <= 3)?.parse::<u16>().ok();
    let (class, subject, detail) = (part()?, part()?, part()?);
    let class = u8::try_from(class).ok().filter(|class| matches!(class, 4 | 5))?;
    parts.next().is_none().then_some((class, subject, detail))
}
