//! One connection to a mail server: what is said on it, phase by phase.

use std::{fmt, future::Future, time::Duration};

use lettre::transport::smtp::{
    Error,
    authentication::{Credentials, Mechanism},
    client::AsyncSmtpConnection,
    commands::{Ehlo, Rset},
    extension::ClientId,
    response::Response,
};

use super::{Encryption, Timeouts};
use crate::{
    domain::subscriber::Address,
    notify::reply::{Phase, Reply},
};

/// One connection, greeted, encrypted if asked for, and logged in if need be.
pub struct Link {
    connection: AsyncSmtpConnection,
    encryption: Option<Encryption>,
    /// The server takes several commands in one write (RFC 2920).
    can_pipeline: bool,
    sent: u32,
    is_usable: bool,
}

/// How handing over one message on one connection ended.
pub struct Ended {
    /// What the server said.
    pub reply: Reply,
    /// The server had closed a connection that was used before, or did so now: it says nothing
    /// about the message, none of which was sent.
    pub is_stale: bool,
}

/// Text as a command: lettre writes whatever displays.
struct Raw<'a>(&'a str);

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Waits for an answer, and makes a reply of whatever else comes.
pub async fn within<T>(
    limit: Duration,
    phase: Phase,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Reply> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(reply(phase, &error)),
        Err(_) => Err(Reply::broken(phase, "no answer in time")),
    }
}

fn reply(phase: Phase, error: &Error) -> Reply {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match error.status() {
        Some(code) => Reply::refused(phase, code.into(), &text),
        None => Reply::broken(phase, &text),
    }
}

impl Link {
    pub fn new(connection: AsyncSmtpConnection, encryption: Option<Encryption>) -> Self {
        Self { connection, encryption, can_pipeline: false, sent: 0, is_usable: true }
    }

    /// How it is encrypted; `None`: not at all.
    pub fn encryption(&self) -> Option<Encryption> {
        self.encryption
    }

    /// Whether another message may be begun on it.
    pub fn is_usable(&self) -> bool {
        self.is_usable && !self.connection.has_broken()
    }

    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// Logs in.
    pub async fn log_in(&mut self, credentials: &Credentials, limit: Duration) -> Result<(), Reply> {
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        if self.connection.server_info().get_auth_mechanism(&mechanisms).is_none() {
            let text = "the server offers no way to log in that is known here (PLAIN, LOGIN)";
            return Err(Reply::Unfit { text: text.to_owned() });
        }
        within(limit, Phase::Auth, self.connection.auth(&mechanisms, credentials)).await.map(drop)
    }

    /// Asks what the server can do: lettre keeps only what it uses itself.
    pub async fn learn(&mut self, hello: &ClientId, limit: Duration) -> Result<(), Reply> {
        let answer = within(limit, Phase::Greeting, self.connection.command(Ehlo::new(hello.clone()))).await?;
        self.can_pipeline = answer.message().any(|line| line.trim().eq_ignore_ascii_case("PIPELINING"));
        Ok(())
    }

    /// Hands over one message, if it `may_leave` still once the server waits for it. If not, the
    /// connection ends before a word of it: what has no end is no message to the server.
    pub async fn deliver(
        &mut self,
        from: &Address,
        to: &Address,
        bytes: &[u8],
        timeouts: &Timeouts,
        may_leave: impl Future<Output = bool>,
    ) -> Ended {
        let was_used = self.sent > 0;
        self.sent = self.sent.saturating_add(1);
        self.is_usable = false;
        let reply = match self.envelope(from, to, timeouts.command).await {
            Ok(()) => {
                if !may_leave.await {
                    return Ended { reply: Reply::NotTried, is_stale: false };
                }
                self.body(bytes, timeouts.body).await
            }
            Err(reply) => reply,
        };
        let is_stale = was_used
            && matches!(
                &reply,
                Reply::Broken { phase: Phase::Sender, .. } | Reply::Refused { phase: Phase::Sender, code: 421, .. }
            );
        match &reply {
            Reply::Accepted { .. } => self.is_usable = true,
            Reply::Refused { code, .. } if *code != 421 => {
                // The next message must not inherit anything of this one.
                self.is_usable = within(timeouts.command, Phase::Sender, self.connection.command(Rset)).await.is_ok();
            }
            _ => {}
        }
        Ended { reply, is_stale }
    }

