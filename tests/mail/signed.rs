//! DKIM signatures, checked by somebody else's code: `dkimpy`, if Python has it.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use watchbell::{config::Dkim, secret::Secret};

use super::fixture::{World, at, composer, email};
use crate::support::skip::program;

/// What is signed, and must not be changed by anybody on the way (RFC 8058 for the list's own).
const SIGNED: &str = "From,To,Subject,Date,Message-ID,MIME-Version,Content-Type,Auto-Submitted,References,In-Reply-To,\
                      List-Id,List-Unsubscribe,List-Unsubscribe-Post";

/// Reads a message; takes the public key, and names of headers. Says what is wrong with the signature:
/// that it is broken, that one of them may be changed, or that another may be put in front.
const VERIFY: &str = r"
import sys, re, dkim
record, names = sys.argv[1].encode(), sys.argv[2].split(',')
message = sys.stdin.buffer.read()
def good(message):
    return dkim.verify(message, dnsfunc=lambda name, timeout=5: record)
wrong = [] if good(message) else ['it is broken']
for name in names:
    start = re.compile(b'^' + name.encode() + b': ', re.M | re.I)
    if not start.search(message):
        wrong.append('there is no ' + name)
    elif good(start.sub(lambda found: found.group(0) + b'x', message, count=1)):
        wrong.append(name + ' may be changed')
for name in ['From', 'To', 'Subject', 'Date']:
    if good(name.encode() + b': eve@example.com' + b'\r\n' + message):
        wrong.append('another ' + name + ' may be put in front')
for old, new in [(b'unsubscribe/', b'unsubscribe/x'), (b'One-Click', b'Two-Click'), (b'API', b'APA')]:
    if old not in message or good(message.replace(old, new)):
        wrong.append('%r may become %r' % (old, new))
sys.exit(', '.join(wrong) or 0)
";

fn openssl(program: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn signatures_with_every_kind_of_key_are_good_for_another_programs_eyes() {
    let Some(python) = program("venv-python") else { crate::skip!("dkimpy is not installed") };
    let Some(openssl_program) = program("openssl") else { crate::skip!("openssl is not installed") };
    let openssl = |arguments: &[&str], input: &[u8]| openssl(&openssl_program, arguments, input);
    let rsa = openssl(&["genrsa", "2048"], b"");
    let pkcs1 = openssl(&["rsa", "-traditional"], &rsa);
    let ed25519 = openssl(&["genpkey", "-algorithm", "ed25519"], b"");
    for (key, algorithm) in [(rsa, "rsa"), (pkcs1, "rsa"), (ed25519, "ed25519")] {
        let public = openssl(&["pkey", "-pubout", "-outform", "DER"], &key);
        // An Ed25519 record holds the bare 32 bytes (RFC 8463, section 4).
        let public = if algorithm == "rsa" { &public[..] } else { &public[public.len() - 32..] };
        let record = format!("v=DKIM1; k={algorithm}; p={}", STANDARD.encode(public));
        let mut email = email();
        email.dkim = Some(Dkim {
            domain: "example.org".to_owned(),
            selector: "s1".to_owned(),
            key: Secret::new(String::from_utf8(key).unwrap()),
        });
        let mut world = World::new(1);
        world.opens(0);
        let mut ledger = world.ledger();
        let mut outbox = world.outbox(1);
        outbox.reconfigure(composer(&email), 1, None);
        let message = outbox.poll(&mut ledger, at(0)).unwrap().remove(0);
        let verify = ["-c", VERIFY, &record, SIGNED];
        let mut child =
            Command::new(&python).args(verify).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&message.bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{algorithm}: {wrong}\n{}", String::from_utf8_lossy(&message.bytes));
    }
}
