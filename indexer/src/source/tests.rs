use std::{fs, io::Write as _, path::PathBuf};

use cairn_model::PointId;
use proptest::prelude::*;

use super::*;

/// A `.npy` file.
fn npy(version: u8, descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    bytes.extend(if version == 1 { &length[..2] } else { &length[..] });
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Everything that a source brings.
#[derive(Debug, Default, PartialEq)]
struct All {
    ids: Vec<PointId>,
    vectors: Vec<f32>,
    payloads: Vec<String>,
    rows: usize,
}

fn drain(mut source: impl Source) -> Result<All> {
    let (mut all, mut batch) = (All::default(), Batch::default());
    let dim = source.layout().dim;
    while source.next(&mut batch)? {
        assert!(batch.rows > 0);
        assert_eq!(batch.vectors.len(), batch.rows * dim);
        assert_eq!(batch.ids.len(), if source.has_ids() { batch.rows } else { 0 });
        all.ids.append(&mut batch.ids);
        all.vectors.append(&mut batch.vectors);
        all.payloads.append(&mut batch.payloads);
        all.rows += batch.rows;
    }
    Ok(all)
}

fn read_npy(bytes: &[u8]) -> Result<All> {
    drain(Npy::new(Input::new("f.npy", bytes))?)
}

fn read_vecs(bytes: &[u8], element: Element) -> Result<All> {
    let input = Input::new("f.vecs", bytes);
    drain(if element == Element::U8 { Vecs::bvecs(input)? } else { Vecs::fvecs(input)? })
}

fn read_jsonl(text: &[u8]) -> Result<All> {
    drain(Jsonl::new(Input::new("f.jsonl", text))?)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) {
    let error = result.unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "{error}\nnames no {part:?}");
    }
}

struct Boxed(Box<dyn Source>);

impl Source for Boxed {
    fn file(&self) -> &str {
        self.0.file()
    }
    fn layout(&self) -> Layout {
        self.0.layout()
    }
    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        self.0.next(batch)
    }
    fn has_ids(&self) -> bool {
        self.0.has_ids()
    }
    fn has_payloads(&self) -> bool {
        self.0.has_payloads()
    }
    fn progress(&self) -> (u64, u64) {
        self.0.progress()
    }
}

/// A folder of test files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        let file = fs::File::create(&path).unwrap();
        if name.ends_with(".gz") {
            let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap();
        } else if name.ends_with(".zst") {
            zstd::stream::copy_encode(bytes, file, 1).unwrap();
        } else {
            fs::write(&path, bytes).unwrap();
        }
        path
    }

    fn read(&self, input: &Path, ids: Option<&Path>, payload: Option<&Path>) -> Result<All> {
        drain(Boxed(open(&Files { input, ids, payload })?))
    }
}

#[test]
fn npy_of_every_version_and_type_is_read() {
    let expected = [0.0, 1.0, 2.0, 3.0, 4.0, 255.0];
    let half: Vec<u8> = expected.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
    for version in 1..=3 {
        for (descr, data) in [("<f4", f32_bytes(&expected)), ("<f2", half.clone()), ("|u1", vec![0, 1, 2, 3, 4, 255])] {
            let all = read_npy(&npy(version, descr, "(2, 3)", &data)).unwrap();
            assert_eq!((all.rows, all.vectors.as_slice()), (2, &expected[..]), "{descr}");
        }
    }
    let empty = read_npy(&npy(1, "<f4", "(0, 3)", &[])).unwrap();
    assert_eq!(empty.rows, 0);
}

#[test]
fn npy_cut_anywhere_or_too_long_is_refused() {
    let good = npy(1, "<f4", "(4, 3)", &f32_bytes(&[1.0; 12]));
    for cut in 0..good.len() {
        let error = read_npy(&good[..cut]).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "cut at {cut}: {error}");
    }
    refused(read_npy(&good[..good.len() - 1]), &["f.npy", &format!("byte {}", good.len() - 1), "row 3"]);
    refused(read_npy(&[&good[..], &[0]].concat()), &["after the last of 4 rows"]);
}

