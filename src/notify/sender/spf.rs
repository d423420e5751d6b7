//! From where a domain's mail may come (RFC 7208). Whether the relay's is among it nobody can say from
//! here: it may pass mail on from another address than the one at which it listens.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    Finding, Verdict, listed, unknown,
    zone::{Answer, Zone},
};

const ABOUT: &str = "SPF";
/// RFC 7208, section 4.6.4.
const MOST_LOOKUPS: usize = 10;
/// And of those so many may find nothing.
const MOST_VOIDS: usize = 2;
/// A record that refers on and on ends here, long after it was found to be too long.
const DEEPEST: usize = 12;

/// One term, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    All(Qualifier),
    /// The record of another domain counts here too.
    Include(String),
    Networks(IpNet),
    /// Addresses of a name, with so many bits.
    Hosts {
        name: Option<String>,
        v4: u8,
        v6: u8,
    },
    Exchanges {
        name: Option<String>,
        v4: u8,
        v6: u8,
    },
    /// `exists` and `ptr`: known only by whoever receives.
    Asked,
    Redirect(String),
    /// `exp`, and modifiers that are not known: they change nothing.
    Nothing,
    /// A term of another qualifier than `+`: who it names does not pass.
    Kept(Box<Term>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// What following a record has led to.
struct Walk<'a> {
    zone: &'a dyn Zone,
    lookups: usize,
    voids: usize,
    networks: Vec<IpNet>,
    /// Whether some of it is known only by whoever receives.
    is_open: bool,
}

/// Why a record cannot be followed to its end.
enum Broken {
    /// It is wrong.
    Wrong(String),
    /// Name servers did not say.
    Unknown(String, String),
}

/// The record of the envelope's domain.
pub(super) fn look_up(domain: &str, relay: Option<&str>, zone: &dyn Zone) -> Finding {
    let about = |verdict, text: String| Finding::new(ABOUT, verdict, text);
    let (server, proposal) = match relay {
        Some(host) if host.parse::<IpAddr>().is_err() && host != "localhost" => (host, format!("v=spf1 a:{host} -all")),
        Some(host) => (host, "v=spf1 mx -all".to_owned()),
        None => ("the mail server", "v=spf1 mx -all".to_owned()),
    };
    let bad = |text: String| about(Verdict::Bad, text);
    let records = match records(domain, zone) {
        Answer::Found(records) => records,
        Answer::Nothing => Vec::new(),
        Answer::Failed(why) => return unknown(ABOUT, domain, &why),
    };
    let record = match records.as_slice() {
        [] => {
            let text = format!(
                "there is no SPF record at `{domain}`, which would say from where its mail may come. The one below is right if \
                 {server} is your own server; a provider documents an `include:` to put there instead"
            );
            return bad(text).publish(domain, proposal);
        }
        [one] => one,
        several => {
            let text =
                format!("{} SPF records stand at `{domain}`, so that none counts: make one of them", several.len());
            return bad(text);
        }
    };
    let mut walk = Walk { zone, lookups: 0, voids: 0, networks: Vec::new(), is_open: false };
    let end = match walk.follow(domain, record, 0) {
        Ok(end) => end,
        Err(Broken::Wrong(why)) => return bad(format!("the SPF record of `{domain}` counts as broken: {why}")),
        Err(Broken::Unknown(name, why)) => return unknown(ABOUT, &name, &why),
    };
    let cost = format!("it costs {} of the {MOST_LOOKUPS} lookups that are allowed", walk.lookups);
    let known = walk.says_of(relay);
    match end {
        Some(Qualifier::Pass) => bad(format!(
            "the SPF record of `{domain}` ends in `+all`: it lets everybody write in your name; end it in `-all`"
        )),
        Some(Qualifier::Fail | Qualifier::SoftFail) => {
            let mark = if end == Some(Qualifier::Fail) { "-all" } else { "~all" };
            about(Verdict::Good, format!("`{domain}` has one SPF record, it ends in `{mark}`, and {cost}. {known}"))
        }
        Some(Qualifier::Neutral) | None => about(
            Verdict::Note,
            format!(
                "`{domain}` has one SPF record, and {cost}, but it says nothing of all others: end it in `-all`. {known}"
            ),
        ),
    }
}

/// The SPF records among the texts of a domain.
fn records(domain: &str, zone: &dyn Zone) -> Answer<Vec<String>> {
    let is_spf = |text: &String| {
        text.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("v=spf1"))
            && text.get(6..).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    match zone.txt(domain) {
        Answer::Found(texts) => {
            let found: Vec<String> = texts.into_iter().filter(is_spf).collect();
            if found.is_empty() { Answer::Nothing } else { Answer::Found(found) }
        }
        other => other,
    }
}

