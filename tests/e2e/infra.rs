//! What `infra/` says of the programs, held against the programs.

use std::{fs, path::Path};

use crate::fixture::{Corpus, Place, Program, Serve, Server, binary};

fn infra() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("infra")
}

/// The arguments of the indexer in one manifest of `build-shards --print`, with the pod's shard filled in.
fn arguments(manifest: &str, shard: u32) -> Vec<String> {
    let args = manifest.split_once("args:\n").unwrap().1;
    let lines = args.lines().map_while(|line| line.trim().strip_prefix("- --"));
    lines.map(|line| format!("--{}", line.replace("$(SHARD)", &shard.to_string()))).collect()
}

/// The pods of an indexed Job and the one that publishes run these very commands.
#[test]
fn the_jobs_of_kubernetes_build_and_publish_shards() {
    let place = Place::local();
    let folder = place.folder().join("points");
    fs::create_dir(&folder).unwrap();
    for part in 0..2 {
        let rows: String =
            (part * 40..part * 40 + 40).map(|row| format!("{{\"id\":{row},\"vector\":[{row},1]}}\n")).collect();
        fs::write(folder.join(format!("part-{part}.jsonl")), rows).unwrap();
    }
    let script = || Program::new(&infra().join("kubernetes/build-shards"));
    let given =
        ["--store", place.url(), "--input", &folder.display().to_string(), "--collection", "docs", "--shards", "3"]
            .map(str::to_owned);
    let printed =
        script().args(given.iter().map(String::as_str)).args(["--distance", "euclid", "--print"]).run().ok().stdout;
    let (shards, publish) = printed.split_once("\n---\n").unwrap();
    assert!(!printed.contains('@'), "a place that was not filled in: {printed}");
    let index = |args: &[String]| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        place.cairn("index", &args)
    };
    index(&arguments(publish, 0)).refused(&["no shard of this generation was begun"]);
    for shard in [2, 0, 1] {
        index(&arguments(shards, shard)).ok();
    }
    index(&arguments(publish, 0)).ok();
    let server = place.serve(&Serve::default());
    assert_eq!(server.count("docs"), 80);

    for bad in [["--shards", "0"], ["--collection", "a b"], ["--distance", "x\ny: z"], ["--generation", "01J"]] {
        let args = given.iter().map(String::as_str).chain(["--distance", "dot"]).chain(bad).chain(["--print"]);
        script().args(args).run().refused(&[bad[0]]);
    }
}

/// Every variable that the module and the manifests set is one that the searcher knows, with a value that it takes.
#[test]
fn the_searcher_takes_what_the_functions_are_given() {
    let help = Program::new(&binary("searcher")).args(["--help"]).run().ok().stdout;
    let files = ["functions.tf", "kubernetes/searcher.yaml", "kubernetes/knative.yaml", "../Containerfile"];
    let mut found = 0;
    for file in files {
        let text = fs::read_to_string(infra().join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|word| word.starts_with("CAIRN_"));
        for word in words {
            assert!(help.contains(word), "{file} sets {word}, which the searcher does not know");
            found += 1;
        }
    }
    assert!(found >= 10, "only {found} variables were found");
}

/// The probes and the environment of the manifests, against a searcher that is started with them.
#[test]
fn the_searcher_answers_the_probes_of_its_manifest() {
    let place = Place::local();
    place.index(&Corpus::new(20, 4, "first"), &crate::fixture::Index::default());
    let text = fs::read_to_string(infra().join("kubernetes/searcher.yaml")).unwrap();
    let probes: Vec<_> = text.split("httpGet: { path: ").skip(1).map(|rest| rest.split(',').next().unwrap()).collect();
    assert!(probes.len() >= 3, "{probes:?}");
    let mut program = Program::new(&binary("searcher"));
    program.0.env("CAIRN_STORE", place.url()).env("CAIRN_CACHE_DIR", place.folder().join("cache"));
    program.0.env("CAIRN_CACHE_BYTES", "8GiB").env("CAIRN_API_KEY", "0123456789abcdef");
    let server = Server::start(program, &place.folder().join("searcher.log"));
    for probe in probes {
        let reply = server.get(probe);
        assert_eq!(reply.status, 200, "{probe}: {}", reply.body);
    }
    assert!(server.get("/collections").body["status"]["error"].is_string(), "it asks for no key");
}
