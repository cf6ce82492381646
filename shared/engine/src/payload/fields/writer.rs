//! Collects the values of points and writes the field indexes.

use std::collections::{BTreeMap, HashMap};

use cairn_model::{Path, Payload, Step, filter::parse_datetime, limits::PATH_BYTES_MAX};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::{
    ENTRY_BYTES, FIELDS_MAX, HEADER_BYTES, INCOMPLETE, KEYWORD_BYTES_MAX, PARTS,
    column::{self, key_of_f64, key_of_i64},
    keyword,
    posting::Postings,
};
use crate::payload::bytes::put_varint;

/// Collects payloads in ordinal order and writes the section.
#[derive(Debug)]
pub struct FieldsWriter {
    cluster_starts: Vec<u32>,
    /// The paths seen, as a tree; the first is the root.
    nodes: Vec<Node>,
    fields: Vec<Collected>,
    /// The fields that the current point has touched.
    touched: Vec<usize>,
    complete: bool,
}

/// A prefix of paths.
#[derive(Debug, Default)]
struct Node {
    path: Option<Path>,
    field: Option<usize>,
    keys: HashMap<String, usize>,
    each: Option<Option<usize>>,
}

impl FieldsWriter {
    /// No points yet. `cluster_starts` are the first ordinals of the clusters, ascending from 0; empty for none.
    #[must_use]
    pub fn new(cluster_starts: &[u32]) -> Self {
        Self {
            cluster_starts: cluster_starts.to_vec(),
            nodes: vec![Node::default()],
            fields: Vec::new(),
            touched: Vec::new(),
            complete: true,
        }
    }

    /// Adds a point's payload. Ordinals ascend; a point without payload may be left out.
    pub fn push(&mut self, ordinal: u32, payload: &Payload) {
        self.object(0, payload);
        for field in self.touched.drain(..) {
            self.fields[field].close(ordinal);
        }
    }

    /// The section.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut fields: Vec<(String, Collected)> = Vec::with_capacity(self.fields.len());
        let paths = self.nodes.iter().filter_map(|node| Some((node.field?, node.path.as_ref()?.to_string())));
        let mut names: Vec<(usize, String)> = paths.collect();
        names.sort_unstable();
        fields.extend(names.into_iter().map(|(_, name)| name).zip(self.fields));
        fields.sort_unstable_by(|a, b| a.0.cmp(&b.0));

        let mut out = Vec::new();
        for word in [fields.len(), usize::from(!self.complete), self.cluster_starts.len(), 0] {
            out.extend_from_slice(&u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
        }
        debug_assert_eq!((out.len(), INCOMPLETE), (HEADER_BYTES, 1));
        let directory = out.len();
        out.resize(directory + fields.len() * ENTRY_BYTES, 0);
        for (at, (name, _)) in fields.iter().enumerate() {
            let entry = directory + at * ENTRY_BYTES;
            let start = out.len();
            put_u64(&mut out, entry, start);
            put_u64(&mut out, entry + 8, name.len());
            out.extend_from_slice(name.as_bytes());
        }
        for (at, (_, field)) in fields.into_iter().enumerate() {
            let entry = directory + at * ENTRY_BYTES;
            let start = out.len();
            field.write(&mut out, &self.cluster_starts);
            put_u64(&mut out, entry + 16, start);
            let bytes = out.len() - start;
            put_u64(&mut out, entry + 24, bytes);
        }
        out
    }

    fn object(&mut self, node: usize, object: &Payload) {
        for (key, value) in object {
            if let Some(child) = self.child(node, key) {
                self.value(child, value);
            }
        }
    }

    /// Records `value` at `node`'s path and whatever it contains at longer paths.
    fn value(&mut self, node: usize, value: &Value) {
        if let Some(field) = self.nodes[node].field {
            let collected = &mut self.fields[field];
            if !collected.open {
                collected.open = true;
                self.touched.push(field);
            }
            collected.value(value);
        }
        self.inside(node, value);
    }

