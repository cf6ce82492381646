use super::*;
use crate::testing::conformance;

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    conformance::check(&Store::open("memory://", &StoreOptions::default()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_directory_conforms() {
    let dir = tempfile::tempdir().unwrap();
    // Neither has to exist, and spaces and signs are no trouble.
    let path = dir.path().join("new % dir#1").join("sub");
    conformance::check(&Store::open(path.to_str().unwrap(), &StoreOptions::default()).await.unwrap()).await;
}

/// Any other store: `CAIRN_TEST_STORE=s3://bucket/prefix`, with the usual variables of its provider.
#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_the_environment_conforms() {
    let Ok(url) = std::env::var("CAIRN_TEST_STORE") else { return };
    let url = format!("{url}/{}", ulid::Ulid::generate());
    conformance::check(&Store::open(&url, &StoreOptions::default()).await.unwrap()).await;
}

mod unsafe_stores {
    use object_store::memory::InMemory;

    use super::*;
    use crate::{
        Catalog,
        testing::{
            conformance::{name, schema, segment_file},
            faults::{Faults, Ignores},
        },
    };
    use cairn_model::ErrorKind;

    #[tokio::test]
    async fn a_store_that_ignores_conditions_is_refused_at_the_first_write() {
        for (absent, matches, sign) in
            [(true, true, "If-None-Match"), (true, false, "If-None-Match"), (false, true, "If-Match on PUT")]
        {
            let memory = Arc::new(InMemory::new());
            let store = Faults::new(Arc::clone(&memory) as _).ignoring(Ignores { absent, matches }).into_store();
            let catalog = Catalog::new(store.clone());
            // Reading is safe.
            assert_eq!(catalog.list().await.unwrap(), []);
            let generation = catalog.begin(&name("c"), &schema(1));
            let (file, entry) = segment_file(b"x");
            for error in [
                catalog.create(&name("c"), &schema(1)).await.unwrap_err(),
                catalog.put_segment(&generation, 0, file.path(), &entry).await.unwrap_err(),
                store.probe().await.unwrap_err(),
            ] {
                assert_eq!((error.kind, error.what.as_str()), (ErrorKind::Unsupported, "faulty://store"));
                assert!(error.why.contains(sign) && error.why.contains("Use a store"), "{error}");
            }
            let left: Vec<_> = futures::TryStreamExt::try_collect(memory.list(None)).await.unwrap();
            assert_eq!(left, [], "nothing stays behind");
        }
    }

    #[tokio::test]
    async fn a_store_is_tried_once() {
        let faults = Faults::new(Arc::new(InMemory::new()));
        let (steps, store) = (faults.steps(), faults.into_store());
        store.require_safe().await.unwrap();
        let tried = steps.count();
        assert!(tried > 4);
        store.clone().metered(Arc::default()).require_safe().await.unwrap();
        assert_eq!(steps.count(), tried);
    }
}

mod processes {
    use std::process::{Child, Command};

    use super::*;
    use crate::store::{Fetched, Key, Put};

    async fn counter(dir: &str) -> (Store, Key) {
        (Store::open(dir, &StoreOptions::default()).await.unwrap(), Key::probe(ulid::Ulid::nil()))
    }

    async fn increment(store: &Store, key: &Key) -> u64 {
        loop {
            let Fetched::Found(object) = store.get(key, None, 1_000).await.unwrap() else { panic!("no counter") };
            let count: u64 = std::str::from_utf8(&object.bytes).unwrap().split(' ').next().unwrap().parse().unwrap();
            let next = format!("{} {}", count + 1, ulid::Ulid::generate());
            if let Put::Done(_) = store.compare_and_swap(key, next.into(), &object.version).await.unwrap() {
                return count + 1;
            }
        }
    }

    /// What the next tests run in processes of their own.
    #[tokio::test]
    async fn incrementing_child() {
        let Ok(task) = std::env::var("CAIRN_TEST_INCREMENTS") else { return };
        let (count, dir) = task.split_once(' ').unwrap();
        let (store, key) = counter(dir).await;
        for _ in 0..count.parse::<u32>().unwrap() {
            increment(&store, &key).await;
        }
    }

    fn start(count: u32, dir: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "store::tests::processes::incrementing_child"]);
        command
            .env("CAIRN_TEST_INCREMENTS", format!("{count} {dir}"))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn processes_lose_no_increment_and_die_without_leaving_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().to_str().unwrap();
        let (store, key) = counter(dir).await;
        assert!(matches!(store.put_if_absent(&key, "0 first".into()).await.unwrap(), Put::Done(_)));
        let children: Vec<_> = (0..3).map(|_| start(25, dir)).collect();
        for _ in 0..25 {
            increment(&store, &key).await;
        }
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(increment(&store, &key).await, 101);

        for _ in 0..5 {
            let mut children: Vec<_> = (0..2).map(|_| start(1_000_000, dir)).collect();
            tokio::time::sleep(Duration::from_millis(150)).await;
            for child in &mut children {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            let before = increment(&store, &key).await;
            assert_eq!(increment(&store, &key).await, before + 1);
        }
    }
}