#[test]
fn npy_that_is_something_else_is_refused() {
    for (bytes, parts) in [
        (npy(1, "<f8", "(1, 1)", &[0; 8]), &["<f8", "<f4"][..]),
        (npy(1, ">f4", "(1, 1)", &[0; 4]), &[">f4"]),
        (npy(1, "<f4", "(4,)", &[0; 16]), &["1 dimensions"]),
        (npy(1, "<f4", "(1, 2, 3)", &[0; 24]), &["3 dimensions"]),
        (npy(1, "<f4", "(1, 65537)", &[0; 24]), &["65537"]),
        (npy(1, "<f4", "(1, 0)", &[]), &["0 dimensions"]),
        (npy(1, "<f4", "(99999999999999999999, 4)", &[]), &["size"]),
        (npy(1, "<f4", "(18446744073709551615, 4)", &[]), &["row 0 of 18446744073709551615"]),
        (npy(1, "<f4", "(-1, 4)", &[]), &["size"]),
        (npy(9, "<f4", "(1, 1)", &[0; 4]), &["version 9", "byte 6"]),
        (b"PK\x03\x04 an .npz file".to_vec(), &["byte 0", "NUMPY"]),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), &["4294967295", "65536"]),
        (npy(1, "<f4", "(1, 1), 'more': 1", &[0; 4]), &["more"]),
        (npy(1, "<f4", "(1, 1), 'shape': (1, 1)", &[0; 4]), &["shape"]),
        (npy(1, "<f4", "(1, 2)", &f32_bytes(&[1.0, f32::NAN])), &["row 0", "element 1", "NaN", "finite"]),
        (npy(1, "<f4", "(1, 2)", &f32_bytes(&[f32::INFINITY, 0.0])), &["row 0", "inf"]),
    ] {
        refused(read_npy(&bytes), parts);
    }
    let text = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }";
    let mut fortran = b"\x93NUMPY\x01\x00".to_vec();
    fortran.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
    fortran.extend(text.as_bytes());
    refused(read_npy(&fortran), &["Fortran"]);
}

