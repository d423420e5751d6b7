//! `watchbell build`.

use super::{Global, Outcome, load, output};
use crate::{
    clock::{Clock, SystemClock},
    daemon::past,
    site::{self, Options, Publisher},
    store::Store,
    web,
};

pub fn build(global: &Global) -> Outcome {
    let config = load(global)?.config;
    let now = SystemClock::new().wall();
    let _lock = Store::hold(&config.store)?;
    let mut store = Store::open(&config.store, now)?;
    store.check_sound()?;
    store.set_services(&config.rules)?;
    let authority = store.mint(site::AUTHORITY, &site::authority(&config, now))?;
    // The site is about to lose what only it knows.
    past::heed(&config, &mut store, &authority, now)?;
    let reader = Store::reader(&config.store)?;
    let options = Options { subscribe_form: web::takes_subscribers(&config) };
    let published = Publisher::with_options(&config, options)?.publish(&reader, now)?;
    if !global.quiet {
        let (written, unchanged, removed) = (published.written, published.unchanged, published.removed);
        let output = config.site.output.display();
        output::say(&format!("{output}: {written} files written, {unchanged} as before, {removed} removed"));
    }
    Ok(())
}
