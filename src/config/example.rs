//! `config.example.toml`, written from the table of keys: each with what it is for, its default and
//! an example.

use super::{
    keys,
    reading::{Key, Scope, Type},
};

/// The widest comment, in columns.
const WIDTH: usize = 100;

const HEAD: &str = "\
# Every key of watchbell.toml, each with an example. All but those marked `required` may be left
# out. Relative paths start at the folder of this file. Durations are written `300ms`, `30s`, `5m`,
# `24h`, `90d` or `1h30m`. A secret is `{ env = \"NAME\" }`, `{ file = \"PATH\" }`, or text, in which
# `{env:NAME}` stands for a variable. `watchbell check` says what is wrong, with line and column.
";

/// The whole file.
#[must_use]
pub fn example() -> String {
    let mut out = Out { text: HEAD.to_owned(), is_aside: false };
    for key in keys::ROOT.keys {
        out.is_aside = !key.later.is_empty();
        match key.kind {
            Type::Table(scope) if scope.is_defaults => {
                out.header(scope);
                out.keys(scope, |key| key.name == "every");
            }
            Type::Table(scope) => {
                out.header(scope);
                out.keys(scope, |_| true);
            }
            Type::Tables(scope) if !std::ptr::eq(scope, &raw const keys::SERVICE) => {
                out.header(scope);
                out.keys(scope, |_| true);
            }
            _ => {}
        }
    }
    out.is_aside = false;
    services(&mut out);
    out.text
}

/// One service as short as it can be, and one with every key and every kind of check.
fn services(out: &mut Out) {
    out.header(&keys::SERVICE);
    out.text.push_str("id = \"database\"\nname = \"Database\"\n[[service.check]]\ntcp = \"db.internal:5432\"\n");
    out.text.push_str("\n[[service]]\n");
    out.keys(&keys::SERVICE, |key| !matches!(key.kind, Type::Tables(_)));
    for kind in keys::KINDS {
        let is_first = *kind == "http";
        let is_later = keys::CHECK.key(kind).is_some_and(|key| !key.later.is_empty());
        out.is_aside = is_later;
        if is_first {
            out.header(&keys::CHECK);
        } else {
            out.text.push('\n');
            if is_later {
                out.comment("Not in this version.");
            }
            out.line("[[service.check]]", false);
        }
        out.keys(&keys::CHECK, |key| key.only.contains(kind) || (is_first && key.only.is_empty()));
    }
}

struct Out {
    text: String,
    /// Whether all that follows is commented out.
    is_aside: bool,
}

impl Out {
    fn header(&mut self, scope: &Scope) {
        self.text.push('\n');
        let later = if self.is_aside { " Not in this version." } else { "" };
        self.comment(&format!("{}{later}", scope.doc));
        self.line(scope.header, false);
    }

    fn keys(&mut self, scope: &'static Scope, is_wanted: impl Fn(&Key) -> bool) {
        for key in scope.keys.iter().filter(|key| scope.takes(key) && is_wanted(key)) {
            let default = match key.default {
                _ if key.required && !key.name.contains('.') => " Required.".to_owned(),
                Some(default) if default == key.example => " (default)".to_owned(),
                Some(default) => format!(" Default: {default}."),
                None => String::new(),
            };
            let later = if key.later.is_empty() || self.is_aside { "" } else { " Not in this version." };
            self.comment(&format!("{}{default}{later}", key.doc));
            self.line(&format!("{} = {}", key.name, key.example), key.aside);
        }
    }

    fn comment(&mut self, text: &str) {
        let mut line = String::from("#");
        for word in text.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.text.push_str(&line);
                self.text.push('\n');
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        self.text.push_str(&line);
        self.text.push('\n');
    }

    fn line(&mut self, line: &str, is_aside: bool) {
        if is_aside || self.is_aside {
            self.text.push('#');
        }
        self.text.push_str(line);
        self.text.push('\n');
    }
}