    /// MAIL, RCPT and DATA: in one write if the server allows.
    async fn envelope(&mut self, from: &Address, to: &Address, limit: Duration) -> Result<(), Reply> {
        let commands = [
            (Phase::Sender, format!("MAIL FROM:<{}>\r\n", from.as_str())),
            (Phase::Recipient, format!("RCPT TO:<{}>\r\n", to.as_str())),
            (Phase::Data, "DATA\r\n".to_owned()),
        ];
        if !self.can_pipeline {
            for (phase, command) in &commands {
                within(limit, *phase, self.connection.command(Raw(command))).await?;
            }
            return Ok(());
        }
        let at_once: String = commands.iter().map(|(_, command)| command.as_str()).collect();
        let sender = within(limit, Phase::Sender, self.connection.command(Raw(&at_once))).await;
        // Whoever says 421 says nothing more (RFC 5321, section 3.8).
        let goes_on = |answer: &Result<Response, Reply>| match answer {
            Ok(_) => true,
            Err(Reply::Refused { code, .. }) => *code != 421,
            Err(_) => false,
        };
        if !goes_on(&sender) {
            return sender.map(drop);
        }
        let recipient = within(limit, Phase::Recipient, self.connection.read_response()).await;
        if !goes_on(&recipient) {
            return recipient.map(drop);
        }
        let data = within(limit, Phase::Data, self.connection.read_response()).await;
        let Some(refusal) = sender.err().or(recipient.err()) else { return data.map(drop) };
        if data.is_ok() {
            // RFC 2920, section 3.1: a server that waits for the message all the same gets an
            // empty one, which it must refuse for want of recipients.
            let _ = within(limit, Phase::Data, self.connection.command(Raw(".\r\n"))).await;
        }
        Err(refusal)
    }

    async fn body(&mut self, bytes: &[u8], limit: Duration) -> Reply {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => stuffed(text),
            _ => return Reply::Unfit { text: "the message is not encoded for transport".to_owned() },
        };
        match within(limit, Phase::Body, self.connection.command(Raw(&text))).await {
            Ok(answer) => Reply::Accepted { text: accepted(&answer) },
            Err(reply) => reply,
        }
    }

    /// Says good-bye, and waits a moment until the server has let go: it may count connections.
    pub async fn quit(mut self) {
        let good_bye = async {
            if self.connection.quit().await.is_ok() {
                // Nothing is said any more: this ends when the connection does.
                let _ = self.connection.read_response().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), good_bye).await;
    }
}

fn accepted(answer: &Response) -> String {
    let text = answer.message().collect::<Vec<_>>().join(" ");
    crate::notify::reply::said(&format!("{} {text}", answer.code()))
}

/// A message as it goes over the wire: every line ends in CRLF whatever it ended in before, a dot
/// at the start of a line is doubled, and a lone dot ends it (RFC 5321, section 4.5.2).
fn stuffed(message: &str) -> String {
    let mut wire = String::with_capacity(message.len() + message.len() / 50 + 8);
    for line in message.split_inclusive('\n') {
        let line = line.trim_end_matches(['\r', '\n']);
        // A CR within a line is no line end to us, but may be one to the server.
        for piece in line.split('\r') {
            if piece.starts_with('.') {
                wire.push('.');
            }
            wire.push_str(piece);
            wire.push_str("\r\n");
        }
    }
    wire.push_str(".\r\n");
    wire
}

#[cfg(test)]
mod tests {
    use super::stuffed;

    #[test]
    fn a_leading_dot_is_doubled_and_a_lone_dot_ends_the_message() {
        assert_eq!(stuffed("a: b\r\n\r\n.\r\n..x\r\nend\r\n"), "a: b\r\n\r\n..\r\n...x\r\nend\r\n.\r\n");
    }

    #[test]
    fn no_bare_line_feed_or_carriage_return_reaches_the_wire() {
        for evil in ["a\n.\nb", "a\r.\rb", "a\n.\r\nb", "a\r\n.\nb", "\n.\r\r\nb\r", "a"] {
            let wire = stuffed(evil);
            let bare = wire.replace("\r\n", "");
            assert!(!bare.contains(['\r', '\n']), "{evil:?} became {wire:?}");
            assert!(wire.ends_with("\r\n.\r\n"), "{wire:?}");
            assert_eq!(wire.matches("\r\n.\r\n").count(), 1, "{evil:?} became {wire:?}");
        }
    }
}
