use super::*;
use crate::segment_file::{SegmentWriter, StoredPacket};
use proptest::prelude::*;
use serde_json::json;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const HASH: &str = "plan-1";

fn create(dir: &Path) -> Journal {
    Journal::create(dir, HASH, &json!({"seams": [0, 100]})).unwrap()
}

fn resume(dir: &Path) -> Journal {
    Journal::resume(dir, HASH).unwrap()
}

/// Writes the segment's file; `content` makes files of equal length differ.
fn make_segment(journal: &Journal, segment: u32, content: u8) -> Record {
    let mut writer = SegmentWriter::create(journal.segment_path(segment), &json!({})).unwrap();
    writer.write(&StoredPacket { data: vec![content; 50], ..StoredPacket::default() }).unwrap();
    let Sealed { packets, bytes, sha256 } = writer.finish(&json!({})).unwrap();
    let facts = json!({"frames": segment, "text": "a\nb \u{1f3ac}"});
    let warnings = vec!["späte Bilder".to_owned()];
    Record { segment, plan: HASH.into(), round: 0, packets, bytes, sha256, facts, warnings }
}

fn add_segment(journal: &mut Journal, segment: u32, content: u8) -> Record {
    let record = make_segment(journal, segment, content);
    journal.append(&record).unwrap();
    record
}

fn trusted_ids(journal: &Journal) -> Vec<u32> {
    (0..20).filter(|&id| journal.trusted(id).is_some()).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_resumed_job_has_what_was_recorded() {
    let dir = TempDir::new().unwrap();
    let job = dir.path().join("a/job");
    let mut journal = create(&job);
    assert_eq!(trusted_ids(&journal), [0u32; 0]);
    let second = add_segment(&mut journal, 12, b'b');
    let first = add_segment(&mut journal, 3, b'a');
    assert_eq!(journal.trusted(3), Some(&first));
    drop(journal);

    let mut journal = resume(&job);
    assert_eq!((journal.dir(), journal.plan_hash()), (job.as_path(), HASH));
    assert_eq!(journal.plan(), &json!({"seams": [0, 100]}));
    assert_eq!(journal.records().collect::<Vec<_>>(), [&first, &second]);
    assert_eq!(trusted_ids(&journal), [3, 12]);
    journal.verify(3).unwrap();
    assert!(journal.segment_path(12).ends_with("segments/000012.seg"));
    assert!(matches!(journal.verify(4), Err(JournalError::NotRecorded { segment: 4, .. })));
    journal.remove().unwrap();
    assert!(!job.exists());
}

#[test]
fn the_last_record_of_a_segment_counts() {
    let dir = TempDir::new().unwrap();
    let mut journal = create(dir.path());
    add_segment(&mut journal, 1, b'a');
    let again = Record { round: 1, ..make_segment(&journal, 1, b'b') };
    // Crash here: the file is the new one, the record the old one.
    assert_eq!(trusted_ids(&journal), [0u32; 0], "another file of the same length was trusted");
    journal.append(&again).unwrap();
    drop(journal);
    assert_eq!(resume(dir.path()).trusted(1), Some(&again));
}

#[test]
fn creating_again_starts_empty_and_keeps_what_is_not_ours() {
    let dir = TempDir::new().unwrap();
    let mut journal = create(dir.path());
    add_segment(&mut journal, 1, b'a');
    let segments = dir.path().join(SEGMENTS);
    drop(journal);
    fs::write(segments.join("000002.seg.part"), "x").unwrap();
    fs::write(segments.join("notes.txt"), "mine").unwrap();
    fs::write(dir.path().join("holiday.seg"), "mine").unwrap();

    let journal = create(dir.path());
    assert_eq!(trusted_ids(&journal), [0u32; 0]);
    assert_eq!(names(&segments), ["notes.txt"]);
    journal.remove().unwrap();
    assert_eq!(names(dir.path()), ["holiday.seg", SEGMENTS]);
    assert_eq!(names(&segments), ["notes.txt"]);
}

#[test]
fn a_folder_that_is_not_ours_is_left_as_it_is() {
    for name in [PLAN, LOG] {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(name), "{\"mine\": 1}").unwrap();
        let error = Journal::create(dir.path(), HASH, &json!({})).unwrap_err();
        assert!(matches!(&error, JournalError::Foreign { path } if path.ends_with(name)), "{error}");
        assert!(Journal::resume(dir.path(), HASH).is_err());
        // Neither try may have made it look like ours.
        assert!(matches!(Journal::create(dir.path(), HASH, &json!({})), Err(JournalError::Foreign { .. })));
        assert_eq!(names(dir.path()), [name]);
    }
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(folder::LOCK), b"\xff\xfe mine").unwrap();
    assert!(matches!(Journal::create(dir.path(), HASH, &json!({})), Err(JournalError::Foreign { .. })));
    assert_eq!(fs::read(dir.path().join(folder::LOCK)).unwrap(), b"\xff\xfe mine");
}

