//! The layers of `src/lib.rs` as data, and a reader of the sources that holds the code to them:
//! nothing imports what lies above or beside it, and what decides touches nothing.
//!
//! It reads text, not meaning: an import is a path that starts at `crate::`, or climbs there by
//! `super::`. Comments, strings and what is compiled for tests only do not count.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Lowest first. A module may use those of the lines above its own.
const LAYERS: &[&[&str]] = &[
    &["domain", "clock", "fsio", "untrusted", "secret"],
    &["config", "notes", "judge", "schedule"],
    &["probe", "store", "site"],
    &["notify"],
    &["web"],
    &["daemon"],
    &["simulation", "backtest"],
    &["cli"],
    &["main"],
];

/// Who may use a neighbour of the same layer, and what for.
const SIDEWAYS: &[(&str, &str, &str)] = &[
    ("domain", "secret", "headers and passwords of a check"),
    ("notes", "config", "reading TOML by a table of keys, with the same diagnostics"),
    ("schedule", "judge", "how urgent a request of the judge is"),
];

/// Modules that decide: values in, values out.
const PURE: &[&str] = &["domain", "judge", "schedule", "site::plan", "notify::plan", "backtest"];

/// What they may not know of.
const FORBIDDEN: &[&str] = &["async", "tokio", "std::fs", "std::net", "HashMap", "HashSet"];

/// Addresses are plain values, whatever the module they come from.
const PLAIN: &[&str] = &["std::net::IpAddr", "std::net::Ipv4Addr", "std::net::Ipv6Addr"];

/// A path in a module, and where it stands.
#[derive(Debug, PartialEq, Eq)]
struct Use {
    line: usize,
    /// From the crate's root: `domain::ServiceId`, `std::fs::File`.
    path: String,
}

/// Something that breaks the rules.
struct Breach {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

#[test]
fn no_module_imports_what_lies_above_or_beside_it() {
    let breaches: Vec<_> = sources().iter().flat_map(|(file, module, code)| crossed(file, module, code)).collect();
    assert!(breaches.is_empty(), "\n{}\n", list(&breaches));
}

#[test]
fn what_decides_touches_nothing() {
    let breaches: Vec<_> = sources().iter().flat_map(|(file, module, code)| touched(file, module, code)).collect();
    assert!(breaches.is_empty(), "\n{}\n", list(&breaches));
}

#[test]
fn the_table_names_every_module() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut modules: Vec<_> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    modules.push("main");
    let mut named: Vec<_> = LAYERS.iter().copied().flatten().copied().collect();
    modules.sort_unstable();
    named.sort_unstable();
    assert_eq!(modules, named);
}

fn list(breaches: &[Breach]) -> String {
    breaches.iter().map(Breach::to_string).collect::<Vec<_>>().join("\n")
}