/// A server that answers what it is told to: the real S3 client against every kind of trouble.
mod http {
    use cairn_model::ErrorKind;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        Meter,
        store::{Fetched, Key, Put},
    };

    #[derive(Clone, Copy, Debug)]
    enum Reply {
        Status(u16, &'static str),
        /// A whole object.
        Object(&'static str),
        /// The body of the last PUT.
        Echo,
        /// The head of a whole object, and half of it.
        Cut,
        Hang,
    }
    use Reply::{Cut, Echo, Hang, Object, Status};

    fn response(reply: Reply, last_put: &str) -> Option<(String, bool)> {
        let object = |body: &str| {
            format!(
                "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        Some(match reply {
            Status(status, body) => {
                let etag = if status == 200 { "ETag: \"e\"\r\n" } else { "" };
                (format!("HTTP/1.1 {status} X\r\n{etag}Content-Length: {}\r\n\r\n{body}", body.len()), false)
            }
            Object(body) => (object(body), false),
            Echo => (object(last_put), false),
            Cut => (object("0123456789")[..105].to_owned(), true),
            Hang => return None,
        })
    }

    /// Answers one request after another with the next reply, and the last one for ever. Connections are not reused.
    async fn serve(replies: &'static [Reply]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut last_put = String::new();
            let mut hanging = Vec::new();
            for n in 0.. {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                loop {
                    let mut part = [0; 4096];
                    let read = connection.read(&mut part).await.unwrap_or(0);
                    request.extend_from_slice(&part[..read]);
                    let text = String::from_utf8_lossy(&request);
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        if read == 0 {
                            break;
                        }
                        continue;
                    };
                    let length = head
                        .to_lowercase()
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                    if body.len() >= length.unwrap_or(0) {
                        if head.starts_with("PUT") {
                            last_put = body.to_owned();
                        }
                        break;
                    }
                }
                match response(*replies.get(n).or(replies.last()).unwrap(), &last_put) {
                    Some((text, _)) => {
                        let text = text.replacen("\r\n", "\r\nConnection: close\r\n", 1);
                        let _ = connection.write_all(text.as_bytes()).await;
                        let _ = connection.shutdown().await;
                    }
                    None => hanging.push(connection),
                }
            }
        });
        address
    }

    async fn store(replies: &'static [Reply], timeout_ms: u64) -> (Store, Arc<Meter>) {
        let options = StoreOptions {
            endpoint: Some(serve(replies).await),
            region: Some("us-east-1".to_owned()),
            access_key_id: Some("key".to_owned()),
            secret_access_key: Some("do-not-tell".to_owned()),
            request_timeout_ms: Some(timeout_ms),
            no_hedge: false,
        };
        assert!(!format!("{options:?}").contains("do-not-tell"));
        let meter = Arc::new(Meter::default());
        (Store::open("s3://bucket/root", &options).await.unwrap().metered(Arc::clone(&meter)), meter)
    }

    fn key() -> Key {
        Key::probe(ulid::Ulid::nil())
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again() {
        for replies in [
            &[Status(503, "<Code>SlowDown</Code>"), Status(500, ""), Object("whole")] as &[_],
            &[Cut, Status(429, ""), Object("whole")],
            &[Status(408, ""), Status(502, ""), Object("whole")],
        ] {
            let (store, meter) = store(replies, 10_000).await;
            let Fetched::Found(object) = store.get(&key(), None, 100).await.unwrap() else { panic!() };
            assert_eq!((object.bytes.as_ref(), meter.usage().gets, meter.usage().waves), (b"whole".as_slice(), 3, 3));
        }
        let (store, meter) = store(&[Hang, Object("whole")], 1_000).await;
        assert!(matches!(store.get(&key(), None, 100).await.unwrap(), Fetched::Found(_)));
        assert_eq!(meter.usage().gets, 2, "who hangs gets a second chance");
    }

    #[tokio::test]
    async fn what_cannot_pass_is_explained_at_once() {
        for (reply, kind, sign) in [
            (Status(400, "<Code>InvalidRequest</Code>"), ErrorKind::Unavailable, "InvalidRequest"),
            (Status(404, "<Code>NoSuchBucket</Code>"), ErrorKind::Unavailable, "bucket does not exist"),
            (Status(403, "<Code>AccessDenied</Code>"), ErrorKind::Unavailable, "check the keys"),
            (Status(401, ""), ErrorKind::Unavailable, "check the keys"),
            (Status(501, "<Code>NotImplemented</Code>"), ErrorKind::Unavailable, "501"),
        ] {
            let (store, meter) = store(Box::leak(Box::new([reply])), 10_000).await;
            let error = store.get(&key(), None, 100).await.unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.what.starts_with("s3://bucket/root/.cairn-probe/") && error.why.contains(sign), "{error}");
            assert!(!error.to_string().contains("do-not-tell"));
            assert_eq!(meter.usage().gets, 1, "{error}");
            assert_eq!(store.ping().await.unwrap_err().kind, ErrorKind::Unavailable);
        }
        let (store, _) = store(&[Status(404, "<Code>NoSuchKey</Code>")], 10_000).await;
        assert!(matches!(store.get(&key(), None, 100).await.unwrap(), Fetched::Absent));
        store.ping().await.unwrap();
    }

    #[tokio::test]
    async fn a_deadline_is_kept() {
        for replies in [&[Hang] as &[_], &[Status(503, "")]] {
            let (store, _) = store(replies, 400).await;
            let started = std::time::Instant::now();
            let error = store.get(&key(), None, 100).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable);
            assert!(error.why.contains("attempt"), "{error}");
            assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        }
        // Nobody listens.
        let options = StoreOptions {
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            request_timeout_ms: Some(300),
            ..StoreOptions::default()
        };
        let options = StoreOptions { access_key_id: Some("a".into()), secret_access_key: Some("b".into()), ..options };
        let store = Store::open("s3://bucket", &options).await.unwrap();
        assert_eq!(store.ping().await.unwrap_err().kind, ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_lost_reply_is_told_from_a_lost_race() {
        let ours = || bytes::Bytes::from_static(b"ours");
        // Applied, its reply lost, refused the second time, and read back.
        let (applied, _) = store(&[Status(500, ""), Status(412, ""), Echo], 10_000).await;
        assert!(matches!(applied.put_if_absent(&key(), ours()).await.unwrap(), Put::Done(_)));
        let (lost, _) = store(&[Status(500, ""), Status(412, ""), Object("theirs")], 10_000).await;
        assert!(matches!(lost.put_if_absent(&key(), ours()).await.unwrap(), Put::Refused));
        // S3 answers 409 while another request is in flight; nobody has won yet.
        let (busy, meter) = store(&[Status(409, ""), Status(404, ""), Status(200, "")], 10_000).await;
        assert!(matches!(busy.put_if_absent(&key(), ours()).await.unwrap(), Put::Done(_)));
        assert_eq!((meter.usage().puts, meter.usage().gets), (2, 1));
        let version = crate::store::Version { etag: Some("\"e\"".to_owned()), version: None };
        let (busy, _) = store(&[Status(409, ""), Object("before"), Status(200, "")], 10_000).await;
        assert!(matches!(busy.compare_and_swap(&key(), ours(), &version).await.unwrap(), Put::Done(_)));
        let gone = crate::store::Version { etag: Some("\"old\"".to_owned()), version: None };
        let (swapped, _) = store(&[Status(412, ""), Object("theirs")], 10_000).await;
        assert!(matches!(swapped.compare_and_swap(&key(), ours(), &gone).await.unwrap(), Put::Refused));
    }
}

#[tokio::test]
async fn bad_urls_are_named() {
    let open = |url: &'static str| async move { Store::open(url, &StoreOptions::default()).await.unwrap_err() };
    for (url, sign) in [
        ("", "is empty"),
        ("s3://", "names no bucket"),
        ("ftp://host/x", "unknown scheme 'ftp'"),
        ("s3://bucket/x?y=1", "must not contain"),
        ("/etc/hostname", "is a file"),
        ("file://host/x", "no path on this machine"),
    ] {
        let error = open(url).await;
        assert_eq!(error.kind, cairn_model::ErrorKind::Invalid, "{error}");
        assert!(error.why.contains(sign), "{url}: {error}");
    }
    let error = open("s3://key:do-not-tell@bucket/x").await;
    assert!(error.why.contains("must not contain keys") && !error.to_string().contains("do-not-tell"), "{error}");
}

#[tokio::test]
async fn opening_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let store = Store::open(path.to_str().unwrap(), &StoreOptions::default()).await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(store.list(&Key::collections()).await.unwrap().len(), 0);
    assert_eq!(store.list_folders(&Key::collections()).await.unwrap().len(), 0);
    assert!(!path.exists());
    assert_eq!(store.url(), path.to_str().unwrap());
}