impl Walk<'_> {
    /// Follows a record; what it says of whoever it does not name.
    fn follow(&mut self, domain: &str, record: &str, depth: usize) -> Result<Option<Qualifier>, Broken> {
        if depth > DEEPEST {
            return Err(Broken::Wrong(format!("it leads on and on, at last to `{domain}`")));
        }
        let mut redirect = None;
        let mut end = None;
        for word in record.split_ascii_whitespace().skip(1) {
            match parse(word).map_err(|why| Broken::Wrong(format!("{why}, in the record of `{domain}`")))? {
                Term::All(qualifier) => {
                    end = Some(qualifier);
                    break;
                }
                Term::Redirect(target) => redirect = Some(target),
                term => self.take(domain, &term, true, depth)?,
            }
        }
        // Whoever says something of all others needs nobody else for it.
        let Some(target) = redirect.filter(|_| end.is_none()) else { return Ok(end) };
        let record = self.refer(&target, "redirect=")?;
        match record {
            Some(record) => self.follow(&target, &record, depth + 1),
            None => Ok(None),
        }
    }

    fn take(&mut self, domain: &str, term: &Term, passes: bool, depth: usize) -> Result<(), Broken> {
        match term {
            Term::Kept(term) => self.take(domain, term, false, depth),
            Term::Include(target) => {
                if let Some(record) = self.refer(target, "include:")? {
                    let before = self.networks.len();
                    self.follow(target, &record, depth + 1)?;
                    if !passes {
                        self.networks.truncate(before);
                    }
                }
                Ok(())
            }
            Term::Networks(network) => {
                self.networks.extend(passes.then_some(*network));
                Ok(())
            }
            Term::Hosts { name, v4, v6 } => {
                self.count()?;
                let Some(name) = self.known(name.as_deref().unwrap_or(domain)) else { return Ok(()) };
                let found = self.addresses(&name)?;
                self.add(&found, *v4, *v6, passes);
                Ok(())
            }
            Term::Exchanges { name, v4, v6 } => {
                self.count()?;
                let Some(name) = self.known(name.as_deref().unwrap_or(domain)) else { return Ok(()) };
                let servers = match self.zone.mx(&name) {
                    Answer::Found(servers) if servers.len() > MOST_LOOKUPS => {
                        return Err(Broken::Wrong(format!(
                            "`mx` means {} servers of `{name}`, and 10 is the most",
                            servers.len()
                        )));
                    }
                    Answer::Found(servers) => servers,
                    Answer::Nothing => {
                        self.void(&name)?;
                        Vec::new()
                    }
                    Answer::Failed(why) => return Err(Broken::Unknown(name, why)),
                };
                for server in servers {
                    let found = self.addresses(server.trim_end_matches('.'))?;
                    self.add(&found, *v4, *v6, passes);
                }
                Ok(())
            }
            Term::Asked => {
                self.is_open = true;
                self.count()
            }
            Term::All(_) | Term::Redirect(_) | Term::Nothing => Ok(()),
        }
    }

    /// The record that another one refers to; `None` if only whoever receives can know which.
    fn refer(&mut self, target: &str, by: &str) -> Result<Option<String>, Broken> {
        self.count()?;
        let Some(target) = self.known(target) else { return Ok(None) };
        match records(&target, self.zone) {
            Answer::Found(found) => match <[String; 1]>::try_from(found) {
                Ok([record]) => Ok(Some(record)),
                Err(several) => Err(Broken::Wrong(format!("{} records stand at `{target}`", several.len()))),
            },
            Answer::Nothing => Err(Broken::Wrong(format!("`{by}{target}` leads to no SPF record"))),
            Answer::Failed(why) => Err(Broken::Unknown(target, why)),
        }
    }

    /// A name as it is, unless it has macros in it: they stand for the mail in question.
    fn known(&mut self, name: &str) -> Option<String> {
        if name.contains('%') {
            self.is_open = true;
            return None;
        }
        Some(name.to_owned())
    }

    fn count(&mut self) -> Result<(), Broken> {
        self.lookups += 1;
        if self.lookups > MOST_LOOKUPS {
            let why = format!(
                "it takes more than {MOST_LOOKUPS} lookups; replace an `include:`, `a` or `mx` by the addresses it means"
            );
            return Err(Broken::Wrong(why));
        }
        Ok(())
    }

    fn void(&mut self, name: &str) -> Result<(), Broken> {
        self.voids += 1;
        if self.voids > MOST_VOIDS {
            return Err(Broken::Wrong(format!(
                "more than {MOST_VOIDS} of its names do not exist, the last one `{name}`"
            )));
        }
        Ok(())
    }

    fn addresses(&mut self, name: &str) -> Result<BTreeSet<IpAddr>, Broken> {
        match self.zone.addresses(name) {
            Answer::Found(found) => Ok(found),
            Answer::Nothing => self.void(name).map(|()| BTreeSet::new()),
            Answer::Failed(why) => Err(Broken::Unknown(name.to_owned(), why)),
        }
    }

    fn add(&mut self, found: &BTreeSet<IpAddr>, v4: u8, v6: u8, passes: bool) {
        let network = |address: &IpAddr| IpNet::new(*address, if address.is_ipv4() { v4 } else { v6 }).ok();
        if passes {
            self.networks.extend(found.iter().filter_map(network));
        }
    }

    /// What can be said of the relay, and what cannot.
    fn says_of(&self, relay: Option<&str>) -> String {
        let Some(host) = relay else { return String::new() };
        let addresses: BTreeSet<IpAddr> = match host.trim_matches(['[', ']']).parse() {
            Ok(address) => BTreeSet::from([address]),
            Err(_) if host == "localhost" => BTreeSet::from([IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)]),
            Err(_) => match self.zone.addresses(host) {
                Answer::Found(found) => found,
                Answer::Nothing | Answer::Failed(_) => BTreeSet::new(),
            },
        };
        let (within, without): (Vec<&IpAddr>, Vec<&IpAddr>) =
            addresses.iter().partition(|address| self.networks.iter().any(|network| network.contains(*address)));
        let names = |all: &[&IpAddr]| listed(&all.iter().map(ToString::to_string).collect::<Vec<_>>());
        let open = if self.is_open { " as far as can be seen from here" } else { "" };
        let seen = if addresses.iter().all(IpAddr::is_loopback) {
            "The relay is on this machine; under which address others see it is not known here".to_owned()
        } else if without.is_empty() {
            format!("It lists {}, where {host} answers", names(&within))
        } else {
            format!("It does not list {}{open}, where {host} answers", names(&without))
        };
        format!("{seen}; that mail also leaves from there only a mail that arrives can show: look for `spf=pass` in it")
    }
}