#[test]
fn resuming_nothing_makes_nothing() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(Journal::resume(dir.path(), HASH), Err(JournalError::NoJournal { .. })));
    assert!(matches!(Journal::resume(dir.path().join("x"), HASH), Err(JournalError::NoJournal { .. })));
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn another_plan_is_not_resumed_and_not_harmed() {
    let dir = TempDir::new().unwrap();
    let mut journal = create(dir.path());
    add_segment(&mut journal, 1, b'a');
    let foreign = Record { plan: "plan-2".into(), ..make_segment(&journal, 2, b'b') };
    assert!(matches!(journal.append(&foreign), Err(JournalError::PlanDiffers { .. })));
    drop(journal);
    match Journal::resume(dir.path(), "plan-2") {
        Err(JournalError::PlanDiffers { was, now, .. }) => assert_eq!((&*was, &*now), (HASH, "plan-2")),
        other => panic!("{other:?}"),
    }
    // A record of another plan can't get there by our doing; it isn't trusted all the same.
    let mut log = OpenOptions::new().append(true).open(dir.path().join(LOG)).unwrap();
    log.write_all(line_of(&foreign).unwrap().as_bytes()).unwrap();
    assert_eq!(trusted_ids(&resume(dir.path())), [1]);
}

#[test]
fn plans_of_other_versions_are_refused() {
    let dir = TempDir::new().unwrap();
    drop(create(dir.path()));
    for text in [r#"{"version":2,"hash":"plan-1","plan":{}}"#, "", "{"] {
        fs::write(dir.path().join(PLAN), text).unwrap();
        let error = Journal::resume(dir.path(), HASH).unwrap_err();
        assert!(matches!(error, JournalError::UnreadablePlan { .. }), "{error}");
    }
}

#[test]
fn two_at_once_are_refused() {
    let dir = TempDir::new().unwrap();
    let journal = create(dir.path());
    let own = Some(std::process::id());
    let busy = |opened: Result<Journal, JournalError>| match opened {
        Err(JournalError::Busy { pid, .. }) => assert_eq!(pid, own),
        other => panic!("{other:?}"),
    };
    busy(Journal::resume(dir.path(), HASH));
    busy(Journal::create(dir.path(), HASH, &json!({})));
    drop(journal);
    let journal = resume(dir.path());
    busy(Journal::resume(dir.path(), HASH));
    drop(journal);
}

#[test]
#[cfg(unix)]
fn the_lock_of_a_removed_job_locks_nobody_out() {
    let dir = TempDir::new().unwrap();
    let job = dir.path().join("job");
    let removed = create(&job);
    // As a process would that has opened the lock file just before the job is removed.
    let stale = File::open(job.join(folder::LOCK)).unwrap();
    removed.remove().unwrap();
    stale.try_lock().unwrap();
    drop(create(&job));
}

/// Started by `a_killed_process_leaves_a_resumable_job`; does nothing by itself.
#[test]
fn child_that_works_until_it_is_killed() {
    let Some(dir) = std::env::var_os("FRAMELOOM_TEST_JOURNAL_CHILD") else { return };
    let mut journal = create(Path::new(&dir));
    for segment in 0.. {
        add_segment(&mut journal, segment, segment as u8);
    }
}

