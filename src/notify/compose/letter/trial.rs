//! The test message: in the design of all others, so that what it looks like and how it is judged is
//! what they will look like and how they will be judged.

use jiff::Timestamp;

use super::{Fact, Frame, Letter, OK};

/// What a test message says of the sender.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    /// Whom readers see.
    pub from: &'a str,
    /// Where bounces go.
    pub envelope: &'a str,
    /// Who signs, if anybody does: domain and selector.
    pub signer: Option<(&'a str, &'a str)>,
    /// When it was sent.
    pub at: Timestamp,
    /// All else.
    pub frame: Frame<'a>,
}

impl Letter {
    /// What is said.
    #[must_use]
    pub fn trial(trial: &Trial<'_>) -> Self {
        let frame = &trial.frame;
        let say = |key: &str| frame.words.text(&format!("letter.test_{key}"), &[("site", frame.site_title)]);
        let fact = |key: &str, line: String| {
            let label = say(key);
            let padded = frame.words.text("mail.label", &[("label", &label)]);
            Fact { label, padded, lines: vec![line] }
        };
        let signed = match trial.signer {
            Some((domain, selector)) => {
                frame.words.text("letter.test_signature", &[("domain", domain), ("selector", selector)])
            }
            None => say("unsigned"),
        };
        let facts = vec![
            fact("from", trial.from.to_owned()),
            fact("envelope", trial.envelope.to_owned()),
            fact("signed", signed),
            fact("at", frame.words.moment(trial.at, frame.zone)),
        ];
        Self {
            subject: frame.subject(&say("subject")),
            sentence: say("sentence"),
            state: say("state"),
            note: say("note"),
            page: frame.page(say("page"), frame.site_url.as_str()),
            why: say("why"),
            ..Self::blank(frame, OK, facts)
        }
    }
}
