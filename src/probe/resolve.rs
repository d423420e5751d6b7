//! From names to addresses, afresh each time: nothing is cached.
//!
//! `/etc/hosts` first, then `localhost` (RFC 6761), then the name servers of `/etc/resolv.conf`.
//! Both files are read again when they change, so that a monitor that started before its network
//! needs no restart. Addresses that this machine has no way to are left out if another is left
//! (RFC 6724, rule 1), so that a name with an IPv6 address does not look down from an IPv4 network.

use std::{
    collections::HashMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::future::{self, Either};
use hickory_resolver::{
    TokioResolver,
    config::{ResolveHosts, ResolverOpts},
    net::NetError,
    proto::rr::{RData, RecordType},
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{
    reach::Reach,
    trace::{Stage, Trace},
};
use crate::{
    clock::{Clock, Elapsed},
    domain::service::IpVersion,
};

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A lost packet is sent again after at most this.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// How long addresses of the other family are waited for once those of one are there (RFC 8305).
const OTHER_FAMILY: Duration = Duration::from_millis(50);

/// Why a name gave no address.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LookupError {
    /// There is no such name, or it has no address (of the family asked for).
    #[error("no address found for `{0}`")]
    NotFound(String),
    /// The name servers did not answer, or answered with an error.
    #[error("looking up `{name}` failed: {error}")]
    Failed {
        /// The name.
        name: String,
        /// What went wrong.
        error: NetError,
    },
    /// This machine has no usable list of name servers.
    #[error("no name server can be asked: {0}")]
    Unusable(String),
}

impl LookupError {
    /// The error of the operating system beneath, if there is one.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Failed { error: NetError::Io(io), .. } => Some(io),
            _ => None,
        }
    }
}

/// An address that a redirect may not lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the redirect leads from an outer network to an inner address")]
pub struct FurtherIn;

/// Looks names up. Cheap to clone; clones share the name servers.
#[derive(Clone)]
pub struct Names {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    files: Mutex<Files>,
}

type Hosts = HashMap<String, Vec<IpAddr>>;

#[derive(Default)]
struct Files {
    looked_at: Option<Elapsed>,
    stamps: [Option<SystemTime>; 2],
    hosts: Arc<Hosts>,
    servers: Option<Result<TokioResolver, LookupError>>,
}

impl Names {
    /// By the files and name servers of this machine.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { shared: Arc::new(Shared { clock, files: Mutex::default() }) }
    }

    /// The addresses of `name`, best first, at least one.
    ///
    /// # Errors
    /// If there is none, or nobody can be asked.
    pub async fn lookup(&self, name: &str, ip: Option<IpVersion>) -> Result<Vec<IpAddr>, LookupError> {
        let not_found = || LookupError::NotFound(name.to_owned());
        let wanted = |found: Vec<IpAddr>| {
            let mut found: Vec<_> = found.into_iter().filter(|&address| ip.is_none_or(|ip| ip.has(address))).collect();
            leave_out_unreachable(&mut found);
            if found.is_empty() { Err(not_found()) } else { Ok(found) }
        };
        if let Ok(literal) = name.trim_start_matches('[').trim_end_matches(']').parse() {
            return wanted(vec![literal]);
        }
        let plain = name.trim_end_matches('.').to_ascii_lowercase();
        let (hosts, servers) = self.files();
        if let Some(known) = hosts.get(&plain) {
            return wanted(known.clone());
        }
        match plain.rsplit('.').next() {
            Some("localhost") => return wanted(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            // Never exists (RFC 6761); no name server needs to be asked.
            Some("invalid" | "") | None => return Err(not_found()),
            Some(_) => {}
        }
        wanted(ask(&servers?, name, ip).await?)
    }

    /// The tables of now: read again if the files changed.
    fn files(&self) -> (Arc<Hosts>, Result<TokioResolver, LookupError>) {
        let now = self.shared.clock.elapsed();
        let mut files = self.shared.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.looked_at.is_none_or(|before| now.since(before) >= LOOK_EVERY) {
            files.looked_at = Some(now);
            let stamps = [HOSTS, RESOLV_CONF].map(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok());
            if files.servers.is_none() || files.stamps != stamps {
                files.stamps = stamps;
                files.hosts = Arc::new(fs::read(HOSTS).map(|text| parse_hosts(&text)).unwrap_or_default());
                files.servers = Some(servers());
            }
        }
        let servers = files.servers.clone();
        (files.hosts.clone(), servers.unwrap_or_else(|| Err(LookupError::Unusable(RESOLV_CONF.to_owned()))))
    }
}

