//! A network of its own: a namespace with one link to this one, whose packets can be dropped and
//! whose link can be cut, without anything else noticing.

use std::{
    io::Write,
    net::Ipv4Addr,
    process::{self, Command, Output, Stdio},
    sync::atomic::{AtomicU8, Ordering},
};

use super::skip;

/// The network; it is gone with the value.
pub struct Network {
    name: String,
    link: String,
    /// The address of this side of the link.
    pub host: Ipv4Addr,
}

fn run(program: &str, args: &[&str]) -> Option<Output> {
    Command::new(skip::program(program)?).args(args).output().ok()
}

impl Network {
    /// A new one, or why there is none.
    pub fn new() -> Result<Self, &'static str> {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let n = COUNT.fetch_add(1, Ordering::SeqCst);
        for program in ["ip", "nft"] {
            if skip::program(program).is_none() {
                return Err("ip and nft are not installed");
            }
        }
        let id = process::id() % 60_000;
        // A block for tests of networks (RFC 2544); other runs take other parts of it.
        let block = |last| {
            Ipv4Addr::new(198, 18 + u8::from(id.is_multiple_of(2)), u8::try_from(id / 2 % 250).unwrap(), n * 4 + last)
        };
        let (host, inside) = (block(1), block(2));
        let network = Self { name: format!("wb{id}-{n}"), link: format!("wb{id}-{n}"), host };
        let (name, link, peer) = (network.name.as_str(), network.link.as_str(), "inside");
        let steps: [&[&str]; 7] = [
            &["netns", "add", name],
            &["link", "add", link, "type", "veth", "peer", "name", peer, "netns", name],
            &["address", "add", &format!("{host}/30"), "dev", link],
            &["link", "set", link, "up"],
            &["-n", name, "address", "add", &format!("{inside}/30"), "dev", peer],
            &["-n", name, "link", "set", peer, "up"],
            &["-n", name, "link", "set", "lo", "up"],
        ];
        for step in steps {
            if !run("ip", step).is_some_and(|output| output.status.success()) {
                return Err("network namespaces cannot be made (needs root)");
            }
        }
        network.ip(&["route", "add", "default", "via", &host.to_string()]);
        Ok(network)
    }

    /// What to run a program under, so that it is inside.
    pub fn inside(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// The address of the other side of the link.
    pub fn there(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.host.to_bits() + 1)
    }

    /// Gives this side of the link another address.
    pub fn also_here(&self, address: Ipv4Addr) {
        let output = run("ip", &["address", "add", &format!("{address}/32"), "dev", &self.link]).unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// `ip` inside.
    pub fn ip(&self, args: &[&str]) {
        let output = run("ip", &[&["-n", self.name.as_str()], args].concat()).unwrap();
        assert!(output.status.success(), "ip {args:?}: {output:?}");
    }

    /// Puts this rule in force for packets that come in, in place of the one before; none if empty.
    pub fn rule(&self, rule: &str) {
        let mut script = "add table inet faults\nflush table inet faults\n\
                          add chain inet faults incoming { type filter hook input priority 0; }\n"
            .to_owned();
        if !rule.is_empty() {
            script.push_str(&format!("add rule inet faults incoming {rule}\n"));
        }
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.name, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        nft.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = nft.wait_with_output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
    }

    /// How many packets the first rule with a counter met.
    pub fn counted(&self) -> usize {
        let output = Command::new("ip").args(["netns", "exec", &self.name, "nft", "list", "ruleset"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split("counter packets ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let (_, _) = (run("ip", &["link", "del", &self.link]), run("ip", &["netns", "del", &self.name]));
    }
}
