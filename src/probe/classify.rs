//! From errors to classes: what a chain of causes says of the target, or of us. Pure.
//!
//! The deepest cause that says something counts. Where a limit ran out says more than the error
//! that it made, so timeouts are classed by the stage that the probe was in.

use std::{error::Error, io, time::Duration};

use rustix::io::Errno;
use rustls::{CertificateError, OtherError};

use super::{
    resolve::{FurtherIn, LookupError},
    tls::{NoRoots, TlsSetupError},
    trace::Stage,
};
use crate::{
    domain::outcome::{Cause, CertificateFault, Class},
    untrusted,
};

/// Longest detail for operators, in characters.
const DETAIL: usize = 300;

/// Why a probe did not find what it expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What may be shown to anyone.
    pub cause: Cause,
    /// For operators: one line, cleaned.
    pub detail: String,
}

impl Fault {
    /// A fault of that class.
    #[must_use]
    pub fn new(class: Class, detail: &str) -> Self {
        Self { cause: class.into(), detail: untrusted::line(detail, DETAIL) }
    }

    /// The time given was over in `stage`.
    #[must_use]
    pub fn too_late(stage: Stage, given: Duration) -> Self {
        let during = match stage {
            Stage::Idle => "before anything was asked",
            Stage::Dns => "while the name was looked up",
            Stage::Connect => "while connecting",
            Stage::Tls => "in the TLS handshake",
            Stage::FirstByte => "waiting for an answer",
            Stage::Body => "in the middle of the answer",
        };
        let limit_ms = u32::try_from(given.as_millis()).unwrap_or(u32::MAX);
        let cause = Cause { limit_ms: Some(limit_ms), ..out_of_time(stage).into() };
        Self { cause, detail: format!("{limit_ms} ms were over {during}") }
    }

    /// What an error that happened in `stage` means.
    #[must_use]
    pub fn from_error(error: &(dyn Error + 'static), stage: Stage) -> Self {
        Self { cause: classify(error, stage), detail: describe(error) }
    }
}

/// What running out of time in `stage` means.
#[must_use]
pub fn out_of_time(stage: Stage) -> Class {
    match stage {
        Stage::Dns => Class::Dns,
        Stage::Connect => Class::ConnectTimeout,
        Stage::Idle | Stage::Tls | Stage::FirstByte | Stage::Body => Class::Timeout,
    }
}

/// What an error that happened in `stage` means.
#[must_use]
pub fn classify(error: &(dyn Error + 'static), stage: Stage) -> Cause {
    let links = links(error);
    if is_unpacking(&links) {
        return Class::Protocol.into();
    }
    links.into_iter().rev().find_map(|link| one(link, stage)).unwrap_or_else(|| by_words(error, stage).into())
}

/// All causes, the outermost first. An [`io::Error`] hides the error it was made from (its
/// `source` is that one's source), so it is unpacked here.
fn links<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut found: Vec<&'a (dyn Error + 'static)> = Vec::new();
    let mut next = Some(error);
    // No chain is this long; a broken one must not hang us.
    while let Some(link) = next
        && found.len() < 32
    {
        found.push(link);
        let inner = link.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => link.source(),
        };
    }
    found
}