fn servers() -> Result<TokioResolver, LookupError> {
    let unusable = |error: NetError| LookupError::Unusable(format!("{RESOLV_CONF}: {error}"));
    let mut builder = TokioResolver::builder_tokio().map_err(unusable)?;
    set_options(builder.options_mut());
    builder.build().map_err(unusable)
}

fn set_options(options: &mut ResolverOpts) {
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = options.timeout.min(ASK_AGAIN);
    options.attempts = options.attempts.max(3);
}

/// Asks for addresses of both families at once, or of the only one that is wanted.
async fn ask(servers: &TokioResolver, name: &str, ip: Option<IpVersion>) -> Result<Vec<IpAddr>, LookupError> {
    let ask_for = async |record| match servers.lookup(name, record).await {
        Ok(answer) => {
            let addresses: Vec<IpAddr> = answer.answers().iter().filter_map(|record| address(&record.data)).collect();
            if addresses.is_empty() { Err(LookupError::NotFound(name.to_owned())) } else { Ok(addresses) }
        }
        Err(error) if error.is_no_records_found() => Err(LookupError::NotFound(name.to_owned())),
        Err(error) => Err(LookupError::Failed { name: name.to_owned(), error }),
    };
    match ip {
        Some(IpVersion::V4) => ask_for(RecordType::A).await,
        Some(IpVersion::V6) => ask_for(RecordType::AAAA).await,
        None => {
            let v4 = Box::pin(ask_for(RecordType::A));
            let v6 = Box::pin(ask_for(RecordType::AAAA));
            let (v4, v6) = match future::select(v4, v6).await {
                Either::Left((Ok(v4), v6)) => (Ok(v4), tokio::time::timeout(OTHER_FAMILY, v6).await.ok()),
                Either::Left((Err(error), v6)) => (Err(error), Some(v6.await)),
                Either::Right((Ok(v6), v4)) => match tokio::time::timeout(OTHER_FAMILY, v4).await {
                    Ok(v4) => (v4, Some(Ok(v6))),
                    Err(_) => (Ok(Vec::new()), Some(Ok(v6))),
                },
                Either::Right((Err(error), v4)) => (v4.await, Some(Err(error))),
            };
            match (v4, v6) {
                (Ok(v4), Some(Ok(v6))) => Ok(v6.into_iter().chain(v4).collect()),
                (Ok(found), _) | (Err(_), Some(Ok(found))) => Ok(found),
                // "There is none" is an answer; "nobody answered" is not.
                (Err(LookupError::NotFound(name)), _) | (_, Some(Err(LookupError::NotFound(name)))) => {
                    Err(LookupError::NotFound(name))
                }
                (Err(error), _) => Err(error),
            }
        }
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(v4) => Some(v4.0.into()),
        RData::AAAA(v6) => Some(v6.0.into()),
        _ => None,
    }
}

fn parse_hosts(text: &[u8]) -> Hosts {
    let mut hosts = Hosts::new();
    for line in String::from_utf8_lossy(text).lines() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        for name in words {
            let known = hosts.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default();
            if !known.contains(&address) {
                known.push(address);
            }
        }
    }
    hosts
}

/// Asks the kernel for a route, which sends nothing. With one family alone there is nothing to
/// choose from.
fn leave_out_unreachable(addresses: &mut Vec<IpAddr>) {
    if addresses.iter().any(IpAddr::is_ipv4) && addresses.iter().any(IpAddr::is_ipv6) {
        let reachable: Vec<_> = addresses.iter().copied().filter(|&address| has_route(address)).collect();
        if !reachable.is_empty() {
            *addresses = reachable;
        }
    }
}

fn has_route(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|socket| socket.connect(SocketAddr::new(address, 9))).is_ok()
}

