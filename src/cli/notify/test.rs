//! `watchbell notify test`: the sender's domain looked at, and one message sent for real.

use std::{io, net::SocketAddr, sync::Arc};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::super::{Failure, Global, Outcome, output, runtime};
use crate::{
    clock::SystemClock,
    config::{Config, Email, MailTransport},
    daemon::delivering::operators,
    domain::{SubscriberId, id::DeliveryId, subscriber::Address},
    notify::{
        compose::{Composer, Tokens},
        ledger::Sent,
        relay::Relay,
        reply::Reply,
        sender::{Finding, Sender, Verdict, advice::advice, zone::NameServers},
        smtp::Dialogue,
    },
    store::tokens::{Key, random_bytes},
};

/// Send a test message, and look at what the world knows of the sender's domain
#[derive(Debug, Args)]
pub struct Test {
    /// Where to send it (may be given again); without it: to the operators
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_send")]
    to: Vec<String>,
    /// Only look the domain up
    #[arg(long)]
    no_send: bool,
    /// Ask this name server, such as `192.0.2.53` or `[2001:db8::53]:5353`: one that knows a change already
    #[arg(long, value_name = "ADDRESS", value_parser = name_server)]
    resolver: Option<SocketAddr>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An address, on port 53 unless it says otherwise.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse::<SocketAddr>();
    let bare = || text.trim_matches(['[', ']']).parse().map(|address| SocketAddr::new(address, 53));
    with_port.or_else(|_| bare()).map_err(|_| "write an address, such as `192.0.2.53`".to_owned())
}

/// All that was found out.
#[derive(Serialize)]
struct Tested {
    domain: Vec<Finding>,
    mails: Vec<Mailed>,
}

/// One message, and how it went.
#[derive(Serialize)]
struct Mailed {
    to: String,
    envelope_from: String,
    /// The address that was connected to.
    peer: Option<SocketAddr>,
    encryption: Option<&'static str>,
    is_logged_in: bool,
    is_accepted: bool,
    reply: String,
    advice: Option<&'static str>,
}

impl Mailed {
    fn new(to: &Address, envelope_from: &Address, dialogue: &Dialogue) -> Self {
        Self {
            to: to.as_str().to_owned(),
            envelope_from: envelope_from.as_str().to_owned(),
            peer: dialogue.peer,
            encryption: dialogue.encryption.map(crate::notify::smtp::Encryption::in_words),
            is_logged_in: dialogue.is_logged_in,
            is_accepted: matches!(dialogue.reply, Reply::Accepted { .. }),
            reply: dialogue.reply.to_string(),
            advice: advice(&dialogue.reply),
        }
    }
}

pub fn test(global: &Global, config: &Config, args: &Test, now: Timestamp) -> Outcome {
    let Some(email) = &config.email else {
        return Err(Failure::Usage("there is no `[email]` in the config: nobody is written to".to_owned()));
    };
    let to = recipients(config, args)?;
    let runtime = runtime()?;
    let zone = NameServers::new(args.resolver, runtime.handle().clone())
        .map_err(|error| anyhow::anyhow!("no name server can be asked: {error}"))?;
    let domain = Sender::new(email).look_up(&zone);
    if !args.json {
        show_domain(&domain)?;
    }
    let mut mails = Vec::new();
    if !to.is_empty() {
        let composer = Composer::new(config, email)?;
        let relay = Relay::new(email, Arc::new(SystemClock::new()))?;
        let key = Key::open(&config.store)?;
        for to in &to {
            // Named as what was sent to somebody who is not there: a bounce of it changes nothing.
            let (nobody, id) = (SubscriberId::from_bytes(random_bytes()?), DeliveryId::new(now, random_bytes()?));
            let tokens = Tokens {
                unsubscribe: key.unsubscribe(&nobody),
                manage: key.manage(&nobody, now),
                envelope: key.envelope(Sent::Letter(nobody), now),
            };
            let message = composer.compose_trial(id, to, &tokens, now)?;
            let mailed = Mailed::new(to, &message.from, &runtime.block_on(relay.try_out(&message)));
            if !args.json {
                show_mail(email, &mailed)?;
            }
            mails.push(mailed);
        }
    }
    let tested = Tested { domain, mails };
    if args.json {
        output::print_json(&tested)?;
    }
    conclude(&tested, args.no_send, global.quiet)
}

/// To whom it goes.
fn recipients(config: &Config, args: &Test) -> Result<Vec<Address>, Failure> {
    if args.no_send {
        return Ok(Vec::new());
    }
    if args.to.is_empty() {
        let operators: Vec<Address> = operators(config).collect();
        if operators.is_empty() {
            let text = "nobody is named in `[operator] notify`: say `--to ADDRESS`, or `--no-send` to look only";
            return Err(Failure::Usage(text.to_owned()));
        }
        return Ok(operators);
    }
    let parse = |text: &String| {
        Address::parse(text).map_err(|error| Failure::Usage(format!("`{text}` cannot be written to: {error}")))
    };
    args.to.iter().map(parse).collect()
}

fn show_domain(findings: &[Finding]) -> io::Result<()> {
    output::print("what the world knows of the sender's domain:")?;
    for Finding { about, verdict, text, record } in findings {
        output::print(&format!("  {:8} {about:10} {text}", verdict.as_str()))?;
        if let Some(record) = record {
            output::print(&format!("  {:8} {:10} publish: {record}", "", ""))?;
        }
    }
    Ok(())
}

fn show_mail(email: &Email, mailed: &Mailed) -> io::Result<()> {
    output::print(&format!("\na test message to {}:", mailed.to))?;
    let step = |text: &str| output::print(&format!("  {text}"));
    step(&format!("envelope from {}", mailed.envelope_from))?;
    if let MailTransport::Smtp { host, .. } = &email.transport {
        match mailed.peer {
            Some(peer) => step(&format!("connected to {host} at {peer}"))?,
            None => step(&format!("no connection to {host}"))?,
        }
        match mailed.encryption {
            Some(how) => step(&format!("encrypted ({how}), with a certificate that is good for {host}"))?,
            None if mailed.peer.is_some() => step("not encrypted")?,
            None => {}
        }
        if let (true, Some((user, _))) = (mailed.is_logged_in, &email.credentials) {
            step(&format!("logged in as {user}"))?;
        }
    }
    step(&format!("{}: {}", if mailed.is_accepted { "accepted" } else { "not accepted" }, mailed.reply))?;
    mailed.advice.map_or(Ok(()), step)
}

/// What the exit code says: mail that does not leave before a domain that is not well.
fn conclude(tested: &Tested, only_looked: bool, is_quiet: bool) -> Outcome {
    let refused = tested.mails.iter().filter(|mail| !mail.is_accepted).count();
    if refused > 0 {
        return Err(
            anyhow::anyhow!("{refused} of {} test messages could not be handed over", tested.mails.len()).into()
        );
    }
    let worst = tested.domain.iter().map(|finding| finding.verdict).max();
    match worst {
        Some(Verdict::Bad) => Err(Failure::Bad),
        Some(Verdict::Unknown) if only_looked => Err(anyhow::anyhow!("not everything could be looked up").into()),
        _ => {
            if !tested.mails.is_empty() && !is_quiet {
                output::say("what was accepted is not yet read: look at the mail, and into its source");
            }
            Ok(())
        }
    }
}