    /// Records what `value`, which is at `node`'s path, contains at longer paths.
    fn inside(&mut self, node: usize, value: &Value) {
        match value {
            Value::Object(object) => self.object(node, object),
            Value::Array(elements) => {
                for element in elements.iter().filter(|element| element.is_object() || element.is_array()) {
                    if let Some(each) = self.each(node) {
                        self.inside(each, element);
                    }
                }
            }
            _ => {}
        }
    }

    /// The node of a key below `node`; `None` when it is not indexed.
    fn child(&mut self, node: usize, key: &str) -> Option<usize> {
        if let Some(child) = self.nodes[node].keys.get(key) {
            return Some(*child);
        }
        if key.contains('"') {
            return None;
        }
        if self.fields.len() == FIELDS_MAX {
            self.complete = false;
            return None;
        }
        let path = match &self.nodes[node].path {
            Some(path) => path.then(Step::Key(key.to_owned())),
            None => Path::key(key),
        };
        if path.to_string().len() > PATH_BYTES_MAX {
            return None;
        }
        let child = self.nodes.len();
        self.nodes.push(Node { path: Some(path), field: Some(self.fields.len()), ..Node::default() });
        self.fields.push(Collected::default());
        self.nodes[node].keys.insert(key.to_owned(), child);
        Some(child)
    }

    /// The node of `[]` below `node`; `None` when its path would be too long.
    fn each(&mut self, node: usize) -> Option<usize> {
        if let Some(each) = self.nodes[node].each {
            return each;
        }
        let path = self.nodes[node].path.as_ref()?.then(Step::Each);
        let each = (path.to_string().len() <= PATH_BYTES_MAX).then_some(self.nodes.len());
        if each.is_some() {
            self.nodes.push(Node { path: Some(path), ..Node::default() });
        }
        self.nodes[node].each = Some(each);
        each
    }
}

fn put_u64(out: &mut [u8], at: usize, value: usize) {
    out[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
}

/// A scalar as it is collected: what makes two of a point's values different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scalar {
    Bool(bool),
    Integer(u64),
    Float(u64),
    Keyword(u32),
}

/// One field's values so far.
#[derive(Debug, Default)]
struct Collected {
    filled: RoaringBitmap,
    null: RoaringBitmap,
    other: RoaringBitmap,
    blank: RoaringBitmap,
    plural: RoaringBitmap,
    bools: [RoaringBitmap; 2],
    counts: BTreeMap<u64, RoaringBitmap>,
    distinct: BTreeMap<u64, RoaringBitmap>,
    keywords: HashMap<Box<str>, u32>,
    /// By keyword: its moment, if it is a datetime.
    moments: Vec<Option<i64>>,
    keyword_entries: Vec<(u32, u32)>,
    integers: Vec<(u64, u32)>,
    floats: Vec<(u64, u32)>,
    // The current point:
    open: bool,
    has_null: bool,
    has_other: bool,
    has_one: bool,
    is_filled: bool,
    point_counts: Vec<u64>,
    scalars: Vec<Scalar>,
}

