//! What the domain that readers see asks of others (RFC 7489): what to do with mail that neither SPF
//! nor DKIM proves to be its own.

use super::{
    Finding, Verdict,
    dkim::tag,
    unknown,
    zone::{Answer, Zone},
};

const ABOUT: &str = "DMARC";

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// The domain at which it stands: what lies below it belongs together.
    pub at: String,
    /// Whether SPF must prove the very domain.
    pub is_spf_strict: bool,
    /// Whether DKIM must.
    pub is_dkim_strict: bool,
}

/// The policy for mail from a domain: its own, or that of the nearest domain above it.
pub(super) fn look_up(domain: &str, zone: &dyn Zone) -> (Option<Policy>, Finding) {
    let about = |verdict, text: String| Finding::new(ABOUT, verdict, text);
    let name = format!("_dmarc.{domain}");
    let mut at = domain;
    let records = loop {
        let found: Vec<String> = match zone.txt(&format!("_dmarc.{at}")) {
            Answer::Found(texts) => texts.into_iter().filter(|text| is_policy(text)).collect(),
            Answer::Nothing => Vec::new(),
            Answer::Failed(why) => return (None, unknown(ABOUT, &format!("_dmarc.{at}"), &why)),
        };
        // A name without a dot is no domain that anyone has.
        match at.split_once('.').filter(|(_, above)| found.is_empty() && above.contains('.')) {
            Some((_, above)) => at = above,
            None => break found,
        }
    };
    let proposal = "v=DMARC1; p=none";
    let record = match records.as_slice() {
        [] => {
            let text = format!(
                "there is no policy at `{name}`: large providers want one of whoever sends much. This one asks for nothing yet; \
                 `p=quarantine` or `p=reject` keep others from writing in your name"
            );
            return (None, about(Verdict::Bad, text).publish(&name, proposal));
        }
        [one] => one,
        several => {
            let text = format!("{} policies stand at `_dmarc.{at}`, so that none counts: keep one", several.len());
            return (None, about(Verdict::Bad, text).publish(&format!("_dmarc.{at}"), proposal));
        }
    };
    let is_strict = |name: &str| tag(record, name).is_some_and(|mode| mode.eq_ignore_ascii_case("s"));
    let policy = Policy { at: at.to_owned(), is_spf_strict: is_strict("aspf"), is_dkim_strict: is_strict("adkim") };
    let asked = if at == domain { None } else { tag(record, "sp") };
    let asked = asked.or_else(|| tag(record, "p")).unwrap_or_default().to_ascii_lowercase();
    let finding = match asked.as_str() {
        "none" => about(Verdict::Good, format!("`_dmarc.{at}` asks for nothing (`p=none`): enough to begin with")),
        "quarantine" => {
            about(Verdict::Good, format!("`_dmarc.{at}` sends to the spam folder what is not aligned (`p=quarantine`)"))
        }
        "reject" => about(Verdict::Good, format!("`_dmarc.{at}` has refused what is not aligned (`p=reject`)")),
        other => {
            let text =
                format!("`_dmarc.{at}` asks for `p={other}`, which is neither `none`, `quarantine` nor `reject`");
            about(Verdict::Bad, text).publish(&format!("_dmarc.{at}"), proposal)
        }
    };
    (Some(policy), finding)
}

/// Its first tag must be its version, in these very letters.
fn is_policy(text: &str) -> bool {
    let first = text.split(';').next().and_then(|tag| tag.split_once('='));
    first.is_some_and(|(name, value)| name.trim() == "v" && value.trim() == "DMARC1")
}