/// The HTTP client's way in.
impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let trace = Trace::current();
            let (ip, limit) = trace.as_ref().map_or((None, None), |trace| (trace.ip, trace.limit()));
            Trace::enter_current(Stage::Dns);
            let mut found = names.lookup(name.as_str(), ip).await?;
            Trace::enter_current(Stage::Connect);
            if let Some(limit) = limit {
                found.retain(|&address| limit.may_lead_to(Reach::of(address)));
                if found.is_empty() {
                    return Err(FurtherIn.into());
                }
            }
            // The client puts the port in.
            let found: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::net::runtime::TokioRuntimeProvider;

    use crate::clock::SystemClock;

    fn lookup(name: &str, ip: Option<IpVersion>) -> Result<Vec<IpAddr>, LookupError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Names::new(Arc::new(SystemClock::new())).lookup(name, ip))
    }

    #[test]
    fn localhost_needs_no_name_server() {
        assert!(lookup("localhost", None).unwrap().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(lookup("a.LOCALHOST.", Some(IpVersion::V4)).unwrap(), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }

    #[test]
    fn a_literal_is_its_own_address_if_it_is_of_the_family() {
        assert_eq!(lookup("192.0.2.1", None).unwrap().len(), 1);
        assert_eq!(lookup("[::1]", Some(IpVersion::V6)).unwrap().len(), 1);
        assert!(matches!(lookup("192.0.2.1", Some(IpVersion::V6)), Err(LookupError::NotFound(_))));
    }

    #[test]
    fn a_name_that_cannot_exist_is_not_found() {
        assert!(matches!(lookup("no.such.invalid", None), Err(LookupError::NotFound(_))));
    }

    /// A name server on loopback: `answer` gives the addresses for a record type (1: A, 28: AAAA),
    /// an error code, or nothing at all.
    fn ask_server(
        answer: impl Fn(u8) -> Option<Result<Vec<IpAddr>, u8>> + Send + 'static,
        ip: Option<IpVersion>,
    ) -> Result<Vec<IpAddr>, LookupError> {
        use hickory_resolver::config::{NameServerConfig, ResolverConfig};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let mut server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
            server.connections[0].port = socket.local_addr().unwrap().port();
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            set_options(builder.options_mut());
            builder.options_mut().timeout = Duration::from_millis(200);
            builder.options_mut().attempts = 1;
            let serving = tokio::spawn(async move {
                let mut query = [0; 512];
                while let Ok((_, peer)) = socket.recv_from(&mut query).await {
                    let name = query[12..].iter().position(|&byte| byte == 0).unwrap();
                    let question = &query[12..12 + name + 5];
                    let kind = question[name + 2];
                    let Some(answer) = answer(kind) else { continue };
                    let (code, addresses) = answer.map_or_else(|code| (code, Vec::new()), |found| (0, found));
                    let count = u8::try_from(addresses.len()).unwrap();
                    let mut reply = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
                    reply.extend_from_slice(question);
                    for address in addresses {
                        let data = match address {
                            IpAddr::V4(v4) => v4.octets().to_vec(),
                            IpAddr::V6(v6) => v6.octets().to_vec(),
                        };
                        let length = u8::try_from(data.len()).unwrap();
                        reply.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, length]);
                        reply.extend_from_slice(&data);
                    }
                    socket.send_to(&reply, peer).await.unwrap();
                }
            });
            let found = ask(&builder.build().unwrap(), "www.example.org", ip).await;
            serving.abort();
            found
        })
    }

    fn addresses(kind: u8) -> Vec<IpAddr> {
        vec![if kind == 1 { "192.0.2.7".parse().unwrap() } else { "2001:db8::7".parse().unwrap() }]
    }

    #[test]
    fn both_families_are_asked_for_unless_one_is_wanted() {
        let all = |kind| Some(Ok(addresses(kind)));
        assert_eq!(ask_server(all, None).unwrap(), [addresses(28), addresses(1)].concat());
        assert_eq!(ask_server(all, Some(IpVersion::V4)).unwrap(), addresses(1));
        assert_eq!(ask_server(all, Some(IpVersion::V6)).unwrap(), addresses(28));
    }

    #[test]
    fn one_family_is_enough_and_the_other_is_hardly_waited_for() {
        assert_eq!(ask_server(|kind| (kind == 1).then(|| Ok(addresses(1))), None).unwrap(), addresses(1));
        assert_eq!(ask_server(|kind| (kind == 28).then(|| Ok(addresses(28))), None).unwrap(), addresses(28));
        let broken = |kind| Some(if kind == 1 { Ok(addresses(1)) } else { Err(2) });
        assert_eq!(ask_server(broken, None).unwrap(), addresses(1));
        let none = |kind| Some(Ok(if kind == 1 { addresses(1) } else { Vec::new() }));
        assert_eq!(ask_server(none, None).unwrap(), addresses(1));
    }

    #[test]
    fn no_such_name_no_address_and_no_answer_are_told_apart() {
        assert!(matches!(ask_server(|_| Some(Err(3)), None), Err(LookupError::NotFound(_))));
        assert!(matches!(ask_server(|_| Some(Ok(Vec::new())), None), Err(LookupError::NotFound(_))));
        assert!(matches!(ask_server(|_| Some(Err(2)), None), Err(LookupError::Failed { .. })));
        assert!(matches!(ask_server(|_| None, None), Err(LookupError::Failed { .. })));
    }

    #[test]
    fn hosts_files_are_read_with_comments_and_several_names() {
        let text =
            b"# c\n127.0.0.1 localhost\n10.0.0.1\tDB.internal db # x\n::1 localhost\nbad line\n10.0.0.2 db\n\xff";
        let hosts = parse_hosts(text);
        assert_eq!(hosts["localhost"], ["127.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(hosts["db.internal"].len(), 1);
        assert_eq!(hosts["db"].len(), 2);
    }
}