/// Whether the answer came whole, and what it was packed into is broken: no connection is to blame,
/// even if it says that it ended too early.
fn is_unpacking(links: &[&(dyn Error + 'static)]) -> bool {
    let is_decode = |link: &&(dyn Error + 'static)| link.downcast_ref().is_some_and(reqwest::Error::is_decode);
    links.iter().any(is_decode) && !links.iter().any(|link| link.is::<hyper::Error>())
}

/// What one link says by itself.
fn one(link: &(dyn Error + 'static), stage: Stage) -> Option<Cause> {
    if let Some(io) = link.downcast_ref::<io::Error>() {
        return of_io(io, stage).map(Cause::from);
    }
    if let Some(tls) = link.downcast_ref::<rustls::Error>() {
        return Some(of_tls(tls));
    }
    if let Some(lookup) = link.downcast_ref::<LookupError>() {
        let local = match lookup {
            LookupError::NotFound(_) => false,
            LookupError::Unusable(_) => true,
            // A name server that is out of reach leaves the name unresolved; having no descriptor
            // to ask it with is our own fault.
            LookupError::Failed { .. } => lookup.io().and_then(io::Error::raw_os_error).is_some_and(is_shortage),
        };
        return Some(if local { Class::Local } else { Class::Dns }.into());
    }
    if link.is::<NoRoots>() || link.is::<TlsSetupError>() {
        return Some(Class::Local.into());
    }
    if link.is::<FurtherIn>() {
        return Some(Class::Redirect.into());
    }
    if let Some(http) = link.downcast_ref::<hyper::Error>() {
        return of_http(http, stage).map(Cause::from);
    }
    if let Some(client) = link.downcast_ref::<reqwest::Error>() {
        return if client.is_builder() {
            Some(Class::Local.into())
        } else if client.is_timeout() {
            Some(out_of_time(stage).into())
        } else {
            None
        };
    }
    None
}

fn of_io(error: &io::Error, stage: Stage) -> Option<Class> {
    if let Some(code) = error.raw_os_error() {
        return Some(match Errno::from_raw_os_error(code) {
            Errno::CONNREFUSED => Class::ConnectRefused,
            Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE | Errno::NOTCONN => Class::Reset,
            Errno::TIMEDOUT => out_of_time(stage),
            // The last router asked for the host and got no answer.
            Errno::HOSTUNREACH | Errno::HOSTDOWN => Class::ConnectTimeout,
            _ if is_ours(code) => Class::Local,
            _ if matches!(stage, Stage::Dns) => Class::Dns,
            _ => Class::Reset,
        });
    }
    // An error that another was packed into speaks through that one.
    if error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>() || inner.is::<io::Error>() || inner.is::<hyper::Error>())
    {
        return None;
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Class::ConnectRefused),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Some(Class::Reset)
        }
        io::ErrorKind::TimedOut => Some(out_of_time(stage)),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
            if stage == Stage::Tls =>
        {
            Some(Class::Tls)
        }
        io::ErrorKind::UnexpectedEof => Some(Class::Reset),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Some(Class::Protocol),
        _ => None,
    }
}

/// Whether the operating system had nothing left for us.
fn is_shortage(code: i32) -> bool {
    matches!(
        Errno::from_raw_os_error(code),
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::ADDRNOTAVAIL | Errno::ADDRINUSE
    )
}

/// Whether the fault is on this machine: nothing left, no way out, or not allowed to.
fn is_ours(code: i32) -> bool {
    is_shortage(code)
        || matches!(
            Errno::from_raw_os_error(code),
            Errno::NETUNREACH
                | Errno::NETDOWN
                | Errno::PERM
                | Errno::ACCESS
                | Errno::INVAL
                | Errno::AFNOSUPPORT
                | Errno::PROTONOSUPPORT
        )
}

fn of_tls(error: &rustls::Error) -> Cause {
    match error {
        rustls::Error::InvalidCertificate(fault) => {
            let fault = match fault {
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => CertificateFault::Expired,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    CertificateFault::WrongName
                }
                _ => CertificateFault::Untrusted,
            };
            Cause { certificate: Some(fault), ..Class::Certificate.into() }
        }
        rustls::Error::Other(OtherError(inner)) if inner.is::<NoRoots>() => Class::Local.into(),
        _ => Class::Tls.into(),
    }
}

fn of_http(error: &hyper::Error, stage: Stage) -> Option<Class> {
    if error.is_timeout() {
        Some(out_of_time(stage))
    } else if error.to_string().contains("unexpected message") {
        // It spoke before it was asked; the library has no other sign of it.
        Some(Class::Protocol)
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        Some(Class::Reset)
    } else if error.is_parse() {
        Some(Class::Protocol)
    } else {
        None
    }
}

