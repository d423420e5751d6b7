//! What is said of domains that are set up in every way that one sees.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use super::*;
use crate::{config::Dkim, config::MailSecurity, domain::subscriber::Address, secret::Secret};

/// What is published, by name; `None`: the name servers do not answer.
#[derive(Default)]
struct Published {
    texts: BTreeMap<String, Option<Vec<String>>>,
    mx: BTreeMap<String, Vec<String>>,
    addresses: BTreeMap<String, Vec<IpAddr>>,
    asked: RefCell<usize>,
}

impl Zone for Published {
    fn txt(&self, name: &str) -> Answer<Vec<String>> {
        *self.asked.borrow_mut() += 1;
        match self.texts.get(name) {
            Some(Some(texts)) => Answer::Found(texts.clone()),
            Some(None) => Answer::Failed("no answer in time".to_owned()),
            None => Answer::Nothing,
        }
    }

    fn mx(&self, name: &str) -> Answer<Vec<String>> {
        self.mx.get(name).map_or(Answer::Nothing, |servers| Answer::Found(servers.clone()))
    }

    fn addresses(&self, name: &str) -> Answer<BTreeSet<IpAddr>> {
        self.addresses.get(name).map_or(Answer::Nothing, |all| Answer::Found(all.iter().copied().collect()))
    }
}

impl Published {
    fn txt(mut self, name: &str, texts: &[&str]) -> Self {
        self.texts.insert(name.to_owned(), Some(texts.iter().map(|&text| text.to_owned()).collect()));
        self
    }

    fn silent(mut self, name: &str) -> Self {
        self.texts.insert(name.to_owned(), None);
        self
    }

    fn at(mut self, name: &str, addresses: &[&str]) -> Self {
        self.addresses.insert(name.to_owned(), addresses.iter().map(|text| text.parse().unwrap()).collect());
        self
    }

    fn exchange(mut self, name: &str, servers: &[&str]) -> Self {
        self.mx.insert(name.to_owned(), servers.iter().map(|&server| server.to_owned()).collect());
        self
    }
}

const KEY: &str = include_str!("../../../tests/configs/valid/dkim.pem");

fn email() -> Email {
    Email {
        from_name: String::new(),
        from: Address::parse("status@example.org").unwrap(),
        transport: MailTransport::Smtp {
            host: "mail.example.org".to_owned(),
            port: 587,
            security: MailSecurity::StartTls,
        },
        credentials: None,
        connections: 1,
        rate_per_second: None,
        envelope_from: "bounces+{token}@example.org".to_owned(),
        dkim: Some(Dkim {
            domain: "example.org".to_owned(),
            selector: "s1".to_owned(),
            key: Secret::new(KEY.to_owned()),
        }),
    }
}

/// As it should be.
fn good() -> Published {
    let key = SigningKey::parse(KEY).unwrap().record();
    Published::default()
        .exchange("example.org", &["mail.example.org."])
        .at("mail.example.org", &["192.0.2.1"])
        .txt("example.org", &["v=spf1 mx -all", "another=text"])
        .txt("s1._domainkey.example.org", &[&key])
        .txt("_dmarc.example.org", &["v=DMARC1; p=reject; rua=mailto:dmarc@example.org"])
}

fn look(email: &Email, zone: &Published) -> Vec<Finding> {
    Sender::new(email).look_up(zone)
}

fn about(name: &str, zone: &Published) -> Finding {
    look(&email(), zone).into_iter().find(|finding| finding.about == name).unwrap()
}

fn spf(zone: Published, record: &str) -> Finding {
    about("SPF", &zone.txt("example.org", &[record]))
}

#[test]
fn a_domain_as_it_should_be_is_good_throughout() {
    let findings = look(&email(), &good());
    let all: Vec<_> = findings.iter().map(|finding| (finding.about, finding.verdict)).collect();
    let expected = ["MX", "SPF", "DKIM", "DMARC", "alignment"].map(|about| (about, Verdict::Good));
    assert_eq!(all, expected, "{findings:?}");
    assert!(findings.iter().all(|finding| finding.record.is_none()));
}

