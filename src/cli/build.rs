//! `watchbell build`.

use super::{Global, Outcome, load, output};
use crate::{
    clock::{Clock, SystemClock},
    site::{self, Publisher},
    store::Store,
};

pub fn build(global: &Global) -> Outcome {
    let config = load(global)?.config;
    let now = SystemClock::new().wall();
    let _lock = Store::hold(&config.store)?;
    let mut store = Store::open(&config.store, now)?;
    store.check_sound()?;
    store.set_services(&config.rules)?;
    store.mint(site::AUTHORITY, &site::authority(&config, now))?;
    let reader = Store::reader(&config.store)?;
    let published = Publisher::new(&config)?.publish(&reader, now)?;
    if !global.quiet {
        let (written, unchanged, removed) = (published.written, published.unchanged, published.removed);
        let output = config.site.output.display();
        output::say(&format!("{output}: {written} files written, {unchanged} as before, {removed} removed"));
    }
    Ok(())
}