/// The last resort, for libraries whose errors are private types without a cause: HTTP/2, tunnels
/// and SOCKS.
fn by_words(error: &(dyn Error + 'static), stage: Stage) -> Class {
    let words = links(error).iter().map(|link| link.to_string().to_ascii_lowercase()).collect::<Vec<_>>().join(" ");
    let has = |word: &str| words.contains(word);
    if has("refused") {
        Class::ConnectRefused
    } else if has("unreachable") || has("ttl expired") {
        Class::ConnectTimeout
    } else if has("reset") || has("broken pipe") || has("eof") {
        Class::Reset
    } else if stage == Stage::Dns {
        Class::Dns
    } else if stage == Stage::Tls {
        Class::Tls
    } else {
        Class::Protocol
    }
}

/// The causes in one line for operators. The HTTP client's own words are left out: they say
/// nothing, and hold the URL with whatever secret it has.
#[must_use]
pub fn describe(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for link in links(error) {
        let text = link.to_string();
        let known = parts.last().is_some_and(|last| last.contains(&text));
        if !known && !link.is::<reqwest::Error>() && !text.starts_with("client error (") {
            parts.push(text);
        }
    }
    if parts.is_empty() {
        parts.push("the request failed".to_owned());
    }
    untrusted::line(&parts.join(": "), DETAIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapped(&'static str, Box<dyn Error + Send + Sync>);

    impl std::fmt::Display for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.1)
        }
    }

    fn os(code: Errno) -> io::Error {
        io::Error::from_raw_os_error(code.raw_os_error())
    }

    fn wrapped(inner: impl Error + Send + Sync + 'static) -> Wrapped {
        Wrapped("client error (Connect)", Box::new(Wrapped("tcp connect error", Box::new(inner))))
    }

    #[test]
    fn what_the_operating_system_says_is_read_through_any_wrapping() {
        for (code, stage, expected) in [
            (Errno::CONNREFUSED, Stage::Connect, Class::ConnectRefused),
            (Errno::CONNRESET, Stage::FirstByte, Class::Reset),
            (Errno::PIPE, Stage::Body, Class::Reset),
            (Errno::TIMEDOUT, Stage::Connect, Class::ConnectTimeout),
            (Errno::TIMEDOUT, Stage::Body, Class::Timeout),
            (Errno::HOSTUNREACH, Stage::Connect, Class::ConnectTimeout),
            (Errno::MFILE, Stage::Connect, Class::Local),
            (Errno::NFILE, Stage::Connect, Class::Local),
            (Errno::NOMEM, Stage::Connect, Class::Local),
            (Errno::NOBUFS, Stage::Connect, Class::Local),
            (Errno::ADDRNOTAVAIL, Stage::Connect, Class::Local),
            (Errno::NETUNREACH, Stage::Connect, Class::Local),
            (Errno::PERM, Stage::Connect, Class::Local),
            (Errno::MFILE, Stage::Dns, Class::Local),
        ] {
            assert_eq!(classify(&wrapped(os(code)), stage), expected.into(), "{code:?} in {stage:?}");
            let packed = io::Error::other(wrapped(os(code)));
            assert_eq!(classify(&packed, stage), expected.into(), "{code:?} in {stage:?}, packed");
        }
    }

    #[test]
    fn certificates_are_told_from_handshakes_and_the_fault_is_named() {
        let certificate = |fault| rustls::Error::InvalidCertificate(fault);
        for (error, expected) in [
            (certificate(CertificateError::Expired), Some(CertificateFault::Expired)),
            (certificate(CertificateError::NotValidYet), Some(CertificateFault::Expired)),
            (certificate(CertificateError::NotValidForName), Some(CertificateFault::WrongName)),
            (certificate(CertificateError::UnknownIssuer), Some(CertificateFault::Untrusted)),
            (certificate(CertificateError::BadSignature), Some(CertificateFault::Untrusted)),
            (rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), None),
            (rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure), None),
        ] {
            let class = if expected.is_some() { Class::Certificate } else { Class::Tls };
            let cause = Cause { certificate: expected, ..class.into() };
            let packed = wrapped(io::Error::new(io::ErrorKind::InvalidData, error));
            assert_eq!(classify(&packed, Stage::Tls), cause);
        }
    }

    #[test]
    fn a_machine_that_trusts_nobody_is_our_own_fault() {
        let error = rustls::Error::Other(OtherError(std::sync::Arc::new(NoRoots::for_tests())));
        assert_eq!(classify(&wrapped(io::Error::other(error)), Stage::Tls), Class::Local.into());
        assert_eq!(classify(&wrapped(NoRoots::for_tests()), Stage::Idle), Class::Local.into());
    }

    #[test]
    fn names_without_an_address_are_the_targets_fault_and_missing_descriptors_ours() {
        let failed = |code| LookupError::Failed {
            name: "a.example".to_owned(),
            error: hickory_resolver::net::NetError::Io(std::sync::Arc::new(os(code))),
        };
        for (error, expected) in [
            (LookupError::NotFound("a.example".to_owned()), Class::Dns),
            (failed(Errno::CONNREFUSED), Class::Dns),
            (failed(Errno::NETUNREACH), Class::Dns),
            (failed(Errno::MFILE), Class::Local),
            (LookupError::Unusable("x".to_owned()), Class::Local),
        ] {
            assert_eq!(classify(&wrapped(error.clone()), Stage::Dns), expected.into(), "{error:?}");
        }
    }

    #[test]
    fn an_answer_that_ends_early_is_a_reset_except_in_the_handshake() {
        let eof = || io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
        assert_eq!(classify(&wrapped(eof()), Stage::Tls), Class::Tls.into());
        assert_eq!(classify(&wrapped(eof()), Stage::Body), Class::Reset.into());
        let garbage = io::Error::new(io::ErrorKind::InvalidInput, "invalid chunk size");
        assert_eq!(classify(&garbage, Stage::Body), Class::Protocol.into());
    }

    #[test]
    fn time_runs_out_in_a_stage() {
        assert_eq!(out_of_time(Stage::Dns), Class::Dns);
        assert_eq!(out_of_time(Stage::Connect), Class::ConnectTimeout);
        assert_eq!(out_of_time(Stage::Tls), Class::Timeout);
        assert_eq!(out_of_time(Stage::Body), Class::Timeout);
    }

    #[test]
    fn a_detail_is_one_clean_line_without_repetition() {
        let error = wrapped(io::Error::other("bad\u{202e}\n thing\u{0}"));
        assert_eq!(describe(&error), "tcp connect error: bad thing");
        assert_eq!(Fault::new(Class::Body, "a\nb").detail, "a b");
    }
}