fn crossed(file: &str, module: &str, code: &str) -> Vec<Breach> {
    let from = module.split("::").next().unwrap_or_default();
    let Some(own) = layer(from) else {
        return Vec::new(); // lib.rs: it only names the modules
    };
    let breach = |found: &Use| {
        let to = found.path.split("::").next().unwrap_or_default();
        let theirs = layer(to).filter(|_| to != from)?;
        let declared = SIDEWAYS.iter().any(|(user, used, _)| (*user, *used) == (from, to));
        let direction = match theirs.cmp(&own) {
            std::cmp::Ordering::Less => return None,
            std::cmp::Ordering::Equal if declared => return None,
            std::cmp::Ordering::Equal => "beside",
            std::cmp::Ordering::Greater => "above",
        };
        let what = format!("`{from}` uses `{}`, which lies {direction} it", found.path);
        Some(Breach { file: file.to_owned(), line: found.line, what })
    };
    uses(code, module).iter().filter_map(breach).collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn touched(file: &str, module: &str, code: &str) -> Vec<Breach> {
    let within =
        |pure: &&&str| module.strip_prefix(**pure).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let Some(pure) = PURE.iter().find(within) else { return Vec::new() };
    let mut breaches = Vec::new();
    let mut breach = |line, word: &str| {
        let what = format!("`{pure}` only decides, but names `{word}`");
        breaches.push(Breach { file: file.to_owned(), line, what });
    };
    for found in uses(code, module) {
        let forbidden = |word: &&&str| found.path == **word || found.path.starts_with(&format!("{word}::"));
        if let Some(word) = FORBIDDEN.iter().find(forbidden)
            && !PLAIN.contains(&found.path.as_str())
        {
            breach(found.line, if found.path == *word { word } else { &found.path });
        }
    }
    for (at, line) in code.lines().enumerate() {
        for word in words(line).filter(|word| ["async", "tokio", "HashMap", "HashSet"].contains(word)) {
            breach(at + 1, word);
        }
    }
    breaches
}

/// Every path of the code that starts at `crate`, `std` or `tokio`, or climbs by `super`, with
/// groups in braces written out.
fn uses(code: &str, module: &str) -> Vec<Use> {
    let depth = if module.is_empty() { 0 } else { module.split("::").count() };
    let mut uses = Vec::new();
    let bytes = code.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &code[at..];
        let fresh = at == 0 || !is_word(bytes[at - 1]) && bytes[at - 1] != b':';
        let climbs = rest.as_bytes().chunks(7).take_while(|piece| *piece == b"super::").count();
        let start = if !fresh {
            None
        } else if ["crate::", "watchbell::", "std::", "tokio::"].iter().any(|start| rest.starts_with(start)) {
            Some(at)
        } else if depth > 0 && climbs >= depth {
            Some(at + 7 * (climbs - 1))
        } else {
            None
        };
        if let Some(from) = start {
            let line = code[..at].matches('\n').count() + 1;
            let before = uses.len();
            at = tree(code, from, line, "", &mut uses).max(at + 1);
            for found in &mut uses[before..] {
                let outside = found.path.starts_with("std::") || found.path.starts_with("tokio::");
                if !outside && let Some((_, within)) = found.path.split_once("::") {
                    found.path = within.to_owned();
                }
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    uses
}

/// Reads one path, or a group of them, from `at` on; gives back where it ends.
fn tree(code: &str, mut at: usize, mut line: usize, prefix: &str, uses: &mut Vec<Use>) -> usize {
    let bytes = code.as_bytes();
    let mut path = prefix.to_owned();
    loop {
        let end = at + bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
        path.push_str(&code[at..end]);
        at = end;
        if !code[at..].starts_with("::") {
            break;
        }
        at += 2;
        path.push_str("::");
        if bytes.get(at) != Some(&b'{') {
            if !bytes.get(at).copied().is_some_and(is_word) {
                break; // `::*`, `::<T>`
            }
            continue;
        }
        at += 1;
        while at < bytes.len() && bytes[at] != b'}' {
            match bytes[at] {
                b'\n' => line += 1,
                byte if is_word(byte) => {
                    let end = tree(code, at, line, &path, uses);
                    line += code[at..end].matches('\n').count();
                    at = end;
                    // An alias is no path.
                    if code[at..].starts_with(" as ") {
                        at += 4;
                        at += bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
                    }
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        return at + 1;
    }
    let path = path.strip_suffix("::self").unwrap_or(&path).trim_end_matches("::");
    uses.push(Use { line, path: path.to_owned() });
    at
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|char: char| !char.is_alphanumeric() && char != '_').filter(|word| !word.is_empty())
}

/// The code without comments, the insides of strings, and what only tests see; lines stay where
/// they are.
fn bare(source: &str) -> String {
    let mut code = without_text(source);
    while let Some(start) = code.find("#[cfg(test)]") {
        let rest = &code[start..];
        let semicolon = rest.find(';').unwrap_or(rest.len());
        let end = match rest.find('{') {
            Some(open) if open < semicolon => start + open + closing(&rest[open..]),
            _ => start + semicolon + 1,
        };
        let end = end.min(code.len());
        let blank: String = code[start..end].chars().map(|char| if char == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// The length of the block that begins with the `{` in front.
fn closing(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn without_text(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(char) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(len) = string(rest, code.bytes().last()) {
            len
        } else {
            code.push(char);
            rest = &rest[char.len_utf8()..];
            continue;
        };
        code.extend(rest[..skipped].chars().filter(|char| *char == '\n'));
        rest = &rest[skipped..];
    }
    code
}

/// The length of the string or character literal in front, if there is one.
fn string(rest: &str, before: Option<u8>) -> Option<usize> {
    let opening = rest.trim_start_matches(['b', 'c', 'r']);
    let prefix = &rest[..rest.len() - opening.len()];
    if prefix.len() > 2 || before.is_some_and(is_word) {
        return None;
    }
    let hashes = opening.bytes().take_while(|byte| *byte == b'#').count();
    let raw = prefix.contains('r') && opening[hashes..].starts_with('"');
    if raw {
        let end = format!("\"{}", "#".repeat(hashes));
        let start = prefix.len() + hashes + 1;
        return rest[start..].find(&end).map(|at| start + at + end.len());
    }
    let quote = opening.chars().next().filter(|char| ['"', '\''].contains(char))?;
    let mut chars = opening.char_indices().skip(1).peekable();
    let mut length = 0;
    while let Some((at, char)) = chars.next() {
        if char == '\\' {
            chars.next();
        } else if char == quote {
            return Some(prefix.len() + at + 1);
        } else if quote == '\'' && length > 0 {
            return None; // a lifetime
        }
        length += 1;
    }
    None
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source with its name, its module and its bare code; but not those of tests.
fn sources() -> Vec<(String, String, String)> {
    let mut files = Vec::new();
    gather(&root().join("src"), &mut files);
    files.sort();
    assert!(files.len() > 40, "the sources were not found");
    files
        .iter()
        .filter_map(|file| {
            let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let module = module(&name);
            let tests = module.split("::").any(|part| part == "tests" || part.ends_with("_tests"));
            (!tests).then(|| (name, module, bare(&fs::read_to_string(file).unwrap())))
        })
        .collect()
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// `src/site/words/mod.rs` is `site::words`.
fn module(name: &str) -> String {
    let name = name.trim_start_matches("src/").trim_end_matches(".rs");
    let name = name.trim_end_matches("/mod");
    if name == "lib" { String::new() } else { name.replace('/', "::") }
}

#[test]
fn the_reader_sees_every_kind_of_import() {
    let paths = |code: &str, module: &str| {
        uses(code, module).into_iter().map(|found| format!("{} {}", found.line, found.path)).collect::<Vec<_>>()
    };
    assert_eq!(paths("use crate::web;", "judge"), ["1 web"]);
    assert_eq!(
        paths("use crate::{\n    domain::{self, ServiceId, event::Event as E},\n    web::App,\n};", "judge"),
        ["2 domain", "2 domain::ServiceId", "2 domain::event::Event", "3 web::App"]
    );
    assert_eq!(paths("fn f() { crate::web::serve::<T>() }", "judge"), ["1 web::serve"]);
    assert_eq!(paths("use super::super::web::App;", "site::plan"), ["1 web::App"]);
    assert_eq!(paths("use super::words;", "site::plan"), Vec::<String>::new());
    assert_eq!(paths("use super::web::*;", "judge"), ["1 web"]);
    assert_eq!(paths("use std::{fs::File, net::IpAddr};", "judge"), ["1 std::fs::File", "1 std::net::IpAddr"]);
}

#[test]
fn the_reader_skips_comments_strings_and_tests() {
    let source = "// crate::web\n/* crate::web */ let a = \"crate::web\"; let b = r#\"\"crate::web\"#; let c = '\"';\n\
                  #[cfg(test)]\nmod tests {\n    use crate::web;\n}\nuse crate::daemon;\n";
    let found = uses(&bare(source), "judge");
    assert_eq!(found, [Use { line: 7, path: "daemon".into() }]);
}

#[test]
fn a_breach_names_file_line_and_edge() {
    let said = |module: &str, code: &str| {
        let (crossed, touched) = (crossed("src/x.rs", module, code), touched("src/x.rs", module, code));
        crossed.iter().chain(&touched).map(Breach::to_string).collect::<Vec<_>>()
    };
    assert_eq!(said("judge", "\nuse crate::web::App;"), ["src/x.rs:2: `judge` uses `web::App`, which lies above it"]);
    assert_eq!(said("store", "use crate::probe;"), ["src/x.rs:1: `store` uses `probe`, which lies beside it"]);
    assert_eq!(
        said("site::plan::days", "use std::fs;"),
        ["src/x.rs:1: `site::plan` only decides, but names `std::fs`"]
    );
    assert_eq!(said("judge", "async fn f() {}"), ["src/x.rs:1: `judge` only decides, but names `async`"]);
    assert_eq!(said("domain", "use std::net::TcpStream;").len(), 1);
    assert!(said("domain::service", "use std::net::IpAddr;").is_empty());
    assert!(said("site::planner", "use std::fs;").is_empty());
    assert!(said("web", "use crate::{site, domain}; use std::fs;").is_empty());
}