#[test]
fn where_nothing_is_published_each_missing_record_is_given_whole() {
    let findings = look(&email(), &Published::default());
    let records: Vec<String> =
        findings.iter().filter_map(|finding| Some(finding.record.as_ref()?.to_string())).collect();
    assert_eq!(records[0], "example.org. MX 10 mail.example.org.");
    assert_eq!(records[1], "example.org. TXT \"v=spf1 a:mail.example.org -all\"");
    assert!(records[2].starts_with("s1._domainkey.example.org. TXT \"v=DKIM1; k=rsa; p=MII"), "{}", records[2]);
    // No string in it may be longer than 255 bytes, and together they are the whole.
    let strings: Vec<&str> = records[2].split('"').skip(1).step_by(2).collect();
    assert!(strings.len() == 2 && strings.iter().all(|string| string.len() <= 255), "{}", records[2]);
    assert_eq!(strings.concat(), SigningKey::parse(KEY).unwrap().record());
    assert_eq!(records[3], "_dmarc.example.org. TXT \"v=DMARC1; p=none\"");
    assert!(findings[..4].iter().all(|finding| finding.verdict == Verdict::Bad));
}

#[test]
fn what_name_servers_do_not_say_is_not_called_missing() {
    for (name, what) in [("example.org", "SPF"), ("s1._domainkey.example.org", "DKIM"), ("_dmarc.example.org", "DMARC")]
    {
        let finding = about(what, &good().silent(name));
        assert_eq!((finding.verdict, finding.record), (Verdict::Unknown, None), "{name}");
    }
}

#[test]
fn spf_says_how_a_record_ends_and_what_it_costs() {
    let finding = spf(good(), "v=spf1 ip4:192.0.2.0/24 a mx include:_spf.example.net ~all");
    assert_eq!(finding.verdict, Verdict::Bad, "the include leads nowhere: {}", finding.text);
    let zone = || good().txt("_spf.example.net", &["v=spf1 ip6:2001:db8::/32 ip4:198.51.100.7 ?all"]);
    let finding = spf(zone(), "v=spf1 ip4:192.0.2.0/24 a:mail.example.org mx include:_spf.example.net ~all");
    assert_eq!(finding.verdict, Verdict::Good);
    assert!(finding.text.contains("ends in `~all`, and it costs 3 of the 10 lookups"), "{}", finding.text);
    assert!(finding.text.contains("lists 192.0.2.1, where mail.example.org answers"), "{}", finding.text);
    for (record, verdict, words) in [
        ("v=spf1 mx", Verdict::Note, "says nothing of all others"),
        ("v=spf1 mx ?all", Verdict::Note, "says nothing of all others"),
        ("v=spf1 mx +all", Verdict::Bad, "lets everybody write in your name"),
        ("v=spf1 all", Verdict::Bad, "lets everybody write in your name"),
        ("V=SPF1 -ALL", Verdict::Good, "ends in `-all`"),
        ("v=spf1 redirect=_spf.example.net", Verdict::Note, "costs 1 of the 10"),
        ("v=spf1 mx -all redirect=nowhere.example", Verdict::Good, "costs 1 of the 10"),
        ("v=spf1 ip4:192.0.2.300 -all", Verdict::Bad, "`ip4:192.0.2.300` is no term of SPF"),
        ("v=spf1 ip4:2001:db8::1 -all", Verdict::Bad, "is no term of SPF"),
        ("v=spf1 a/33 -all", Verdict::Bad, "`a/33` is no term of SPF"),
        ("v=spf1 inlcude:_spf.example.net -all", Verdict::Bad, "`inlcude:_spf.example.net` is no term of SPF"),
        ("v=spf1 include: -all", Verdict::Bad, "is no term of SPF"),
        ("v=spf1 a:mail.example.org/24//64 exp=why.example.org -all", Verdict::Good, "ends in `-all`"),
        ("v=spf1 exists:%{i}.x.example.org include:%{d}.example -all", Verdict::Good, "costs 2 of the 10"),
    ] {
        let finding = spf(zone(), record);
        assert_eq!(finding.verdict, verdict, "{record}: {}", finding.text);
        assert!(finding.text.contains(words), "{record}: {}", finding.text);
    }
}

