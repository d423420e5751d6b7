//! A message that was composed once, with blanks for what differs from one reader to the next.
//!
//! Telling 100,000 people the same takes two renderings and 100,000 copies. A blank holds letters
//! of a fixed number that every encoding leaves as they are; what does not fit is composed alone.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use super::Draft;
use crate::{
    domain::{event::Event, id::DeliveryId, subscriber::Wants},
    notify::plan::News,
};

/// How many kinds of message are remembered: an event in the languages and zones of its readers.
const KINDS: usize = 32;
/// A longer address may make its header be folded.
const LONGEST_ADDRESS: usize = 60;

/// What differs between two messages of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Names the message.
    pub delivery: DeliveryId,
    /// Names the thread.
    pub thread: String,
    /// Leaves without logging in.
    pub token: String,
    /// Opens what was chosen.
    pub manage: String,
    /// To whom.
    pub to: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blank {
    Delivery,
    Compact,
    Thread,
    Token,
    Manage,
    To,
}

impl Blank {
    const ALL: [Self; 6] = [Self::Delivery, Self::Compact, Self::Thread, Self::Token, Self::Manage, Self::To];

    fn of(self, marks: &Marks) -> String {
        match self {
            Self::Delivery => marks.delivery.to_string(),
            Self::Compact => super::simple(marks.delivery),
            Self::Thread => marks.thread.clone(),
            Self::Token => marks.token.clone(),
            Self::Manage => marks.manage.clone(),
            Self::To => marks.to.clone(),
        }
    }
}

#[derive(Debug)]
enum Piece {
    Text(Vec<u8>),
    /// Letters of a blank, from one to before another: an encoded line may end within.
    Letters(Blank, usize, usize),
}

/// One message with blanks.
#[derive(Debug)]
pub struct Stencil {
    pieces: Vec<Piece>,
    length: usize,
}

impl Stencil {
    /// Marks that occur in no text.
    #[must_use]
    pub fn marks() -> Marks {
        let delivery = [0xd1, 0x5c, 0xa7, 0x0e, 0x93, 0x6b, 0x7f, 0x28, 0xb4, 0xe0, 0x19, 0xcd, 0x82, 0x35, 0xfa, 0x46];
        Marks {
            delivery: DeliveryId::from_bytes(delivery),
            thread: "thread.9e41c07bd85f23a6e7120b94fc6ad835".to_owned(),
            token: "Qv7zKx_3Jd9wYh-2Lp5RtBn8Gs4Xm1Fc6Ze0Uk-TaHi".to_owned(),
            manage: "Wr5tHb-8Nq2yDk_6Fs9VxLm3Pz7Gc1Ja4Ue0Ti-KoXe5uSw2".to_owned(),
            to: "blank.w5qz8kx2vj7h@blank-9tq4mz.example".to_owned(),
        }
    }

    /// Finds the blanks in a message that was composed with [`Stencil::marks`].
    #[must_use]
    pub fn cut(message: &[u8]) -> Self {
        let marks = Self::marks();
        let blanks = Blank::ALL.map(|blank| (blank, blank.of(&marks).into_bytes()));
        let (mut pieces, mut text) = (Vec::new(), Vec::new());
        let mut rest = message;
        'next: while let Some((&first, after)) = rest.split_first() {
            for (blank, letters) in &blanks {
                if letters.first() == Some(&first)
                    && let Some((found, left)) = occurrence(rest, *blank, letters)
                {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.extend(found);
                    rest = left;
                    continue 'next;
                }
            }
            text.push(first);
            rest = after;
        }
        pieces.push(Piece::Text(text));
        Self { pieces, length: message.len() + 256 }
    }

    /// The message with these marks; `None` if one does not fit into its blank.
    #[must_use]
    pub fn fill(&self, marks: &Marks) -> Option<Vec<u8>> {
        let model = Self::marks();
        let is_plain = |token: &str| token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let tokens = [(&marks.token, &model.token), (&marks.manage, &model.manage)];
        let are_like = tokens.iter().all(|(token, model)| token.len() == model.len() && is_plain(token));
        if !are_like || marks.to.len() > LONGEST_ADDRESS {
            return None;
        }
        let filled = Blank::ALL.map(|blank| (blank, blank.of(marks)));
        let mut message = Vec::with_capacity(self.length);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => message.extend_from_slice(text),
                Piece::Letters(blank, from, to) => {
                    let (_, letters) = filled.iter().find(|(one, _)| one == blank)?;
                    // An address is of any length, and never broken.
                    let letters = if *blank == Blank::To { letters.as_str() } else { letters.get(*from..*to)? };
                    message.extend_from_slice(letters.as_bytes());
                }
            }
        }
        Some(message)
    }
}

