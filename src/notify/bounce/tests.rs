//! What servers really write, and what people and robots send to the same address.

use super::*;

const TOKEN: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A mail, with line ends as they travel.
fn mail(head: &str, body: &str) -> Vec<u8> {
    format!("{}\n\n{body}", head.trim()).replace('\n', "\r\n").into_bytes()
}

/// A report by the standard, with these fields of the recipient.
fn report(fields: &str) -> Vec<u8> {
    mail(
        &format!(
            "Return-Path: <>\nDelivered-To: bounces+{TOKEN}@example.org\n\
             From: MAILER-DAEMON@mx.example.net (Mail Delivery System)\nTo: bounces+{TOKEN}@example.org\n\
             Subject: Undelivered Mail Returned to Sender\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n\
             Content-Type: multipart/report; report-type=delivery-status;\n boundary=\"4FXsD.1605/mx.example.net\""
        ),
        &format!(
            "This is a MIME-encapsulated message.\n\n--4FXsD.1605/mx.example.net\nContent-Description: Notification\n\
             Content-Type: text/plain; charset=us-ascii\n\nYour message is attached.\n\n\
             --4FXsD.1605/mx.example.net\nContent-Description: Delivery report\nContent-Type: message/delivery-status\n\n\
             Reporting-MTA: dns; mx.example.net\nX-Postfix-Sender: rfc822; bounces+{TOKEN}@example.org\n\
             Arrival-Date: Sat, 21 Nov 2026 10:15:02 +0000 (UTC)\n\n{}\n\n\
             --4FXsD.1605/mx.example.net\nContent-Description: Undelivered Message Headers\n\
             Content-Type: text/rfc822-headers\n\nReturn-Path: <bounces+{TOKEN}@example.org>\nSubject: Outage: API\n\n\
             --4FXsD.1605/mx.example.net--\n",
            fields.trim()
        ),
    )
}

fn told(mail: &[u8]) -> Vec<Told> {
    Bounce::read(mail, &[]).told.unwrap()
}

/// What one mail says of ann@example.net: its action, and the class of refusal.
fn said(mail: &[u8]) -> (Action, Class, String) {
    let told = told(mail);
    let (told, is_theirs) = Bounce::of(&told, "ann@example.net").unwrap();
    let (class, reply) = told.refusal(is_theirs);
    (told.action, class, reply)
}

fn no_bounce(mail: &[u8]) -> &'static str {
    Bounce::read(mail, &[]).told.unwrap_err()
}

#[test]
fn reports_are_understood_as_a_refusal_at_once_would_be() {
    let ann = "Final-Recipient: rfc822; ann@example.net\nAction: failed\n";
    for (fields, class, reply) in [
        (
            "Original-Recipient: rfc822;ann@example.net\nStatus: 5.1.1\nRemote-MTA: dns; mx.example.net\n\
             Diagnostic-Code: smtp; 550 5.1.1 <ann@example.net>: Recipient address rejected: User\n    unknown",
            Class::Gone,
            "550 5.1.1 <***>: Recipient address rejected: User unknown (to passing it on)",
        ),
        // Exim says 5.0.0 of everything.
        (
            "Status: 5.0.0\nDiagnostic-Code: smtp; 550 5.1.1 no such user",
            Class::Gone,
            "550 5.1.1 no such user (to passing it on)",
        ),
        ("Status: 5.0.0", Class::Never, "550 no reason given (to passing it on)"),
        ("Status: 5.0.0\nDiagnostic-Code: smtp; 554 no", Class::Never, "554 no (to passing it on)"),
        ("Status: 5.2.1", Class::Never, "550 5.2.1 (to passing it on)"),
        (
            "Status: 5.1.10\nDiagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound",
            Class::Never,
            "550 5.1.10 RESOLVER.ADR.RecipientNotFound (to passing it on)",
        ),
        ("Status: 5.2.2 (over quota)", Class::Later, "550 5.2.2 (to passing it on)"),
        ("Status: 4.4.7\nDiagnostic-Code: smtp; 451 4.7.0 later", Class::Later, "451 4.4.7 later (to passing it on)"),
        ("Status: 5.4.4", Class::Later, "550 5.4.4 (to passing it on)"),
        (
            "Status: 5.7.26\nDiagnostic-Code: smtp; 550-5.7.26 Unauthenticated",
            Class::Policy,
            "550 5.7.26 Unauthenticated (to passing it on)",
        ),
        ("Status: 5.3.4", Class::Policy, "550 5.3.4 (to passing it on)"),
    ] {
        assert_eq!(said(&report(&format!("{ann}{fields}"))), (Action::Failed, class, reply.to_owned()), "{fields}");
    }
}