#[test]
fn spf_that_takes_too_many_lookups_or_leads_in_a_circle_is_broken() {
    let mut zone = good();
    for n in 0..20 {
        zone = zone.txt(&format!("n{n}.example"), &["v=spf1 a:mail.example.org -all"]);
    }
    let record = |n: usize| {
        let includes: Vec<String> = (0..n).map(|n| format!("include:n{n}.example")).collect();
        format!("v=spf1 {} -all", includes.join(" "))
    };
    let (five, six) = (record(5), record(6));
    let mut texts = zone.txt("example.org", &[&five]);
    assert_eq!(about("SPF", &texts).verdict, Verdict::Good);
    texts = texts.txt("example.org", &[&six]);
    let finding = about("SPF", &texts);
    assert!(finding.verdict == Verdict::Bad && finding.text.contains("more than 10 lookups"), "{}", finding.text);

    let circle = good()
        .txt("a.example", &["v=spf1 include:b.example -all"])
        .txt("b.example", &["v=spf1 include:a.example -all"]);
    let finding = spf(circle, "v=spf1 include:a.example -all");
    assert!(finding.verdict == Verdict::Bad && finding.text.contains("more than 10 lookups"), "{}", finding.text);

    let finding = spf(good(), "v=spf1 a:x.example a:y.example a:z.example -all");
    assert!(finding.text.contains("more than 2 of its names do not exist"), "{}", finding.text);
    let two = good().txt("example.org", &["v=spf1 mx -all", "v=spf1 a -all"]);
    let finding = about("SPF", &two);
    assert!(finding.verdict == Verdict::Bad && finding.text.starts_with("2 SPF records"), "{}", finding.text);
    assert!(about("SPF", &good().txt("example.org", &["v=spf10 -all"])).text.contains("no SPF record"));
}

#[test]
fn spf_never_claims_that_the_relay_passes() {
    let local = |host: &str| {
        let transport = MailTransport::Smtp { host: host.to_owned(), port: 25, security: MailSecurity::Plain };
        look(&Email { transport, ..email() }, &good()).remove(1).text
    };
    assert!(local("127.0.0.1").contains("under which address others see it is not known here"));
    assert!(local("localhost").contains("is not known here"));
    assert!(local("203.0.113.9").contains("It does not list 203.0.113.9"));
    for host in ["127.0.0.1", "203.0.113.9", "mail.example.org"] {
        assert!(local(host).contains("only a mail that arrives can show"), "{host}");
    }
}

#[test]
fn the_key_in_dns_is_compared_with_ours() {
    let own = SigningKey::parse(KEY).unwrap();
    let p = dkim::tag(&own.record(), "p").unwrap();
    let other = {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        SigningKey::parse(&key).unwrap().record()
    };
    let spaced = format!("k=rsa; p={} {}", &p[..50], &p[50..]);
    for (texts, verdict, words) in [
        (vec![&*spaced], Verdict::Good, "the public half"),
        (vec![&*format!("v=DKIM1; h=sha1:sha256; p={p}"), "unrelated"], Verdict::Good, "the public half"),
        (vec![&*format!("v=DKIM1; t=y; p={p}")], Verdict::Note, "on trial"),
        (vec!["v=DKIM1; p="], Verdict::Bad, "revoked"),
        (vec![&*format!("v=DKIM1; p={}", &p[..p.len() - 8])], Verdict::Bad, "another one"),
        (vec![&*other], Verdict::Bad, "another one"),
        (vec![&*format!("v=DKIM1; k=ed25519; p={p}")], Verdict::Bad, "`k=ed25519`"),
        (vec![&*format!("v=DKIM1; h=sha1; p={p}")], Verdict::Bad, "forbids SHA-256"),
        (vec![&*format!("v=DKIM2; p={p}")], Verdict::Bad, "another version"),
        (vec![&*format!("p={p}"), &*other], Verdict::Bad, "2 keys"),
        (vec!["hello"], Verdict::Bad, "there is no key"),
    ] {
        let finding = about("DKIM", &good().txt("s1._domainkey.example.org", &texts));
        assert_eq!(finding.verdict, verdict, "{texts:?}: {}", finding.text);
        assert!(finding.text.contains(words), "{texts:?}: {}", finding.text);
        assert_eq!(finding.record.is_some(), verdict == Verdict::Bad);
    }
    let unsigned = look(&Email { dkim: None, ..email() }, &good()).remove(2);
    assert!(unsigned.verdict == Verdict::Note && unsigned.text.contains("List-Unsubscribe-Post"));
}