/// One word of a record.
fn parse(word: &str) -> Result<Term, String> {
    let wrong = || format!("`{word}` is no term of SPF");
    if let Some((name, value)) = word.split_once('=')
        && !name.contains([':', '/'])
    {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        return match name.to_ascii_lowercase().as_str() {
            "redirect" if !value.is_empty() => Ok(Term::Redirect(value.to_ascii_lowercase())),
            "redirect" => Err(wrong()),
            other if other.starts_with(|c: char| c.is_ascii_alphabetic()) && other.chars().all(is_name) => {
                Ok(Term::Nothing)
            }
            _ => Err(wrong()),
        };
    }
    let (qualifier, rest) = match word.split_at_checked(1) {
        Some(("+", rest)) => (Qualifier::Pass, rest),
        Some(("-", rest)) => (Qualifier::Fail, rest),
        Some(("~", rest)) => (Qualifier::SoftFail, rest),
        Some(("?", rest)) => (Qualifier::Neutral, rest),
        _ => (Qualifier::Pass, word),
    };
    let at = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, rest) = rest.split_at_checked(at).ok_or_else(wrong)?;
    let value = rest.strip_prefix(':');
    let term = match (name.to_ascii_lowercase().as_str(), value) {
        ("all", None) if rest.is_empty() => return Ok(Term::All(qualifier)),
        ("include", Some(target)) if !target.is_empty() => Term::Include(target.to_ascii_lowercase()),
        ("exists", Some(target)) if !target.is_empty() => Term::Asked,
        ("ptr", _) => Term::Asked,
        ("ip4", Some(value)) => Term::Networks(network(value).filter(|net| net.addr().is_ipv4()).ok_or_else(wrong)?),
        ("ip6", Some(value)) => Term::Networks(network(value).filter(|net| net.addr().is_ipv6()).ok_or_else(wrong)?),
        ("a", _) => {
            let (name, v4, v6) = hosts(rest).ok_or_else(wrong)?;
            Term::Hosts { name, v4, v6 }
        }
        ("mx", _) => {
            let (name, v4, v6) = hosts(rest).ok_or_else(wrong)?;
            Term::Exchanges { name, v4, v6 }
        }
        _ => return Err(wrong()),
    };
    Ok(if qualifier == Qualifier::Pass { term } else { Term::Kept(Box::new(term)) })
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// What follows `a` or `mx`: `:name`, `/bits`, `//bits` of IPv6.
fn hosts(rest: &str) -> Option<(Option<String>, u8, u8)> {
    let (name, bits) = match rest.strip_prefix(':') {
        Some(rest) => {
            let (name, bits) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
            (Some(name).filter(|name| !name.is_empty())?, bits)
        }
        None => ("", rest),
    };
    let (v4, v6) = bits.split_once("//").unwrap_or((bits, ""));
    let v4 = if v4.is_empty() { 32 } else { v4.strip_prefix('/')?.parse().ok().filter(|bits| *bits <= 32)? };
    let v6 = if v6.is_empty() { 128 } else { v6.parse().ok().filter(|bits| *bits <= 128)? };
    Some((Some(name.to_ascii_lowercase()).filter(|name| !name.is_empty()), v4, v6))
}