#[test]
fn what_has_not_failed_is_told_apart() {
    for (word, action) in [
        ("delayed", Action::Delayed),
        ("Delivered (to mailbox)", Action::Delivered),
        ("relayed", Action::Relayed),
        ("EXPANDED", Action::Expanded),
        ("burnt", Action::Other),
        ("", Action::Other),
    ] {
        let mail = report(&format!("Final-Recipient: rfc822; ann@example.net\nAction: {word}\nStatus: 5.1.1"));
        assert_eq!(said(&mail).0, action, "{word}");
    }
}

#[test]
fn that_another_address_is_gone_does_not_end_a_list() {
    let member = "Final-Recipient: rfc822; bob@example.net\nAction: failed\nStatus: 5.1.1\n";
    assert_eq!(said(&report(member)).1, Class::Never);
    // It may be what became of ours on the way.
    assert_eq!(said(&report(&format!("Original-Recipient: rfc822; Ann@example.net\n{member}"))).1, Class::Gone);
    let both = format!("{member}\nFinal-Recipient: rfc822; ann@example.net\nAction: delayed\nStatus: 4.4.1\n");
    assert_eq!(said(&report(&both)).0, Action::Delayed, "what is said of ours counts");
}

#[test]
fn a_report_without_a_recipient_says_nothing() {
    assert_eq!(no_bounce(&report("Comment: hello")), "its report names no recipient");
}

#[test]
fn bounces_in_words_are_understood() {
    let exim = mail(
        &format!(
            "Return-path: <>\nEnvelope-to: bounces+{TOKEN}@example.org\nX-Failed-Recipients: ann@example.net\n\
             Auto-Submitted: auto-replied\nFrom: Mail Delivery System <Mailer-Daemon@mx.example.net>\n\
             To: bounces+{TOKEN}@example.org\nSubject: Mail delivery failed: returning message to sender"
        ),
        "This message was created automatically by mail delivery software.\n\n\
         A message that you sent could not be delivered to one or more of its\nrecipients. This is a permanent error. \
         The following address(es) failed:\n\n  ann@example.net\n    host mx2.example.net [192.0.2.7]\n    \
         SMTP error from remote mail server after RCPT TO:<ann@example.net>:\n    550 5.1.1 <ann@example.net>: no such \
         user here\n\n------ This is a copy of the message, including all the headers. ------\n\n554 5.7.1 in our own words\n",
    );
    let (action, class, reply) = said(&exim);
    assert_eq!((action, class), (Action::Failed, Class::Gone));
    assert!(reply.starts_with("550 5.1.1 <***>: no such user here"), "{reply}");
    assert!(!reply.contains("our own words"), "{reply}");

    let qmail = mail(
        &format!(
            "Return-Path: <>\nDelivered-To: bounces+{TOKEN}@example.org\nFrom: MAILER-DAEMON@mx.example.net\n\
             To: bounces+{TOKEN}@example.org\nSubject: failure notice"
        ),
        &format!(
            "Hi. This is the qmail-send program at mx.example.net.\nI'm afraid I wasn't able to deliver your message to \
             the following addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.\n\n\
             <ann@example.net>:\nThis user's mailbox is disabled. (#5.2.1)\n\n\
             --- Below this line is a copy of the message.\n\nReturn-Path: <bounces+{TOKEN}@example.org>\n"
        ),
    );
    assert_eq!(said(&qmail), (Action::Failed, Class::Never, "550 5.2.1 (to passing it on)".to_owned()));

    let exchange = mail(
        &format!(
            "From: postmaster@mail.example.net\nTo: bounces+{TOKEN}@example.org\nSubject: Undeliverable: Outage: API\n\
             Auto-Submitted: auto-replied"
        ),
        "Delivery has failed to these recipients or groups:\n\nann@example.net\nThe address you entered couldn't be \
         found.\n\nDiagnostic information for administrators:\n\nGenerating server: mail.example.net\n\n\
         ann@example.net\n#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##\n\nOriginal message headers:\n\nReceived: x\n",
    );
    let (action, class, reply) = said(&exchange);
    assert_eq!((action, class), (Action::Failed, Class::Gone), "{reply}");

    let postfix = mail(
        &format!("From: MAILER-DAEMON (Mail Delivery System)\nX-Original-To: bounces+{TOKEN}@example.org\nSubject: x"),
        "This is the mail system at host mx.example.net.\n\nI'm sorry to have to inform you that your message could not\n\
         be delivered to one or more recipients. It's attached below.\n\n<ann@example.net>: host mx2[192.0.2.5] said: 554 \
         5.7.1 Rejected for policy reasons (in reply to end of DATA command)\n",
    );
    assert_eq!(said(&postfix).1, Class::Policy);

    let sendmail = mail(
        "From: Mail Delivery Subsystem <MAILER-DAEMON@mx.example.net>\nSubject: Returned mail: see transcript",
        "   ----- The following addresses had permanent fatal errors -----\n<ann@example.net>\n    (reason: 550 5.1.1 \
         User unknown)\n",
    );
    assert_eq!(said(&sendmail).1, Class::Gone);
}

