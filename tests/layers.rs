//! The house's walls: which crate may depend on which, which module may import which, and what a file may be called.
//!
//! The order of a crate's modules is the line of its `lib.rs` that reads `` `a` < `b` < `c` ``: lower never imports higher.

#![expect(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Each crate, the Cairn crates it may depend on, and the outside crates it must not.
const WALLS: &[(&str, &[&str], &[&str])] = &[
    ("shared/model", &[], &["tokio", "object_store", "rayon", "axum"]),
    ("shared/engine", &["cairn-model"], &["tokio", "object_store", "futures", "async-trait", "rand", "chrono", "axum"]),
    ("shared/storage", &["cairn-model"], &["half", "rayon", "axum", "lambda_http"]),
    ("indexer", &["cairn-model", "cairn-engine", "cairn-storage"], &["axum", "lambda_http"]),
    ("searcher", &["cairn-model", "cairn-engine", "cairn-storage"], &["parquet", "lambda_runtime"]),
];

/// Crates whose `lib.rs` must state an order.
const ORDERED: &[&str] = &["shared/engine", "shared/storage"];

/// Modules that must not know each other although their order would allow it: in which crate, who, and of whom.
const STRANGERS: &[(&str, &str, &[&str])] = &[("shared/engine", "payload", &["codec", "cluster", "graph", "hot"])];

/// Where `unsafe` may stand.
const UNSAFE_ROOMS: &[&str] = &["shared/engine/src/kernel/", "shared/storage/src/cache/mmap"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "misc", "manager", "base", "impl", "stuff"];

const FILE_LINES_MAX: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below a folder, as paths relative to the repository's root.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
}

fn all_rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["src", "shared", "indexer", "searcher", "tests", "benches", "fuzz"] {
        rust_files(&root().join(folder), &mut found);
    }
    assert!(found.len() > 20, "only {} files were found", found.len());
    found
}

/// The source without comments and without what is inside string literals, so that words can be looked for.
fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &source[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if let Some(hashes) = raw_string_hashes(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let start = hashes + 2;
            at += rest[start..].find(&close).map_or(rest.len(), |end| start + end + close.len());
            out.push_str("\"\"");
        } else if bytes[at] == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
            out.push_str("\"\"");
        } else if rest.starts_with("'\"'") {
            at += 3;
        } else if let Some(escaped) = rest.strip_prefix("'\\") {
            at += escaped.find('\'').map_or(2, |end| (end + 3).max(4));
        } else {
            let character = rest.chars().next().unwrap();
            out.push(character);
            at += character.len_utf8();
        }
    }
    out
}

fn raw_string_hashes(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|&byte| byte == b'#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        !code[..at].chars().next_back().is_some_and(is_word)
            && !code[at + word.len()..].chars().next().is_some_and(is_word)
    })
}

/// The first names of all paths that begin with `prefix`: `a` and `b` for `use crate::{a::X, b}; crate::a::y()`.
fn first_names(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].chars().next_back().is_some_and(|before| is_word(before) || before == ':' || before == '$') {
            continue;
        }
        let after = &code[at + prefix.len()..];
        if !after.starts_with('{') {
            names.push(after.chars().take_while(|&character| is_word(character)).collect());
            continue;
        }
        let (mut depth, mut name, mut first) = (0_usize, String::new(), true);
        for character in after.chars() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 1 && is_word(character) && first {
                name.push(character);
            } else if !character.is_whitespace() {
                first = false;
            }
            if (depth == 1 && matches!(character, ',' | '{')) || depth == 0 {
                names.extend((!name.is_empty()).then(|| std::mem::take(&mut name)));
                first = true;
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

/// A crate's module order, from the line of its `lib.rs` that states it.
fn order(lib: &str) -> Option<Vec<String>> {
    let line = lib.lines().find(|line| line.starts_with("//!") && line.contains("` < `"))?;
    let names = line.split(" < ").map(|part| part.split('`').nth(1).unwrap_or_default().to_owned());
    Some(names.collect())
}

/// What `lib.rs` re-exports, by item: `Store` -> `store`.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let code = code_only(lib);
    let mut map = BTreeMap::new();
    for statement in code.split(';') {
        let Some((_, path)) = statement.split_once("pub use ") else { continue };
        let Some((module, items)) = path.split_once("::") else { continue };
        for item in items.split(|character: char| !is_word(character)).filter(|item| !item.is_empty()) {
            map.insert(item.to_owned(), module.trim().to_owned());
        }
    }
    map
}

/// The modules that a file of module path `own` (`["cache", "fetch"]`) names, by `crate::` and by `super::`.
fn imports(code: &str, own: &[String], exports: &BTreeMap<String, String>) -> Vec<String> {
    let mut names = first_names(code, "crate::");
    // `super` once per level leads to the crate's root; inline modules (tests) add at most one level of their own.
    for extra in 0..2 {
        let chain = "super::".repeat(own.len() + extra);
        names.extend(first_names(code, &chain).into_iter().filter(|name| name != "super"));
    }
    names.into_iter().map(|name| exports.get(&name).cloned().unwrap_or(name)).collect()
}

/// Every import in one file that climbs, as text.
fn climbing(
    crate_folder: &str,
    order: &[String],
    exports: &BTreeMap<String, String>,
    path: &str,
    code: &str,
) -> Vec<String> {
    let own: Vec<String> =
        path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').map(ToOwned::to_owned).collect();
    let Some(rank) = order.iter().position(|name| *name == own[0]) else { return Vec::new() };
    let strangers = STRANGERS.iter().filter(|(folder, name, _)| *folder == crate_folder && *name == own[0]);
    let strangers: Vec<&str> = strangers.flat_map(|(_, _, names)| names.iter().copied()).collect();
    imports(code, &own, exports)
        .into_iter()
        .filter(|name| {
            order.iter().position(|other| other == name).is_some_and(|other| other > rank)
                || strangers.contains(&name.as_str())
        })
        .map(|name| format!("{crate_folder}/src/{path}: `{}` imports `{name}`", own[0]))
        .collect()
}

