//! The key with which others check our signatures (RFC 6376, section 3.6.1; RFC 8463).

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Finding, Verdict, unknown,
    zone::{Answer, Zone},
};
use crate::config::signing::SigningKey;

const ABOUT: &str = "DKIM";

/// Mail that watchbell does not sign.
pub(super) fn unsigned() -> Finding {
    Finding::new(
        ABOUT,
        Verdict::Note,
        "watchbell signs nothing (`[email] dkim`): the mail server must, and its signature must cover List-Unsubscribe and \
         List-Unsubscribe-Post, or mail programs offer no one-click way out",
    )
}

/// Whether the key at its place is ours.
pub(super) fn look_up(domain: &str, selector: &str, key: &SigningKey, zone: &dyn Zone) -> Finding {
    let name = format!("{selector}._domainkey.{domain}");
    let about = |verdict, text: String| Finding::new(ABOUT, verdict, text);
    let bad = |text: String| about(Verdict::Bad, text).publish(&name, key.record());
    let records: Vec<String> = match zone.txt(&name) {
        Answer::Found(texts) => texts.into_iter().filter(|text| tag(text, "p").is_some()).collect(),
        Answer::Nothing => Vec::new(),
        Answer::Failed(why) => return unknown(ABOUT, &name, &why),
    };
    let record = match records.as_slice() {
        [] => {
            return bad(format!("there is no key at `{name}`: every signature counts as broken until it is published"));
        }
        [one] => one,
        several => {
            let text = format!("{} keys stand at `{name}`: which one counts is chance; keep this one", several.len());
            return bad(text);
        }
    };
    let published: String = tag(record, "p").unwrap_or_default().split_whitespace().collect();
    if published.is_empty() {
        return bad(format!(
            "the key at `{name}` is revoked (its `p=` is empty): publish a key again, or another selector"
        ));
    }
    let is_ours = STANDARD.decode(&published).is_ok_and(|bytes| key.is_public_key(&bytes));
    if !is_ours {
        return bad(format!("the key at `{name}` is another one than that of `dkim.key`: every signature is broken"));
    }
    let kind = tag(record, "k").unwrap_or_else(|| "rsa".to_owned());
    if kind != key.kind() {
        return bad(format!("the key at `{name}` says that it is `k={kind}`, and is {}", key.kind()));
    }
    if tag(record, "h").is_some_and(|hashes| !hashes.split(':').any(|hash| hash.trim() == "sha256")) {
        return bad(format!("the key at `{name}` forbids SHA-256 (`h=`), with which all mail is signed"));
    }
    if tag(record, "v").is_some_and(|version| version != "DKIM1") {
        return bad(format!("the key at `{name}` begins with another version than `v=DKIM1`"));
    }
    if tag(record, "t").is_some_and(|flags| flags.split(':').any(|flag| flag.trim() == "y")) {
        let text =
            format!("the key at `{name}` is ours, but on trial (`t=y`): signatures count for nothing until that goes");
        return about(Verdict::Note, text);
    }
    if matches!(key, SigningKey::Ed25519(_)) {
        let text = format!(
            "the key at `{name}` is ours. It is an Ed25519 key, which several large providers cannot check yet: an RSA key of \
             2048 bits is understood by all"
        );
        return about(Verdict::Note, text);
    }
    about(Verdict::Good, format!("the key at `{name}` is the public half of `dkim.key`: signatures can be checked"))
}

/// The value of one tag of a list such as `v=DKIM1; k=rsa` (RFC 6376, section 3.2).
pub(super) fn tag(record: &str, name: &str) -> Option<String> {
    record.split(';').find_map(|tag| {
        let (found, value) = tag.split_once('=')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}