#[test]
fn that_time_ran_out_is_nobodys_fault() {
    let exim = mail(
        "From: Mailer-Daemon@mx.example.net\nX-Failed-Recipients: ann@example.net\nSubject: Mail delivery failed",
        "A message that you sent could not be delivered to one or more of its recipients. This is a permanent error.\n\n\
         ann@example.net\n  host mx2 [192.0.2.7]: 550 5.1.1 x: retry timeout exceeded\n",
    );
    assert_eq!(said(&exim).1, Class::Later);
}

#[test]
fn warnings_in_words_change_nothing() {
    for words in [
        "THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE.\nYour message could not be delivered for more \
         than 4 hour(s). 550 5.1.1",
        "A message that you sent has not yet been delivered to one or more of its recipients after 24 hours.",
        "    **      THIS IS A WARNING MESSAGE ONLY      **\n   ----- had permanent fatal errors -----",
    ] {
        let warning = mail("From: MAILER-DAEMON@mx.example.net\nSubject: Warning", words);
        assert_eq!(said(&warning).0, Action::Delayed, "{words}");
    }
}

#[test]
fn whatever_else_comes_to_the_address_is_no_bounce() {
    let words = "This is a permanent error: 550 5.1.1. I am on holiday.";
    for (head, why) in [
        ("From: Ann <ann@example.net>\nSubject: Re: Outage\nAuto-Submitted: auto-replied", "an automatic answer"),
        ("Return-Path: <>\nFrom: Ann <ann@example.net>\nSubject: Away\nPrecedence: auto_reply", "an automatic answer"),
        ("From: Ann <ann@example.net>\nSubject: Re: Outage", "no report, and no mail system sent it"),
        ("Subject: from nobody", "no report, and no mail system sent it"),
    ] {
        assert_eq!(no_bounce(&mail(head, words)), why, "{head}");
    }
    let spam = mail("From: postmaster@example.net\nSubject: Your mailbox", "Click here. 550 5.1.1");
    assert_eq!(no_bounce(&spam), "a mail system sent it, but not to say that a mail could not be delivered");
    for bytes in [&b""[..], b"\0\0", b"\r\n\r\n"] {
        assert!(Bounce::read(bytes, &[]).told.is_err());
    }
}

