//! Asking name servers: what is there, what is not, and what nobody says.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    Resolver, TokioResolver,
    config::{NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
};
use tokio::runtime::Handle;

/// Before a name server is asked again, and then given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// What name servers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// There is this.
    Found(T),
    /// There is nothing of the kind.
    Nothing,
    /// They did not say.
    Failed(String),
}

/// What is published in DNS.
pub trait Zone {
    /// The texts at a name, each in one piece.
    fn txt(&self, name: &str) -> Answer<Vec<String>>;
    /// The servers that take mail for a name, the preferred one first.
    fn mx(&self, name: &str) -> Answer<Vec<String>>;
    /// The addresses of a name.
    fn addresses(&self, name: &str) -> Answer<BTreeSet<IpAddr>>;
}

/// The name servers of this machine, or one that is named. Its methods wait: they are not for a task.
pub struct NameServers {
    resolver: TokioResolver,
    runtime: Handle,
}

impl NameServers {
    /// Those of this machine, or the one at `server`.
    ///
    /// # Errors
    /// If this machine has no usable list.
    pub fn new(server: Option<SocketAddr>, runtime: Handle) -> Result<Self, NetError> {
        let mut builder = match server {
            None => TokioResolver::builder_tokio()?,
            Some(server) => {
                let mut config = NameServerConfig::udp_and_tcp(server.ip());
                for connection in &mut config.connections {
                    connection.port = server.port();
                }
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![config]);
                Resolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        options.timeout = PATIENCE;
        options.attempts = 2;
        Ok(Self { resolver: builder.build()?, runtime })
    }

    fn ask<T>(&self, name: &str, record: RecordType, pick: impl Fn(&RData) -> Option<T>) -> Answer<Vec<T>> {
        // A dot at its end: no search list makes another name of it.
        let name = format!("{}.", name.trim_end_matches('.'));
        match self.runtime.block_on(self.resolver.lookup(name, record)) {
            Ok(answer) => {
                let found: Vec<T> = answer.answers().iter().filter_map(|record| pick(&record.data)).collect();
                if found.is_empty() { Answer::Nothing } else { Answer::Found(found) }
            }
            Err(error) if error.is_no_records_found() => Answer::Nothing,
            Err(error) => Answer::Failed(error.to_string()),
        }
    }
}

impl Zone for NameServers {
    fn txt(&self, name: &str) -> Answer<Vec<String>> {
        self.ask(name, RecordType::TXT, |data| match data {
            RData::TXT(text) => {
                let bytes: Vec<u8> = text.txt_data.iter().flat_map(|piece| piece.iter().copied()).collect();
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => None,
        })
    }

    fn mx(&self, name: &str) -> Answer<Vec<String>> {
        let found = self.ask(name, RecordType::MX, |data| match data {
            RData::MX(mx) => Some((mx.preference, mx.exchange.to_ascii())),
            _ => None,
        });
        match found {
            Answer::Found(mut servers) => {
                servers.sort();
                Answer::Found(servers.into_iter().map(|(_, server)| server).collect())
            }
            Answer::Nothing => Answer::Nothing,
            Answer::Failed(why) => Answer::Failed(why),
        }
    }

    fn addresses(&self, name: &str) -> Answer<BTreeSet<IpAddr>> {
        let v4 = self.ask(name, RecordType::A, |data| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            _ => None,
        });
        let v6 = self.ask(name, RecordType::AAAA, |data| match data {
            RData::AAAA(a) => Some(IpAddr::V6(a.0)),
            _ => None,
        });
        match (v4, v6) {
            (Answer::Found(v4), Answer::Found(v6)) => Answer::Found(v4.into_iter().chain(v6).collect()),
            (Answer::Found(found), _) | (_, Answer::Found(found)) => Answer::Found(found.into_iter().collect()),
            (Answer::Failed(why), _) | (_, Answer::Failed(why)) => Answer::Failed(why),
            (Answer::Nothing, Answer::Nothing) => Answer::Nothing,
        }
    }
}