#[test]
fn a_policy_is_found_above_and_said_in_words() {
    let of = |name: &str, texts: &[&str]| {
        let mut zone = good();
        zone.texts.remove("_dmarc.example.org");
        about("DMARC", &zone.txt(name, texts))
    };
    for (texts, verdict, words) in [
        (&["v=DMARC1; p=none"][..], Verdict::Good, "enough to begin with"),
        (&["v=DMARC1; p=Quarantine", "other"], Verdict::Good, "spam folder"),
        (&["v=DMARC1; p=refuse"], Verdict::Bad, "neither"),
        (&["v=DMARC1; rua=mailto:x@example.org"], Verdict::Bad, "neither"),
        (&["p=reject; v=DMARC1"], Verdict::Bad, "there is no policy"),
        (&["v=DMARC1; p=none", "v=DMARC1; p=reject"], Verdict::Bad, "2 policies"),
    ] {
        let finding = of("_dmarc.example.org", texts);
        assert_eq!(finding.verdict, verdict, "{texts:?}: {}", finding.text);
        assert!(finding.text.contains(words), "{texts:?}: {}", finding.text);
    }
    let below = Email { from: Address::parse("status@news.example.org").unwrap(), ..email() };
    let zone = good().txt("_dmarc.example.org", &["v=DMARC1; p=reject; sp=quarantine"]);
    let finding = look(&below, &zone).remove(3);
    assert!(finding.verdict == Verdict::Good && finding.text.contains("p=quarantine"), "{}", finding.text);
}

#[test]
fn alignment_is_what_dmarc_takes_for_it() {
    let found = |from: &str, envelope: &str, signs: Option<&str>, policy: &str| {
        let dkim = signs.map(|domain| Dkim { domain: domain.to_owned(), ..email().dkim.unwrap() });
        let email = Email { from: Address::parse(from).unwrap(), envelope_from: envelope.to_owned(), dkim, ..email() };
        let zone = good().txt("_dmarc.example.org", &[policy]);
        look(&email, &zone).pop().unwrap()
    };
    let relaxed = "v=DMARC1; p=reject";
    for (from, envelope, signs, policy, verdict, words) in [
        ("a@example.org", "", Some("example.org"), relaxed, Verdict::Good, "both"),
        ("a@example.org", "b@bounces.example.org", Some("example.org"), relaxed, Verdict::Good, "both"),
        ("a@news.example.org", "b@bounces.example.org", Some("mail.example.org"), relaxed, Verdict::Good, "both"),
        ("a@example.org", "b@relay.example", Some("example.org"), relaxed, Verdict::Good, "the signature alone"),
        ("a@example.org", "", Some("relay.example"), relaxed, Verdict::Bad, "the signature is not of"),
        ("a@example.org", "", None, relaxed, Verdict::Note, "forwarded"),
        ("a@example.org", "b@relay.example", None, relaxed, Verdict::Bad, "forged for DMARC"),
        ("a@example.org", "b@relay.example", Some("relay.example"), relaxed, Verdict::Bad, "neither"),
        (
            "a@example.org",
            "b@x.example.org",
            Some("x.example.org"),
            "v=DMARC1; p=none; adkim=s; aspf=s",
            Verdict::Bad,
            "neither",
        ),
        ("a@example.org", "", Some("notexample.org"), relaxed, Verdict::Bad, "the signature is not of"),
    ] {
        let finding = found(from, envelope, signs, policy);
        assert_eq!(finding.verdict, verdict, "{from} {envelope} {signs:?}: {}", finding.text);
        assert!(finding.text.contains(words), "{from} {envelope} {signs:?}: {}", finding.text);
    }
}

#[test]
fn bounces_need_somewhere_to_go() {
    let mut zone = good();
    zone.mx.clear();
    assert_eq!(about("MX", &zone).verdict, Verdict::Bad);
    let zone = zone.at("example.org", &["192.0.2.7"]);
    assert_eq!(about("MX", &zone).verdict, Verdict::Note);
    let zone = zone.exchange("example.org", &["."]);
    let finding = about("MX", &zone);
    assert!(finding.verdict == Verdict::Bad && finding.text.contains("takes no mail"), "{}", finding.text);
}

#[test]
fn mails_in_a_folder_have_no_relay_to_speak_of() {
    let email = Email { transport: MailTransport::Dir(PathBuf::from("mails")), ..email() };
    assert_eq!(look(&email, &good())[1].verdict, Verdict::Good);
    let spf = look(&email, &Published::default()).remove(1);
    assert_eq!(spf.record.unwrap().value, "v=spf1 mx -all");
}