impl Collected {
    /// One of the current point's values.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => {
                self.has_null = true;
                self.point_counts.push(0);
                return;
            }
            Value::Array(elements) => {
                self.is_filled |= !elements.is_empty();
                self.has_one |= elements.len() == 1;
                if elements.len() != 1 {
                    self.point_counts.push(elements.len() as u64);
                }
                elements.iter().for_each(|element| self.element(element));
                return;
            }
            _ => self.element(value),
        }
        self.is_filled = true;
        self.has_one = true;
    }

    /// A value, or an element of one that is an array.
    fn element(&mut self, value: &Value) {
        let scalar = match value {
            Value::Null => {
                self.has_null = true;
                return;
            }
            Value::Bool(value) => Some(Scalar::Bool(*value)),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Some(Scalar::Integer(key_of_i64(integer))),
                (None, Some(float)) => Some(Scalar::Float(key_of_f64(float))),
                (None, None) => None,
            },
            Value::String(text) => self.keyword(text).map(Scalar::Keyword),
            Value::Array(_) | Value::Object(_) => None,
        };
        match scalar {
            Some(scalar) => self.scalars.push(scalar),
            None => self.has_other = true,
        }
    }

    /// A string's number; `None` when it is not indexed.
    fn keyword(&mut self, text: &str) -> Option<u32> {
        if text.len() > KEYWORD_BYTES_MAX {
            return None;
        }
        if let Some(term) = self.keywords.get(text) {
            return Some(*term);
        }
        let term = u32::try_from(self.moments.len()).ok()?;
        self.keywords.insert(text.into(), term);
        self.moments.push(parse_datetime(text));
        Some(term)
    }

    /// The current point is complete: it is `ordinal`.
    fn close(&mut self, ordinal: u32) {
        self.scalars.sort_unstable();
        self.scalars.dedup();
        let scalars = std::mem::take(&mut self.scalars);
        for scalar in &scalars {
            match *scalar {
                Scalar::Bool(value) => {
                    self.bools[usize::from(value)].insert(ordinal);
                }
                Scalar::Integer(key) => self.integers.push((key, ordinal)),
                Scalar::Float(key) => self.floats.push((key, ordinal)),
                Scalar::Keyword(term) => self.keyword_entries.push((term, ordinal)),
            }
        }
        if scalars.len() > 1 {
            self.distinct.entry(scalars.len() as u64).or_default().insert(ordinal);
        }
        for count in self.point_counts.drain(..) {
            self.counts.entry(count).or_default().insert(ordinal);
        }
        for (set, is_in) in [
            (&mut self.filled, self.is_filled),
            (&mut self.null, self.has_null),
            (&mut self.other, self.has_other),
            (&mut self.blank, self.is_filled && scalars.is_empty()),
            (&mut self.plural, self.is_filled && !self.has_one),
        ] {
            if is_in {
                set.insert(ordinal);
            }
        }
        self.scalars = scalars;
        self.scalars.clear();
        (self.open, self.has_null, self.has_other, self.has_one, self.is_filled) = (false, false, false, false, false);
    }

    /// Appends the field.
    fn write(mut self, out: &mut Vec<u8>, cluster_starts: &[u32]) {
        let mut postings = Postings::new(cluster_starts);
        let mut sets = Vec::new();
        let [no, yes] = std::mem::take(&mut self.bools);
        for set in [self.filled, self.null, self.other, self.blank, self.plural, no, yes] {
            postings.put(&mut sets, set);
        }
        for table in [self.counts, self.distinct] {
            put_varint(&mut sets, table.len() as u64);
            for (key, set) in table {
                put_varint(&mut sets, key);
                postings.put(&mut sets, set);
            }
        }

        let mut datetimes = Vec::new();
        for (term, ordinal) in &self.keyword_entries {
            if let Some(moment) = self.moments[*term as usize] {
                datetimes.push((key_of_i64(moment), *ordinal));
            }
        }
        let mut keywords: Vec<(Box<str>, u32)> = self.keywords.into_iter().collect();
        keywords.sort_unstable();
        let (starts, ordinals) = group(&self.keyword_entries, self.moments.len());
        let of = |term: u32| &ordinals[starts[term as usize]..starts[term as usize + 1]];
        let dictionary = keyword::write(keywords.iter().map(|(text, term)| (&**text, of(*term))), &mut postings);

        let parts: [Vec<u8>; PARTS] = [
            sets,
            dictionary,
            postings.clusters,
            postings.postings,
            column::write(self.integers, cluster_starts),
            column::write(self.floats, cluster_starts),
            column::write(datetimes, cluster_starts),
        ];
        let mut end = 0u64;
        for part in &parts {
            end += part.len() as u64;
            out.extend_from_slice(&end.to_le_bytes());
        }
        parts.iter().for_each(|part| out.extend_from_slice(part));
    }
}

/// Pairs of a term and an ordinal, in ordinal order, grouped by term: where each term's ordinals start, and they.
fn group(entries: &[(u32, u32)], terms: usize) -> (Vec<usize>, Vec<u32>) {
    let mut starts = vec![0usize; terms + 1];
    for (term, _) in entries {
        starts[*term as usize + 1] += 1;
    }
    for term in 0..terms {
        starts[term + 1] += starts[term];
    }
    let mut next = starts.clone();
    let mut ordinals = vec![0u32; entries.len()];
    for (term, ordinal) in entries {
        ordinals[next[*term as usize]] = *ordinal;
        next[*term as usize] += 1;
    }
    (starts, ordinals)
}
