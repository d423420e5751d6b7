//! What a mail server's answer to a test message means, and what to do about it.

use crate::notify::reply::{self, Class, Phase, Reply};

/// What an answer means, and what to do; `None` if it took the message.
#[must_use]
pub fn advice(reply: &Reply) -> Option<&'static str> {
    let phase = match reply {
        Reply::Accepted { .. } => return None,
        Reply::NotTried => return Some("it was not tried: nothing can be said"),
        Reply::Unfit { .. } => {
            return Some(
                "nothing was sent, so that nothing leaves less protected than was asked for: correct `smtp` in `[email]` \
                 (`smtp://`, `smtp+starttls://`, `smtps://`) to what the server offers",
            );
        }
        Reply::Refused { phase, .. } | Reply::Broken { phase, .. } => *phase,
    };
    let is_refused = matches!(reply, Reply::Refused { .. });
    Some(match (phase, reply::classify(reply)) {
        (Phase::Connect, _) => {
            "nobody answers there: look at name and port in `smtp`, at a firewall between, and whether the server runs"
        }
        (Phase::Tls, _) => {
            "encryption failed: the certificate must be valid for the name in `smtp`; `smtps://` is for port 465, \
             `smtp+starttls://` for 587 and 25"
        }
        (Phase::Auth, Class::Ours) => {
            "the server does not know this user name with this password: correct them in `[email]`"
        }
        (Phase::Auth, _) => "the server could not check the password just now: try again later",
        (Phase::Greeting, Class::Ours) => {
            "the server wants nothing of this machine: its operator must allow its address, or another server must be used"
        }
        (Phase::Greeting, _) if !is_refused => {
            "the server did not speak as a mail server does: look at the port, and whether it expects TLS from the first byte"
        }
        (Phase::Sender, Class::Ours) => {
            "the server does not let this sender through: use an address in `from` (or `envelope_from`) that belongs to the \
             login, or let the server allow it"
        }
        (Phase::Recipient | Phase::Body | Phase::Onward, Class::Gone) => "there is no such mailbox: try another `--to`",
        (Phase::Recipient, Class::Policy) => {
            "the server does not pass mail on for us: it wants a login (`username`, `password`), or must allow this machine's \
             address"
        }
        (Phase::Body | Phase::Onward, Class::Policy) => {
            "the server took offence at the message: the records above that are bad are the likeliest reason"
        }
        (Phase::Recipient | Phase::Body | Phase::Onward, Class::Never) => {
            "the server does not take mail for this address: try another `--to`"
        }
        (_, Class::Later) => "the server asks to come again later; the daemon would: try again in some minutes",
        (_, Class::Away) => "the server is busy or gone just now; the daemon would wait: try again later",
        _ => "look at the log of the mail server",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_but_yes_comes_with_something_to_do() {
        assert_eq!(advice(&Reply::Accepted { text: "250 ok".to_owned() }), None);
        for (reply, word) in [
            (Reply::broken(Phase::Connect, "refused"), "firewall"),
            (Reply::broken(Phase::Tls, "certificate expired"), "certificate"),
            (Reply::refused(Phase::Auth, 535, "5.7.8 no"), "password"),
            (Reply::refused(Phase::Greeting, 554, "no service"), "this machine"),
            (Reply::broken(Phase::Greeting, "no answer in time"), "TLS from the first byte"),
            (Reply::refused(Phase::Sender, 553, "5.7.1 not yours"), "`from`"),
            (Reply::refused(Phase::Recipient, 554, "5.7.1 relay access denied"), "`username`"),
            (Reply::refused(Phase::Recipient, 550, "5.1.1 unknown"), "no such mailbox"),
            (Reply::refused(Phase::Recipient, 450, "4.2.0 greylisted"), "some minutes"),
            (Reply::refused(Phase::Body, 550, "5.7.1 spam"), "bad"),
            (Reply::refused(Phase::Data, 421, "4.3.2 shutting down"), "try again later"),
            (Reply::Unfit { text: "no STARTTLS".to_owned() }, "smtp+starttls"),
        ] {
            let said = advice(&reply).unwrap();
            assert!(said.contains(word), "{reply}: {said}");
        }
    }
}