#[test]
fn vecs_are_read_and_cuts_found() {
    let row = |values: &[f32]| [&u32::try_from(values.len()).unwrap().to_le_bytes()[..], &f32_bytes(values)].concat();
    let good = [row(&[1.0, 2.0]), row(&[3.0, 4.0]), row(&[5.0, 6.0])].concat();
    let all = read_vecs(&good, Element::F32).unwrap();
    assert_eq!((all.rows, all.vectors), (3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    for cut in 0..good.len() {
        match read_vecs(&good[..cut], Element::F32) {
            Ok(all) => assert!(cut % 12 == 0 && cut > 0 && all.rows == cut / 12, "cut at {cut}"),
            Err(error) => assert!(matches!(error, Error::Malformed { .. }), "{error}"),
        }
    }
    let bytes = [&3u32.to_le_bytes()[..], &[7, 8, 9]].concat();
    assert_eq!(read_vecs(&bytes, Element::U8).unwrap().vectors, [7.0, 8.0, 9.0]);

    refused(read_vecs(&[row(&[1.0, 2.0]), row(&[1.0])].concat(), Element::F32), &["byte 12", "row 1", "1 dimensions"]);
    refused(read_vecs(&(-1i32).to_le_bytes(), Element::F32), &["byte 0", "4294967295"]);
    refused(read_vecs(&0u32.to_le_bytes(), Element::F32), &["0 dimensions"]);
    refused(read_vecs(&row(&[f32::NAN]), Element::F32), &["row 0", "NaN"]);
    refused(read_vecs(b"", Element::F32), &["byte 0"]);
}

#[test]
fn jsonl_is_read_in_all_its_forms() {
    let text = br#"{"id": 7, "vector": [1, 2.5], "payload": {"a": {"b": [1]}}}

{"vector":[3,4],"id":"936da01f-9abd-4d9d-80c7-02af85c822a8"}
{"title": "x\ny", "n": null, "vector": [5e-1, -6], "id": 9}
{"id": 10, "vector": [0, 0], "payload": null}"#;
    let all = read_jsonl(text).unwrap();
    assert_eq!(all.rows, 4);
    assert_eq!(all.ids[0], PointId::Num(7));
    assert!(matches!(all.ids[1], PointId::Uuid(_)));
    assert_eq!(all.vectors, [1.0, 2.5, 3.0, 4.0, 0.5, -6.0, 0.0, 0.0]);
    assert_eq!(all.payloads, [r#"{"a": {"b": [1]}}"#, "", r#"{"title":"x\ny","n":null}"#, ""]);

    let all = read_jsonl(b"{\"vector\":[1]}\r\n{\"vector\":[2]}\r\n").unwrap();
    assert_eq!((all.rows, all.ids.len()), (2, 0));
}

#[test]
fn jsonl_lines_that_are_wrong_are_named() {
    let first = "{\"id\":1,\"vector\":[1,2]}\n";
    for (second, parts) in [
        ("{\"id\":2,\"vector\":[1]}", &["1 dimensions", "expected 2"][..]),
        ("{\"vector\":[1,2]}", &["no \"id\""]),
        ("{\"id\":2}", &["no \"vector\""]),
        ("{\"id\":2,\"vector\":[1,\"x\"]}", &["column"]),
        ("{\"id\":2,\"vector\":[1,1e39]}", &["column", "out of range"]),
        ("{\"id\":2,\"vector\":[1,NaN]}", &["column"]),
        ("{\"id\":-2,\"vector\":[1,2]}", &["-2", "unsigned integer or a UUID"]),
        ("{\"id\":\"pebble\",\"vector\":[1,2]}", &["pebble"]),
        ("{\"id\":2,\"id\":3,\"vector\":[1,2]}", &["\"id\" occurs twice"]),
        ("{\"id\":2,\"vector\":[1,2],\"payload\":[]}", &["not an object"]),
        ("{\"id\":2,\"vector\":[1,2],\"payload\":{},\"title\":1}", &["\"title\" beside \"payload\""]),
        ("{\"id\":2,\"vector\":[1,2]", &["column"]),
        ("[1,2]", &["an object with \"vector\""]),
        ("{\"id\":2,\"vector\":[1,2]} x", &["column"]),
        ("\u{feff}{}", &["column"]),
    ] {
        let parts = [&["f.jsonl", "line 2"], parts].concat();
        refused(read_jsonl(format!("{first}{second}").as_bytes()), &parts);
    }
    refused(read_jsonl(b""), &["no lines"]);
    refused(read_jsonl(b"\n \n"), &["no lines"]);
    refused(read_jsonl(b"{\"vector\":[]}"), &["line 1", "0 dimensions"]);
    refused(read_jsonl(b"{\"vector\":[1],\"\xff\":1}"), &["line 1"]);
    refused(read_jsonl("[".repeat(100_000).as_bytes()), &["line 1"]);
    refused(read_jsonl(format!("{{\"vector\":[{}1]}}", "1,".repeat(65_536)).as_bytes()), &["65536 dimensions"]);
    let long = format!("{{\"vector\":[1],\"a\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
    refused(read_jsonl(long.as_bytes()), &["line 1", "longer than 16777216"]);
    let heavy = format!("{{\"vector\":[1],\"a\":\"{}\"}}", "x".repeat(5 << 20));
    refused(read_jsonl(heavy.as_bytes()), &["line 1", "4194304"]);
}

#[test]
fn ids_and_payloads_come_from_files_of_their_own() {
    let folder = Folder::new();
    let vectors = folder.write("v.npy.gz", &npy(1, "|u1", "(3, 2)", &[1, 2, 3, 4, 5, 6]));
    let payload = folder.write("p.jsonl.zst", b"{\"a\":1}\n\nnull\n");
    let numbers: Vec<u8> = [5i64, 6, 1 << 40].iter().flat_map(|x| x.to_le_bytes()).collect();
    let expected = [PointId::Num(5), PointId::Num(6), PointId::Num(1 << 40)];
    for ids in [
        folder.write("i.npy", &npy(1, "<i8", "(3,)", &numbers)),
        folder.write("u.npy.zst", &npy(1, "<u8", "(3,)", &numbers)),
        folder.write("i.txt", b"5\n6\n1099511627776\n\n"),
        folder.write("i.ids.gz", b"5\r\n 6\n\"1099511627776\""),
    ] {
        let all = folder.read(&vectors, Some(&ids), Some(&payload)).unwrap();
        assert_eq!(all.ids, expected, "{}", ids.display());
        assert_eq!(all.payloads, ["{\"a\":1}", "", ""]);
        assert_eq!(all.vectors, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
    assert!(folder.read(&vectors, None, None).unwrap().ids.is_empty());
}

#[test]
fn counts_that_differ_name_both() {
    let folder = Folder::new();
    let vectors = folder.write("v.npy", &npy(1, "|u1", "(3, 2)", &[1, 2, 3, 4, 5, 6]));
    for (text, found) in [("1\n2", "has 2"), ("1\n2\n3\n4\n5\n", "has 5"), ("", "has 0")] {
        let ids = folder.write("i.txt", text.as_bytes());
        refused(folder.read(&vectors, Some(&ids), None), &["v.npy has 3 rows", "i.txt has", found]);
    }
    for (text, found) in [("{}\n{}", "has 2"), ("{}\n{}\n{}\n{}", "has 4")] {
        let payload = folder.write("p.jsonl", text.as_bytes());
        refused(folder.read(&vectors, None, Some(&payload)), &["v.npy has 3 rows", "p.jsonl has", found]);
    }
    let ids = folder.write("i.npy", &npy(1, "<u4", "(2,)", &[0; 8]));
    refused(folder.read(&vectors, Some(&ids), None), &["i.npy has 2"]);
}

#[test]
fn wrong_ids_and_payloads_are_named() {
    let folder = Folder::new();
    let vectors = folder.write("v.npy", &npy(1, "|u1", "(3, 1)", &[1, 2, 3]));
    for (text, parts) in
        [("1\npebble\n3", &["line 2", "pebble"][..]), ("1\n\n3", &["line 2"]), ("-1\n2\n3", &["line 1", "-1"])]
    {
        let ids = folder.write("i.txt", text.as_bytes());
        refused(folder.read(&vectors, Some(&ids), None), &[&["i.txt"], parts].concat());
    }
    let ids = folder.write("i.npy", &npy(1, "<i4", "(3,)", &(-1i32).to_le_bytes().repeat(3)));
    refused(folder.read(&vectors, Some(&ids), None), &["row 0", "negative"]);
    let ids = folder.write("f.npy", &npy(1, "<f4", "(3,)", &[0; 12]));
    refused(folder.read(&vectors, Some(&ids), None), &["<f4"]);
    let payload = folder.write("p.jsonl", b"{}\n[]\n{}");
    refused(folder.read(&vectors, None, Some(&payload)), &["line 2", "not an object"]);
    let jsonl = folder.write("v.jsonl", b"{\"id\":1,\"vector\":[1]}");
    refused(folder.read(&jsonl, Some(&payload), None), &["ids", "v.jsonl"]);
    refused(folder.read(&jsonl, None, Some(&payload)), &["payload", "v.jsonl"]);
}

#[test]
fn files_that_cannot_be_opened_are_named() {
    let folder = Folder::new();
    let text = folder.write("v.txt", b"1 2 3");
    refused(folder.read(&text, None, None), &["v.txt", "unknown format", ".parquet"]);
    refused(folder.read(&folder.0.path().join("nowhere.npy"), None, None), &["nowhere.npy"]);
    fs::create_dir(folder.0.path().join("dir.npy")).unwrap();
    refused(folder.read(&folder.0.path().join("dir.npy"), None, None), &["dir.npy", "directory"]);
    let good = npy(1, "|u1", "(64, 64)", &[7; 4096]);
    for name in ["cut.npy.gz", "cut.npy.zst"] {
        let path = folder.write(name, &good);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
        refused(folder.read(&path, None, None), &[name]);
        fs::write(&path, &good).unwrap();
        refused(folder.read(&path, None, None), &[name, "byte 0"]);
    }
}

#[test]
fn one_row_is_found() {
    let folder = Folder::new();
    let rows: Vec<f32> = (0..3_000).map(|row| row as f32).collect();
    let path = folder.write("v.npy.gz", &npy(1, "<f4", "(1000, 3)", &f32_bytes(&rows)));
    assert_eq!(npy_row(&path, 0).unwrap(), [0.0, 1.0, 2.0]);
    assert_eq!(npy_row(&path, 999).unwrap(), [2997.0, 2998.0, 2999.0]);
    refused(npy_row(&path, 1_000), &["row 1000", "1000 rows"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_npy(&bytes);
        let _ = read_npy(&[b"\x93NUMPY\x01\x00\x40\x00{'descr':", &bytes[..]].concat());
        let _ = read_vecs(&bytes, Element::F32);
        let _ = read_vecs(&bytes, Element::U8);
        let _ = read_jsonl(&bytes);
        let _ = read_jsonl(&[b"{\"vector\":[1],", &bytes[..]].concat());
        let _ = NpyIds::new(Input::new("i", &bytes[..])).and_then(|mut ids| ids.read());
        let mut lines = IdLines::new(Input::new("i", &bytes[..]));
        while let Ok(Some(_)) = lines.read() {}
        let mut payloads = Payloads::new(Input::new("p", &bytes[..]));
        while let Ok(Some(_)) = payloads.read() {}
    }

    #[test]
    fn a_changed_byte_is_another_value_or_an_error(at in 0usize..88, to in any::<u8>()) {
        let mut bytes = npy(1, "<f4", "(2, 2)", &f32_bytes(&[1.0, 2.0, 3.0, 4.0]));
        let at = at.min(bytes.len() - 1);
        bytes[at] = to;
        if let Ok(all) = read_npy(&bytes) {
            prop_assert!(all.rows <= 4 && all.vectors.iter().all(|x| x.is_finite()));
        }
    }
}

#[cfg(feature = "parquet")]
mod parquet {
    use std::sync::Arc;

    use ::parquet::arrow::ArrowWriter;
    use arrow_array::{
        ArrayRef, BooleanArray, FixedSizeListArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
        TimestampMillisecondArray, UInt8Array,
        types::{Float32Type, Float64Type},
    };
    use arrow_schema::{DataType, Field};

    use super::*;

    fn file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    fn vectors(rows: usize) -> ArrayRef {
        let row = |row: usize| Some(vec![Some(row as f32), Some(0.5)]);
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>((0..rows).map(row)))
    }

    fn read(bytes: &[u8]) -> Result<All> {
        let folder = Folder::new();
        let path = folder.write("f.parquet", bytes);
        folder.read(&path, None, None)
    }

    #[test]
    fn columns_become_ids_vectors_and_payloads() {
        let rows = 200;
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..200).map(|row| row * 3)));
        let titles: ArrayRef = Arc::new(StringArray::from_iter((0..rows).map(|row| (row != 1).then_some("x"))));
        let prices: ArrayRef = Arc::new(Float64Array::from_iter_values((0..200).map(f64::from)));
        let open: ArrayRef = Arc::new(BooleanArray::from_iter((0..rows).map(|row| Some(row % 2 == 0))));
        let at: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values((0..200).map(|_| 1_700_000_000_123)));
        let tags = |row: i64| Some(vec![Some(row as f64)]);
        let tags: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>((0..200).map(tags)));
        let all = read(&file(vec![
            ("id", ids),
            ("vector", vectors(rows)),
            ("title", titles),
            ("price", prices),
            ("open", open),
            ("at", at),
            ("tags", tags),
        ]))
        .unwrap();
        assert_eq!((all.rows, all.ids[199], all.vectors[2]), (200, PointId::Num(597), 1.0));
        let payload: serde_json::Value = serde_json::from_str(&all.payloads[1]).unwrap();
        let expected = serde_json::json!(
            {"title": null, "price": 1.0, "open": false, "at": "2023-11-14T22:13:20.123Z", "tags": [1.0]});
        assert_eq!(payload, expected);
    }

    #[test]
    fn other_vectors_and_ids_are_read() {
        let bytes: ArrayRef = Arc::new(UInt8Array::from(vec![1, 2, 3, 4]));
        let item = Arc::new(Field::new("item", DataType::UInt8, false));
        let vector: ArrayRef = Arc::new(FixedSizeListArray::new(item, 2, bytes, None));
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["7", "936da01f-9abd-4d9d-80c7-02af85c822a8"]));
        let all = read(&file(vec![("vector", vector), ("id", ids)])).unwrap();
        assert_eq!((all.vectors, all.ids[0]), (vec![1.0, 2.0, 3.0, 4.0], PointId::Num(7)));
        assert!(all.payloads.is_empty());
    }

    #[test]
    fn wrong_columns_are_named() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, -2]));
        refused(read(&file(vec![("id", ids.clone())])), &["f.parquet", "no column 'vector'"]);
        refused(read(&file(vec![("vector", ids.clone())])), &["column 'vector'", "Int64"]);
        refused(read(&file(vec![("id", ids), ("vector", vectors(2))])), &["row 1", "column 'id'", "-2"]);
        let none = ListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(1.0)]), None]);
        refused(read(&file(vec![("vector", Arc::new(none))])), &["row 1", "null"]);
        let uneven = [Some(vec![Some(1.0)]), Some(vec![Some(1.0), Some(2.0)])];
        let uneven = ListArray::from_iter_primitive::<Float32Type, _, _>(uneven);
        refused(read(&file(vec![("vector", Arc::new(uneven))])), &["row 1", "2 dimensions", "expected 1"]);
        let large = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(1e300)])]);
        refused(read(&file(vec![("vector", Arc::new(large))])), &["row 0", "finite"]);
        refused(read(&file(vec![("vector", vectors(0))])), &["no rows"]);
    }

    #[test]
    fn a_cut_or_damaged_file_is_refused() {
        let good = file(vec![("vector", vectors(20))]);
        for cut in (0..good.len()).step_by(7) {
            refused(read(&good[..cut]), &["f.parquet"]);
        }
        // Parquet has no checksums by default: a flipped byte may be another number, but never a crash.
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x55;
            let _ = read(&bytes);
        }
    }
}