#[test]
fn reading_receipts_and_complaints_are_no_bounces() {
    for (kind, why) in [
        ("disposition-notification", "it says that a mail was shown to somebody"),
        ("feedback-report", "it is a complaint, not a report of a delivery"),
    ] {
        let text = String::from_utf8(report("Final-Recipient: rfc822; ann@example.net\nAction: failed\nStatus: 5.1.1"));
        let mail = text.unwrap().replace("message/delivery-status", &format!("message/{kind}"));
        assert_eq!(no_bounce(mail.as_bytes()), why);
    }
}

#[test]
fn a_report_that_somebody_passes_on_is_none() {
    let inner = report("Final-Recipient: rfc822; ann@example.net\nAction: failed\nStatus: 5.1.1");
    let outer = mail(
        "From: Ann <ann@example.net>\nSubject: Fwd: look\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=outer",
        &format!(
            "--outer\n\nLook.\n--outer\nContent-Type: message/rfc822\n\n{}\n--outer--\n",
            String::from_utf8_lossy(&inner)
        ),
    );
    assert_eq!(no_bounce(&outer), "no report, and no mail system sent it");
}

#[test]
fn a_token_is_found_wherever_servers_put_it() {
    let key = Key::open(&crate::config::Store {
        path: tempfile::tempdir().unwrap().path().join("watchbell.db"),
        keep_results: std::time::Duration::ZERO,
        allow_volatile: true,
    })
    .unwrap();
    let now = Timestamp::from_second(1_795_219_200).unwrap();
    let sent = crate::store::envelope::Sent::Letter(crate::domain::SubscriberId::from_bytes([7; 16]));
    let token = key.envelope(sent, now);
    let found =
        |mail: &[u8], envelope: &[String]| Bounce::read(mail, envelope).returned(&key, now).map(|found| found.sent);
    let body = "This is a permanent error";
    let from = "From: MAILER-DAEMON@mx.example.net";
    for head in [
        format!("{from}\nTo: <bounces+{token}@example.org>"),
        format!("{from}\nTo: undisclosed-recipients:;\nDelivered-To: bounces+{}@EXAMPLE.ORG", token.to_uppercase()),
        format!("{from}\nX-Original-To: bounces+{token}@example.org\nDelivered-To: watchbell@localhost"),
        format!("{from}\nEnvelope-To: bounces{token}@example.org"),
        format!("{from}\nTo: SRS0=abcd=xy=example.org=bounces+{token}@forward.example"),
        format!("{from}\nTo: prvs=1234567890=bounces+{token}@example.org"),
    ] {
        assert_eq!(found(&mail(&head, body), &[]), Some(sent), "{head}");
    }
    for envelope in [token.clone(), format!("bounces+{token}@example.org"), format!("bounces+{token}")] {
        assert_eq!(found(&mail(from, body), &[String::new(), envelope]), Some(sent));
    }
    // As Postfix says it, and as what comes back says it.
    let told = String::from_utf8(report("Final-Recipient: rfc822; ann@example.net")).unwrap().replace(TOKEN, "x");
    let sender = told.replace("rfc822; bounces+x@", &format!("rfc822; bounces+{token}@"));
    assert_eq!(found(sender.as_bytes(), &[]), Some(sent));
    let returned = told.replace("Return-Path: <bounces+x@", &format!("Return-Path: <bounces+{token}@"));
    assert_eq!(found(returned.as_bytes(), &[]), Some(sent));

    assert_eq!(found(&mail(from, &format!("{body} {token}")), &[]), None, "not in what people write");
    assert_eq!(found(told.as_bytes(), &[]), None);
    let mut forged = token.clone().into_bytes();
    forged[3] = if forged[3] == b'a' { b'b' } else { b'a' };
    assert_eq!(found(&mail(from, body), &[String::from_utf8(forged).unwrap()]), None);
}

#[test]
fn a_line_of_nothing_but_letters_takes_no_time() {
    let long = "a".repeat(1_000_000);
    assert_eq!(tokens(&long).take(MOST_PLACES).count(), MOST_PLACES);
}
