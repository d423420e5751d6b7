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

/// Reads a message, takes the public key from the arguments, and says whether the signature holds.
const VERIFY: &str = "
import sys, dkim
record = sys.argv[1].encode()
message = sys.stdin.buffer.read()
good = dkim.verify(message, dnsfunc=lambda name, timeout=5: record)
changed = dkim.verify(message.replace(b'unsubscribe/', b'unsubscribe/x'), dnsfunc=lambda name, timeout=5: record)
sys.exit(0 if good and not changed else 1)
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
        let mut child = Command::new(&python).args(["-c", VERIFY, &record]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&message.bytes).unwrap();
        assert!(child.wait().unwrap().success(), "{algorithm}\n{}", String::from_utf8_lossy(&message.bytes));
    }
}
