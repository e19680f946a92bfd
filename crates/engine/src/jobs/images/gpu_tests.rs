use super::*;

fn error(kind: GpuError) -> CudaError {
    CudaError { call: "call", code: 1, reason: "why".into(), gpu: Some(0), kind }
}

type Outcomes = Vec<std::result::Result<usize, GpuError>>;

/// What a GPU says that has room for `room` at once, alone or (`beside`) not; job 7 fails for a reason of its own.
fn attempts(jobs: &[usize], room: usize, beside: usize) -> (Outcomes, Vec<(usize, bool)>) {
    let mut seen = Vec::new();
    let jobs: Vec<&usize> = jobs.iter().collect();
    let mut attempt = |jobs: &[&usize], alone: bool| {
        seen.push((jobs.len(), alone));
        let room = if alone { room } else { beside };
        let one = |(at, job): (usize, &&usize)| match **job {
            7 => Err(Trouble::Gpu(error(GpuError::Data))),
            _ if at >= room => Err(Trouble::Gpu(error(GpuError::OutOfMemory))),
            job => Ok(job * 10),
        };
        jobs.iter().enumerate().map(one).collect()
    };
    let outcomes = in_parts(&jobs, false, &mut attempt);
    let kind = |trouble| match trouble {
        Trouble::Gpu(e) => e.kind,
        Trouble::Request(e) => panic!("{e}"),
    };
    (outcomes.into_iter().map(|outcome| outcome.map_err(kind)).collect(), seen)
}

#[test]
fn what_memory_does_not_suffice_for_is_repeated_in_halves() {
    let all: Vec<_> = (0..7).map(|i| Ok(i * 10)).collect();
    let jobs: Vec<usize> = (0..7).collect();
    assert_eq!(attempts(&jobs, 9, 9), (all.clone(), vec![(7, false)]));
    // Six are short beside others, and three fit alone.
    assert_eq!(attempts(&jobs, 3, 1), (all.clone(), vec![(7, false), (3, true), (3, true)]));
    // None fits beside others, and one alone.
    let (outcomes, seen) = attempts(&jobs, 1, 0);
    assert_eq!(outcomes, all);
    assert!(seen[1..].iter().all(|(_, alone)| *alone), "{seen:?}");
    // A single one is repeated alone.
    assert_eq!(attempts(&[4], 1, 0), (vec![Ok(40)], vec![(1, false), (1, true)]));
}

#[test]
fn repetition_ends_and_leaves_other_failures_alone() {
    let (outcomes, seen) = attempts(&[1, 7, 2], 0, 0);
    use GpuError::{Data, OutOfMemory};
    assert_eq!(outcomes, [Err(OutOfMemory), Err(Data), Err(OutOfMemory)]);
    assert_eq!(seen, [(3, false), (1, true), (1, true)]);
    assert_eq!(attempts(&[], 1, 1).0, []);
}

/// The CPU makes other bytes: only what lies in the image may send it there.
#[test]
fn only_reasons_of_the_image_send_it_to_the_cpu() {
    for kind in [GpuError::Unsupported, GpuError::Data] {
        let answer = Answer::from(Err(Trouble::Gpu(error(kind))));
        assert!(matches!(answer, Answer::Refused(Reason::Refused(why)) if why == "why"), "{kind:?}");
    }
    for kind in [GpuError::OutOfMemory, GpuError::Failed, GpuError::Missing] {
        let Answer::Failed(e) = Answer::from(Err(Trouble::Gpu(error(kind)))) else { panic!("{kind:?}") };
        assert_eq!((e.kind, e.place.device.as_deref()), (ErrorKind::Device, Some("cuda:0")));
        assert_eq!(e.hint.is_some(), kind == GpuError::OutOfMemory);
    }
    assert!(matches!(Answer::from(Err(Trouble::Gpu(error(GpuError::Broken)))), Answer::Lost(_)));
    let request = Trouble::Request(Error::usage("no size"));
    assert!(matches!(Answer::from(Err(request)), Answer::Failed(e) if e.kind == ErrorKind::Usage));
}

#[test]
fn files_keep_their_places() {
    let items: Vec<usize> = (0..100).collect();
    let doubled = side_by_side(&items, |i| match i {
        41 => panic!("on purpose"),
        42 => Err(Error::usage("no")),
        i => Ok(i * 2),
    });
    assert_eq!(doubled.len(), 100);
    assert!(
        doubled.iter().enumerate().all(|(i, r)| r.as_ref().map_or((39..=51).contains(&i), |v| *v == i * 2))
    );
}
