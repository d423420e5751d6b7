//! What a form offers to choose from, and what of it is chosen.

use serde::Serialize;

use super::Context;
use crate::domain::{Impact, service::Service, subscriber::Choice};

/// Everything that a subscriber may choose.
#[derive(Clone, Debug, Serialize)]
pub struct Choices {
    /// Groups with their services, in order; services without a group come last, in one without id.
    pub groups: Vec<Group>,
    /// Whether incidents.
    pub incidents: bool,
    /// Whether planned work.
    pub maintenance: bool,
    /// The least impact.
    pub impacts: Vec<Item>,
    /// Languages of the site; empty if there is one only.
    pub languages: Vec<Item>,
    /// The zone; empty: that of the site.
    pub timezone: String,
    /// Whether a webhook may be told, too.
    pub webhooks: bool,
}

/// A group with its services.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// Its permanent name; empty: no group.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whether it is chosen.
    pub chosen: bool,
    /// Whether it or any of its services is chosen.
    pub open: bool,
    /// Its services.
    pub services: Vec<Item>,
}

/// One thing to choose.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// What the form sends.
    pub value: String,
    /// What people read.
    pub name: String,
    /// Whether it is chosen.
    pub chosen: bool,
}

impl Choices {
    /// What there is, with `choice` ticked.
    #[must_use]
    pub fn new(context: &Context, choice: &Choice) -> Self {
        let wants = &choice.wants;
        let item = |service: &Service| Item {
            value: service.id.to_string(),
            name: service.name.clone(),
            chosen: wants.services.contains(&service.id),
        };
        let mut groups: Vec<Group> = context
            .rules
            .groups
            .iter()
            .map(|group| {
                let services =
                    context.rules.services.iter().filter(|service| service.group.as_ref() == Some(&group.id));
                let services: Vec<Item> = services.map(|service| item(service)).collect();
                let chosen = wants.groups.contains(&group.id);
                let open = chosen || services.iter().any(|service| service.chosen);
                Group { id: group.id.to_string(), name: group.name.clone(), chosen, open, services }
            })
            .filter(|group| !group.services.is_empty())
            .collect();
        let alone = context.rules.services.iter().filter(|service| service.group.is_none());
        let alone: Vec<Item> = alone.map(|service| item(service)).collect();
        if !alone.is_empty() {
            groups.push(Group { id: String::new(), name: String::new(), chosen: false, open: true, services: alone });
        }
        let impact = |impact: Impact| Item {
            value: impact.as_str().to_owned(),
            name: match impact {
                Impact::None => context.words.text("manage.impact_all", &[]),
                _ => context.words.impact(impact).to_owned(),
            },
            chosen: wants.min_impact == impact,
        };
        Self {
            groups,
            incidents: wants.incidents,
            maintenance: wants.maintenance,
            impacts: [Impact::None, Impact::Minor, Impact::Major, Impact::Critical].map(impact).to_vec(),
            languages: languages(context, choice),
            timezone: choice.timezone.clone().unwrap_or_default(),
            webhooks: context.takes_webhooks,
        }
    }
}

fn languages(context: &Context, choice: &Choice) -> Vec<Item> {
    if context.languages.len() < 2 {
        return Vec::new();
    }
    let own = Item {
        value: String::new(),
        name: context.words.text("manage.language_site", &[]),
        chosen: choice.language.is_none(),
    };
    let item = |(tag, name): &(String, String)| Item {
        value: tag.clone(),
        name: name.clone(),
        chosen: choice.language.as_ref() == Some(tag),
    };
    std::iter::once(own).chain(context.languages.iter().map(item)).collect()
}