/// A blank at the very start of `text`, with the soft line ends within it, and what follows it.
fn occurrence<'a>(text: &'a [u8], blank: Blank, letters: &[u8]) -> Option<(Vec<Piece>, &'a [u8])> {
    const SOFT_END: &[u8] = b"=\r\n";
    let (mut pieces, mut rest) = (Vec::new(), text);
    let (mut from, mut at) = (0, 0);
    while let Some(letter) = letters.get(at) {
        if let Some(after) = rest.strip_prefix(SOFT_END).filter(|_| at > 0) {
            pieces.extend([Piece::Letters(blank, from, at), Piece::Text(SOFT_END.to_vec())]);
            (rest, from) = (after, at);
        }
        rest = rest.split_first().filter(|(found, _)| *found == letter)?.1;
        at += 1;
    }
    if blank == Blank::To && !pieces.is_empty() {
        return None;
    }
    pieces.push(Piece::Letters(blank, from, at));
    Some((pieces, rest))
}

/// What two messages have in common that differ in their marks alone.
#[derive(Debug, PartialEq)]
struct Kind {
    news: News,
    language: Option<String>,
    timezone: Option<String>,
    wants: Wants,
    events: Vec<Event>,
}

impl Kind {
    fn of(draft: &Draft<'_>) -> Self {
        let subscriber = draft.subscriber;
        Self {
            news: draft.news,
            language: subscriber.language.clone(),
            timezone: subscriber.timezone.clone(),
            wants: subscriber.wants.clone(),
            events: draft.events.iter().map(|&event| event.clone()).collect(),
        }
    }

    fn is_of(&self, draft: &Draft<'_>) -> bool {
        let subscriber = draft.subscriber;
        self.news == draft.news
            && self.language == subscriber.language
            && self.timezone == subscriber.timezone
            && self.wants == subscriber.wants
            && self.events.iter().eq(draft.events.iter().copied())
    }
}

/// What is known of a kind of message.
#[derive(Clone, Debug)]
pub enum Known {
    /// None was composed lately.
    Nothing,
    /// One was: from the second on, a stencil is worth its making.
    Seen,
    /// It can be copied.
    Stencil(Arc<Stencil>),
    /// It cannot: a template does more with a blank than print it.
    Unfit,
}

/// The kinds of message of late.
#[derive(Debug, Default)]
pub struct Stencils(Mutex<VecDeque<(Kind, Known)>>);

impl Stencils {
    /// What is known of messages such as `draft`.
    pub fn known(&self, draft: &Draft<'_>) -> Known {
        let mut kinds = self.lock();
        let Some(at) = kinds.iter().position(|(kind, _)| kind.is_of(draft)) else { return Known::Nothing };
        if let Some(found) = kinds.remove(at) {
            kinds.push_front(found);
        }
        kinds.front().map_or(Known::Nothing, |(_, known)| known.clone())
    }

    /// Keeps what was learned of them.
    pub fn learn(&self, draft: &Draft<'_>, known: Known) {
        let mut kinds = self.lock();
        kinds.retain(|(kind, _)| !kind.is_of(draft));
        kinds.push_front((Kind::of(draft), known));
        kinds.truncate(KINDS);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Kind, Known)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real() -> Marks {
        Marks {
            delivery: DeliveryId::from_bytes([7; 16]),
            thread: format!("thread.{}", "3".repeat(32)),
            token: "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG".to_owned(),
            manage: "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijkl".to_owned(),
            to: "ann@example.net".to_owned(),
        }
    }

    #[test]
    fn blanks_are_filled_wherever_a_line_ends_within_them() {
        let (blank, real) = (Stencil::marks(), real());
        for broken_at in 1..43 {
            let message = |marks: &Marks| {
                let (head, tail) = marks.token.split_at(broken_at);
                format!("To: {}\r\nQv7 d15ca70e\r\n{head}=\r\n{tail}=3D{}", marks.to, marks.delivery)
            };
            let stencil = Stencil::cut(message(&blank).as_bytes());
            assert_eq!(stencil.fill(&real).unwrap(), message(&real).as_bytes());
        }
    }

    #[test]
    fn what_does_not_fit_is_left_to_the_composer() {
        let stencil = Stencil::cut(b"x");
        let long = format!("{}@example.org", "a".repeat(60));
        for bad in [
            Marks { token: "short".to_owned(), ..real() },
            Marks { token: "=".repeat(43), ..real() },
            Marks { manage: "short".to_owned(), ..real() },
            Marks { to: long, ..real() },
        ] {
            assert!(stencil.fill(&bad).is_none(), "{bad:?}");
        }
    }
}
