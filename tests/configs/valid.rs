//! Files that load, and what becomes of them.

use std::fs;

use watchbell::config::{Config, Loaded};

use super::{compare, env, files, folder, shown};

fn load(name: &str) -> Loaded {
    let path = folder("valid").join(name);
    let text = fs::read_to_string(&path).unwrap();
    match Config::parse(&path, &text, &env) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{}", shown(&errors, &folder("valid"))),
    }
}

#[test]
fn good_files_load_and_say_what_will_not_happen() {
    let mut wrong = Vec::new();
    for path in files("valid") {
        let loaded = load(path.file_name().unwrap().to_str().unwrap());
        let said = shown(&loaded.warnings, &folder("valid"));
        wrong.extend(compare(&path.with_extension("txt"), &said).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