#[test]
fn a_killed_process_leaves_a_resumable_job() {
    let dir = TempDir::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journal::tests::child_that_works_until_it_is_killed"])
        .env("FRAMELOOM_TEST_JOURNAL_CHILD", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let log = dir.path().join(LOG);
    while fs::metadata(&log).map_or(0, |meta| meta.len()) < 2000 {
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let busy = Journal::resume(dir.path(), HASH).unwrap_err();
    assert!(matches!(busy, JournalError::Busy { pid: Some(pid), .. } if pid == child.id()), "{busy}");
    child.kill().unwrap();
    child.wait().unwrap();

    let mut journal = resume(dir.path());
    let recorded: Vec<u32> = journal.records().map(|record| record.segment).collect();
    assert!(recorded.len() > 2);
    for segment in recorded {
        assert!(journal.trusted(segment).is_some());
        journal.verify(segment).unwrap();
    }
}

#[test]
fn a_journal_cut_anywhere_gives_exactly_its_whole_lines() {
    let dir = TempDir::new().unwrap();
    let mut journal = create(dir.path());
    let records: Vec<Record> = (0..3).map(|id| add_segment(&mut journal, id, id as u8)).collect();
    drop(journal);
    let path = dir.path().join(LOG);
    let whole = fs::read(&path).unwrap();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let lines = whole[..cut].iter().filter(|&&byte| byte == b'\n').count();
        let mut journal = resume(dir.path());
        assert_eq!(journal.records().collect::<Vec<_>>(), records.iter().take(lines).collect::<Vec<_>>());
        assert_eq!(trusted_ids(&journal).len(), lines, "cut at {cut}");
        if cut % 7 == 0 {
            // What is appended after a cut must not be swallowed by what was there.
            journal.append(&records[2]).unwrap();
            drop(journal);
            assert!(resume(dir.path()).trusted(2).is_some(), "cut at {cut}");
        }
    }
}

#[test]
fn each_step_of_a_segment_may_be_the_last() {
    let dir = TempDir::new().unwrap();
    let mut journal = create(dir.path());
    add_segment(&mut journal, 0, b'a');
    let path = journal.segment_path(1);
    drop(journal);

    fs::write(segment_file::part_path(&path), "half a segm").unwrap();
    assert_eq!(trusted_ids(&resume(dir.path())), [0], "while it is written");
    let journal = resume(dir.path());
    let record = make_segment(&journal, 1, b'b');
    drop(journal);
    assert_eq!(trusted_ids(&resume(dir.path())), [0], "renamed, not recorded");
    resume(dir.path()).append(&record).unwrap();
    assert_eq!(trusted_ids(&resume(dir.path())), [0, 1], "recorded");

    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(resume(dir.path()).trusted(1).is_none(), "file cut at {cut}");
    }
    let mut damaged = whole;
    damaged[40] ^= 1;
    fs::write(&path, damaged).unwrap();
    let mut journal = resume(dir.path());
    assert!(journal.trusted(1).is_some(), "a cheap look can't see this");
    assert!(matches!(journal.verify(1), Err(JournalError::Segment { segment: 1, .. })));
    assert!(journal.trusted(1).is_none(), "but once it is known it counts");
    drop(journal);
    fs::remove_file(path).unwrap();
    assert_eq!(trusted_ids(&resume(dir.path())), [0]);
}

#[test]
fn each_step_of_making_the_folder_may_be_the_last() {
    let dir = TempDir::new().unwrap();
    let steps: [&dyn Fn(&Path); 5] = [
        &|job| fs::create_dir(job).unwrap(),
        &|job| fs::write(job.join(folder::LOCK), "").unwrap(),
        &|job| drop(folder::lock(job).unwrap()),
        &|job| folder::make(&job.join(SEGMENTS)).unwrap(),
        &|job| {
            fs::write(job.join(LOG), "").unwrap();
            fs::write(job.join("plan.json.part"), "{").unwrap();
        },
    ];
    for last in 0..steps.len() {
        let job = dir.path().join(format!("job{last}"));
        steps[..=last].iter().for_each(|step| step(&job));
        assert!(matches!(Journal::resume(&job, HASH), Err(JournalError::NoJournal { .. })), "{last}");
        create(&job).remove().unwrap();
        assert!(!job.exists(), "{last}");
    }
}

#[test]
fn a_failed_append_does_not_spoil_the_next() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        eprintln!("skipped: no /dev/full on this system");
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut journal = create(dir.path());
    let record = make_segment(&journal, 1, b'a');
    let log = std::mem::replace(&mut journal.log, OpenOptions::new().write(true).open(full).unwrap());
    let error = journal.append(&record).unwrap_err();
    assert!(matches!(error, JournalError::Io { action: "append to", .. }), "{error}");
    assert!(journal.trusted(1).is_none());
    journal.log = log;
    journal.log.write_all(b"{\"crc32\":\"0000").unwrap(); // what a disk that fills up leaves of a line
    journal.append(&record).unwrap();
    drop(journal);
    assert_eq!(trusted_ids(&resume(dir.path())), [1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damage_never_makes_a_record(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        inserted in prop::option::of((any::<prop::sample::Index>(), "\\PC{0,20}\n?")),
    ) {
        let dir = TempDir::new().unwrap();
        let mut journal = create(dir.path());
        let records: Vec<Record> = (0..3).map(|id| add_segment(&mut journal, id, id as u8)).collect();
        drop(journal);
        let path = dir.path().join(LOG);
        let mut bytes = fs::read(&path).unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some((at, text)) = inserted {
            let at = at.index(bytes.len());
            bytes.splice(at..at, text.into_bytes());
        }
        fs::write(&path, bytes).unwrap();
        let journal = resume(dir.path());
        for record in journal.records() {
            prop_assert!(records.contains(record), "{:?}", record);
        }
    }
}