#[test]
fn crates_know_only_what_lies_below_them() {
    for (folder, allowed, forbidden) in WALLS {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        let mut section = "";
        for line in manifest.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
            }
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if section != "dependencies" || dependency.is_empty() {
                continue;
            }
            let ours = dependency.starts_with("cairn-");
            assert!(!ours || allowed.contains(&dependency), "{folder} depends on {dependency}");
            assert!(!forbidden.contains(&dependency), "{folder} depends on {dependency}");
        }
    }
}

#[test]
fn modules_import_only_what_lies_below_them() {
    let mut climbs = Vec::new();
    for (folder, ..) in WALLS {
        let source = root().join(folder).join("src");
        let lib = read(&source.join("lib.rs"));
        let Some(order) = order(&lib) else {
            assert!(!ORDERED.contains(folder), "{folder}/src/lib.rs states no order of its modules");
            continue;
        };
        let exports = exports(&lib);
        for name in &order {
            let exists = source.join(name).is_dir() || source.join(format!("{name}.rs")).is_file();
            assert!(exists, "{folder}/src/lib.rs orders `{name}`, which is no module");
        }
        let mut files = Vec::new();
        rust_files(&source, &mut files);
        for file in files {
            let path = file.strip_prefix(Path::new(folder).join("src")).unwrap().to_string_lossy().into_owned();
            let folder_in_order = path.split_once('/').is_none_or(|(first, _)| order.iter().any(|name| name == first));
            assert!(
                folder_in_order
                    || path.starts_with("bin/")
                    || path.starts_with("testing/")
                    || !ORDERED.contains(folder),
                "{folder}/src/{path}: its folder has no place in the order that lib.rs states"
            );
            if path.ends_with("tests.rs") {
                continue; // A module's tests may set it up with what lies above it.
            }
            climbs.extend(climbing(folder, &order, &exports, &path, &code_only(&read(&root().join(&file)))));
        }
    }
    assert!(climbs.is_empty(), "{}", climbs.join("\n"));
}

#[test]
fn unsafe_stays_in_its_rooms() {
    for file in all_rust_files() {
        let name = file.to_string_lossy();
        if !UNSAFE_ROOMS.iter().any(|room| name.starts_with(room)) {
            assert!(!has_word(&code_only(&read(&root().join(&file))), "unsafe"), "{name} contains unsafe code");
        }
    }
}

#[test]
fn files_are_short() {
    for file in all_rust_files() {
        let lines = read(&root().join(&file)).lines().count();
        assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines, more than {FILE_LINES_MAX}: split it", file.display());
    }
}

#[test]
fn names_say_what_is_inside() {
    for file in all_rust_files() {
        for part in file.with_extension("").iter() {
            assert!(!EMPTY_NAMES.contains(&&*part.to_string_lossy()), "{}: name it after what it is", file.display());
        }
        let code = code_only(&read(&root().join(&file)));
        for keyword in ["struct ", "enum ", "trait "] {
            for (at, _) in code.match_indices(keyword) {
                let name: String = code[at + keyword.len()..].chars().take_while(|&c| is_word(c)).collect();
                let empty = ["Manager", "Helper", "Impl", "Utils"].iter().any(|end| name.ends_with(end));
                assert!(!empty, "{}: name {name} after what it is", file.display());
            }
        }
    }
}

mod the_check_itself {
    use super::*;

    fn climbs(path: &str, source: &str) -> usize {
        let lib = "//! `low` < `middle` < `high`\npub use high::{Top, Peak};\nmod error;\npub use error::Error;";
        climbing("x", &order(lib).unwrap(), &exports(lib), path, &code_only(source)).len()
    }

    #[test]
    fn imports_upwards_are_seen_in_every_form() {
        for (source, count) in [
            ("use crate::high::X;", 1),
            ("use crate::{low::Y, high::{A, B}, Error};", 1),
            ("use crate::{Error, Top};", 1),
            ("fn f() -> crate::high::X { crate::Peak }", 2),
            ("use super::high::X;", 1),
            ("mod tests { use super::super::high::X; }", 1),
            ("use crate::{\n    low,\n    high,\n};", 1),
            ("use crate::low::{high, X}; use crate::{middle::high};", 0),
            ("// use crate::high::X;\n/* crate::high */ const S: &str = \"crate::high\";", 0),
            ("const R: &str = r#\"crate::high \" \"#; const C: char = '\"'; use crate::low;", 0),
            ("macro_rules! m { () => { $crate::low::x() } }", 0),
            ("use other_crate::high;", 0),
        ] {
            assert_eq!(climbs("middle.rs", source), count, "{source}");
        }
        assert_eq!(climbs("middle/deep/mod.rs", "use super::super::high;"), 1);
        assert_eq!(climbs("middle/deep.rs", "use super::high;"), 0);
        assert_eq!(climbs("high/mod.rs", "use crate::{low, middle};"), 0);
        assert_eq!(climbs("error.rs", "use crate::high;"), 0);
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("{ unsafe { x } }", "unsafe"));
        assert!(!has_word("#![allow(unsafe_code)]", "unsafe"));
        assert!(!has_word(&code_only("// unsafe\n\"unsafe\""), "unsafe"));
    }
}
