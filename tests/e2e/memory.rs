//! The memory bound of `cairn index`, on vectors as large as real ones and in the program as it is shipped, with its allocator.

use std::{fs, path::Path, thread, time::Duration};

use crate::fixture::Program;

const ROWS: usize = 36_000;
const DIM: usize = 784;
/// The least bound that is accepted: the points become three segments, one after another.
const BOUND_MIB: u64 = 64;
/// What may come on top. Measured were 60 MiB in all, 48 of the optimised program, and of that 70 with an allocator that keeps what is freed.
const PROGRAM_MIB: u64 = 4;

/// Bytes in 64 heaps, as images are: uniform ones would be harder to cluster than anything real.
fn source(path: &Path) {
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({ROWS}, {DIM}), }}");
    let padded = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(padded.len()).unwrap().to_le_bytes());
    bytes.extend(padded.as_bytes());
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let heaps: Vec<u8> = (0..64 * DIM).map(|_| random()).collect();
    for row in 0..ROWS {
        let heap = &heaps[row % 64 * DIM..][..DIM];
        bytes.extend(heap.iter().map(|&x| (x / 2).wrapping_add(random() / 4)));
    }
    fs::write(path, bytes).unwrap();
}

/// The most memory that a process had, in MiB, from the time it was asked last before it ended; Linux only.
fn peak_mib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? >> 10)
}

#[test]
#[cfg(target_os = "linux")]
fn indexing_stays_within_its_memory_bound_at_real_dimensions() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    source(Path::new(&path("base.npy")));
    let bound = format!("{BOUND_MIB}MiB");
    let args = ["index", "--store", &path("store"), "--collection", "images", "--input", &path("base.npy")];
    let more = ["--distance", "euclid", "--threads", "2", "--memory", &bound];
    let mut index = Program::cairn().args(args).args(more).spawn(&folder.path().join("log"));
    let mut peak = 0;
    let code = loop {
        peak = peak_mib(index.id()).unwrap_or(0).max(peak);
        match index.ended() {
            Some(code) => break code,
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    assert_eq!(code, Some(0), "{}", index.output());
    assert!(index.output().contains("3 segments"), "{}", index.output());
    println!("peak {peak} MiB under a bound of {BOUND_MIB} MiB");
    assert!(peak > 16, "not measured: {peak} MiB");
    assert!(peak <= BOUND_MIB + PROGRAM_MIB, "peak {peak} MiB, the bound is {BOUND_MIB} MiB");
}
