//! What was read of one table: values by key, each with its place, defaults filled in.

use std::{collections::BTreeMap, net::SocketAddr, ops::Range, time::Duration};

use ipnet::IpNet;
use jiff::{Timestamp, tz::TimeZone};
use regex::Regex;
use url::Url;

use super::{Key, Scope, Value};
use crate::{
    config::cron::Cron,
    domain::{subscriber::Address, text::LocalText},
    secret::Secret,
};

/// One key that stands in the file.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where its name stands.
    pub key: Range<usize>,
    /// Where its value stands.
    pub span: Range<usize>,
    /// Its value; `None` if that was unusable, which has been reported.
    pub value: Option<Value>,
}

/// One table.
#[derive(Clone, Debug)]
pub struct Fields {
    scope: &'static Scope,
    header: Range<usize>,
    /// In order of their names. A vector: a tree would be made for eleven keys where there are three,
    /// for each check of thousands.
    items: Vec<(&'static str, Item)>,
    /// Tables within, by name, such as `dkim` of `[email]`: where they stand.
    inner: BTreeMap<String, Range<usize>>,
}

impl Fields {
    /// A table of which nothing is known yet.
    #[must_use]
    pub fn new(scope: &'static Scope, header: Range<usize>) -> Self {
        Self { scope, header, items: Vec::new(), inner: BTreeMap::new() }
    }

    pub(super) fn insert(&mut self, key: &'static Key, item: Item) {
        let at = self.place(key.name);
        let (Ok(place) | Err(place)) = at;
        self.items.splice(place..place + usize::from(at.is_ok()), [(key.name, item)]);
    }

    /// Where a key stands among the items, or would stand.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.items.binary_search_by(|(known, _)| (*known).cmp(name))
    }

    pub(super) fn open(&mut self, name: &str, span: Range<usize>) {
        self.inner.insert(name.to_owned(), span);
    }

    /// Where its header stands.
    #[must_use]
    pub fn header(&self) -> Range<usize> {
        self.header.clone()
    }

    /// The key as it stands in the file.
    #[must_use]
    pub fn item(&self, name: &str) -> Option<&Item> {
        self.items.get(self.place(name).ok()?).map(|(_, item)| item)
    }

    /// All keys that stand in the file, by name.
    pub fn items(&self) -> impl Iterator<Item = (&'static str, &Item)> {
        self.items.iter().map(|(name, item)| (*name, item))
    }

    /// Whether the key stands in the file.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.item(name).is_some()
    }

    /// Whether any key of the table `name` within this one stands in the file.
    #[must_use]
    pub fn has_within(&self, name: &str) -> bool {
        self.inner.contains_key(name)
    }

    /// Where the table `name` within this one stands.
    #[must_use]
    pub fn within(&self, name: &str) -> Range<usize> {
        self.inner.get(name).cloned().unwrap_or_else(|| self.header())
    }

    /// Where the key's value stands, else where the table begins.
    #[must_use]
    pub fn span(&self, name: &str) -> Range<usize> {
        self.item(name).map_or_else(|| self.header(), |item| item.span.clone())
    }

    /// Where the key's name stands, else where the table begins.
    #[must_use]
    pub fn key_span(&self, name: &str) -> Range<usize> {
        self.item(name).map_or_else(|| self.header(), |item| item.key.clone())
    }

    /// The value, else the default. `None` if there is neither, or the value was unusable.
    #[must_use]
    pub fn get<T: FromValue>(&self, name: &str) -> Option<T> {
        match self.item(name) {
            Some(item) => item.value.as_ref().and_then(T::from_value),
            None => self.default(name),
        }
    }

    /// The same, with the type's own nothing in place of `None`.
    #[must_use]
    pub fn get_or_default<T: FromValue + Default>(&self, name: &str) -> T {
        self.get(name).unwrap_or_default()
    }

    /// The value as it stands in the file, without the default.
    #[must_use]
    pub fn given<T: FromValue>(&self, name: &str) -> Option<T> {
        self.item(name)?.value.as_ref().and_then(T::from_value)
    }

    /// What the key is without being given.
    #[must_use]
    pub fn default<T: FromValue>(&self, name: &str) -> Option<T> {
        let key = self.scope.key(name)?;
        T::from_value(&key.kind.constant(key.name, key.default?)?)
    }

    /// The elements of a list, each with its place; unusable ones are left out.
    #[must_use]
    pub fn list<T: FromValue>(&self, name: &str) -> Vec<(T, Range<usize>)> {
        let given = self.item(name).map(|item| item.value.clone());
        let value = given.unwrap_or_else(|| {
            let key = self.scope.key(name)?;
            key.kind.constant(key.name, key.default?)
        });
        let Some(Value::List(items)) = value else { return Vec::new() };
        items.iter().filter_map(|item| Some((T::from_value(item.value.as_ref()?)?, item.span.clone()))).collect()
    }

    /// The entries of a free table in the order of the file: name, its place, value.
    #[must_use]
    pub fn map<T: FromValue>(&self, name: &str) -> Vec<(String, Range<usize>, T)> {
        let Some(Item { value: Some(Value::Map(entries)), .. }) = self.item(name) else { return Vec::new() };
        entries
            .iter()
            .filter_map(|(name, item)| Some((name.clone(), item.key.clone(), T::from_value(item.value.as_ref()?)?)))
            .collect()
    }

    /// The tables of a list of tables.
    #[must_use]
    pub fn tables(&self, name: &str) -> Vec<&Self> {
        match self.item(name) {
            Some(Item { value: Some(Value::Tables(tables)), .. }) => tables.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// A table; `None` if it does not stand in the file.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Self> {
        match self.item(name)? {
            Item { value: Some(Value::Table(table)), .. } => Some(table),
            _ => None,
        }
    }
}

/// What a [`Value`] can be taken as.
pub trait FromValue: Sized {
    /// The value, if it is one of these.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty: $variant:ident),+ $(,)?) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$variant(value) => Some(value.clone()),
                    _ => None,
                }
            }
        }
    )+};
}

from_value!(
    bool: Bool, i64: Integer, f64: Number, String: Text, Duration: Duration, u64: Bytes, Secret: Secret, Url: Url,
    SocketAddr: Socket, IpNet: Network, Address: Address, Cron: Cron, Regex: Regex, serde_json::Value: Json,
    Timestamp: At, LocalText: Local, (TimeZone, String): Zone, (String, Address): Mailbox, (String, u16): HostPort,
    (u16, u16): Statuses,
);

impl FromValue for u32 {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).and_then(|number| Self::try_from(number).ok())
    }
}
