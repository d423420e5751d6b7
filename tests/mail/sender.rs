//! `watchbell notify test`, against a real name server and a mail server on loopback.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Output},
};

use mail_parser::MessageParser;
use serde_json::Value;
use watchbell::config::signing::SigningKey;

use crate::support::{
    dns::{Data, NameServer},
    smtp::{Act, Moment, Server},
};

const KEY: &str = include_str!("../configs/valid/dkim.pem");

/// A folder with a config whose relay is that server.
fn folder(server: &Server) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("dkim.pem"), KEY).unwrap();
    let config = format!(
        "[site]\ntitle = \"Example Status\"\nurl = \"https://status.example.org/\"\n\
         [store]\nurl = \"sqlite:watchbell.db\"\nallow_volatile = true\n\
         [operator]\nnotify = [\"ops@example.net\"]\n\
         [email]\nfrom = \"Example Status <status@example.org>\"\nsmtp = \"smtp://{}\"\n\
         envelope_from = \"bounces+{{token}}@example.org\"\n\
         dkim = {{ domain = \"example.org\", selector = \"s1\", key = {{ file = \"dkim.pem\" }} }}\n\
         [[service]]\nid = \"api\"\n",
        server.address
    );
    fs::write(folder.path().join("watchbell.toml"), config).unwrap();
    folder
}

/// A domain as it should be.
fn published() -> NameServer {
    let key = SigningKey::parse(KEY).unwrap().record();
    let known = vec![
        ("example.org", Data::Mx(10, "mail.example.org.")),
        ("example.org", Data::Txt("v=spf1 ip4:192.0.2.0/24 mx -all".to_owned())),
        ("mail.example.org", Data::A(Ipv4Addr::new(192, 0, 2, 1))),
        ("s1._domainkey.example.org", Data::Txt(key)),
        ("_dmarc.example.org", Data::Txt("v=DMARC1; p=quarantine".to_owned())),
    ];
    NameServer::start(known, "")
}

async fn test(folder: &Path, names: &NameServer, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchbell"));
    command.args(["notify", "test", "--config"]).arg(folder.join("watchbell.toml"));
    command.args(["--resolver", &names.address.to_string()]).args(arguments);
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_is_well_and_a_server_that_takes_the_message_are_said_to_be() {
    let (server, names) = (Server::good().await, published());
    let folder = folder(&server);
    let (code, out, err) = test(folder.path(), &names, &["--to", "ann@example.net"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    for line in ["good     MX ", "good     SPF ", "good     DKIM ", "good     DMARC ", "good     alignment "] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    let peer = format!("connected to 127.0.0.1 at {}", server.address);
    for line in ["a test message to ann@example.net:", &peer, "not encrypted", "accepted: 250 "] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    let [mail] = &server.taken()[..] else { panic!("{out}") };
    assert!(mail.from.contains("bounces+") && mail.to.contains("ann@example.net"), "{} {}", mail.from, mail.to);
    let message = MessageParser::default().parse(mail.text.as_bytes()).unwrap();
    assert_eq!(message.subject(), Some("[Example Status] Test message"));
    for header in ["DKIM-Signature", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "Auto-Submitted"] {
        assert!(message.header_raw(header).is_some(), "{header}\n{}", mail.text);
    }
    let (text, html) = (message.body_text(0).unwrap(), message.body_html(0).unwrap());
    for part in ["Mail from Example Status reaches you.", "example.org (key s1)", "bounces+"] {
        assert!(text.contains(part) && html.contains(part), "{part}\n{text}\n{html}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_address_operators_are_sent_it_and_a_bad_domain_is_bad() {
    let (server, names) = (Server::good().await, NameServer::start(Vec::new(), ""));
    let folder = folder(&server);
    let (code, out, err) = test(folder.path(), &names, &[]).await;
    assert_eq!(code, Some(1), "{out}{err}");
    for line in [
        "publish: example.org. MX 10 mail.example.org.",
        "publish: example.org. TXT \"v=spf1 ",
        "publish: s1._domainkey.example.org. TXT \"v=DKIM1; k=rsa; p=",
        "publish: _dmarc.example.org. TXT \"v=DMARC1; p=none\"",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    assert_eq!(server.taken().len(), 1);
    assert!(server.taken()[0].to.contains("ops@example.net"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_said_with_what_it_means() {
    let script = |moment: &Moment| match moment {
        Moment::Command(line) if line.starts_with("RCPT") => {
            Act::Say("554 5.7.1 <ann@example.net>: relay access denied")
        }
        _ => Act::Usual,
    };
    let (server, names) = (Server::scripted(script).await, published());
    let folder = folder(&server);
    let (code, out, err) = test(folder.path(), &names, &["--to", "ann@example.net", "--json"]).await;
    assert_eq!(code, Some(3), "{out}{err}");
    let json: Value = serde_json::from_str(&out).unwrap();
    let mail = &json["mails"][0];
    assert_eq!(mail["is_accepted"], false);
    assert_eq!(mail["reply"], "554 5.7.1 <***>: relay access denied (to RCPT TO)");
    assert!(mail["advice"].as_str().unwrap().contains("`username`"));
    assert_eq!(json["domain"][1]["about"], "SPF");
    assert_eq!(json["domain"][1]["verdict"], "good");
    assert!(server.taken().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_looking_sends_nothing_and_says_what_it_could_not_see() {
    let (server, names) = (Server::good().await, published());
    let folder = folder(&server);
    let (code, out, err) = test(folder.path(), &names, &["--no-send"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let silent = NameServer::start(vec![("example.org", Data::Mx(10, "mail.example.org."))], "_dmarc.example.org");
    let (_, out, _) = test(folder.path(), &silent, &["--no-send"]).await;
    assert!(out.contains("unknown  DMARC      looking up `_dmarc.example.org` failed"), "{out}");
    assert!(server.taken().is_empty() && server.look(|seen| seen.connections == 0));
    let (code, _, err) = test(folder.path(), &names, &["--no-send", "--to", "ann@example.net"]).await;
    assert_eq!(code, Some(2), "{err}");
}
