//! The clips that the tests work on, made once with the system's `ffmpeg` and kept below `target`.

use crate::run::run;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

mod recipes;

pub use recipes::RECIPES;

/// How a clip comes about.
pub enum Make {
    /// Arguments of `ffmpeg`, separated by spaces; `{name}` stands for another clip's path. The output is appended.
    Ffmpeg(&'static str),
    /// The first so many percent of another clip's bytes.
    Cut(&'static str, usize),
    /// Another clip with bytes in its middle overwritten.
    Damage(&'static str),
    /// A transport stream with packets missing here and there.
    Lose(&'static str),
    /// Other clips' bytes, one after the other.
    Join(&'static [&'static str]),
    /// These bytes.
    Bytes(&'static [u8]),
}

/// A clip.
pub struct Recipe {
    pub name: &'static str,
    pub ending: &'static str,
    pub make: Make,
}

/// The system's ffmpeg, quiet but for errors.
pub fn ffmpeg() -> Command {
    ffmpeg_version();
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error"]).stdin(std::process::Stdio::null());
    command
}

/// First line of `ffmpeg -version`.
pub fn ffmpeg_version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let out = Command::new("ffmpeg").arg("-version").output();
        let out = out.unwrap_or_else(|e| panic!("these tests need the program ffmpeg, 5.1 or later: {e}"));
        String::from_utf8_lossy(&out.stdout).lines().next().unwrap_or_default().to_owned()
    })
}

/// The 5 of "ffmpeg version 5.1.9"; builds without a release are the newest.
pub fn ffmpeg_major() -> u32 {
    let version = ffmpeg_version().split_whitespace().nth(2).unwrap_or_default();
    version.trim_start_matches('n').split('.').next().and_then(|n| n.parse().ok()).unwrap_or(u32::MAX)
}

fn recipe(name: &str) -> &'static Recipe {
    RECIPES.iter().find(|r| r.name == name).unwrap_or_else(|| panic!("no clip is called {name:?}"))
}

/// The path of a clip, made if it isn't there yet.
pub fn clip(name: &str) -> PathBuf {
    type Slot = Arc<OnceLock<PathBuf>>;
    static MADE: OnceLock<Mutex<HashMap<String, Slot>>> = OnceLock::new();
    let slot = {
        let made = MADE.get_or_init(Mutex::default);
        made.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .entry(name.to_owned())
            .or_default()
            .clone()
    };
    slot.get_or_init(|| make(recipe(name))).clone()
}

fn make(recipe: &Recipe) -> PathBuf {
    let mut hash = DefaultHasher::new();
    ffmpeg_version().hash(&mut hash);
    let mut command = ffmpeg();
    match &recipe.make {
        Make::Ffmpeg(args) => {
            for arg in args.split_whitespace() {
                command.arg(with_clips(arg));
            }
            format!("{:?}", command.get_args()).hash(&mut hash);
        }
        Make::Cut(of, percent) => (clip(of), percent).hash(&mut hash),
        Make::Damage(of) => (clip(of), "damage").hash(&mut hash),
        Make::Lose(of) => (clip(of), "lose").hash(&mut hash),
        Make::Join(of) => of.iter().map(|name| clip(name)).collect::<Vec<_>>().hash(&mut hash),
        Make::Bytes(bytes) => bytes.hash(&mut hash),
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../test-clips");
    let folder = folder.join(format!("{:016x}", hash.finish()));
    let path = folder.join(format!("{}.{}", recipe.name, recipe.ending));
    if path.exists() {
        return path;
    }
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    let part = folder.join(format!("part-{}.{}", std::process::id(), recipe.ending));
    match &recipe.make {
        Make::Ffmpeg(_) => {
            command.arg("-y").arg(&part);
            let what = format!("{command:?}");
            let outcome = run(command);
            assert!(outcome.status.success(), "{what}\n{}", outcome.stderr);
        }
        Make::Cut(of, percent) => {
            let whole = read(of);
            write(&part, &whole[..whole.len() * percent / 100]);
        }
        Make::Damage(of) => {
            let mut whole = read(of);
            let (from, count) = (whole.len() / 2, whole.len() / 50);
            for (i, byte) in whole[from..from + count].iter_mut().enumerate() {
                *byte = (i * 37 + 11) as u8;
            }
            write(&part, &whole);
        }
        Make::Lose(of) => {
            let whole = read(of);
            let kept = whole.chunks(188).enumerate().filter(|(i, _)| *i < 20 || i % 83 != 0);
            write(&part, &kept.flat_map(|(_, packet)| packet).copied().collect::<Vec<_>>());
        }
        Make::Join(of) => write(&part, &of.iter().flat_map(|name| read(name)).collect::<Vec<_>>()),
        Make::Bytes(bytes) => write(&part, bytes),
    }
    std::fs::rename(&part, &path).expect("the clip gets its name");
    path
}

fn read(name: &str) -> Vec<u8> {
    crate::run::bytes(&clip(name))
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("the target folder can be written");
}

/// Replaces `{name}` by that clip's path.
fn with_clips(arg: &str) -> String {
    match (arg.find('{'), arg.find('}')) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{}{}", &arg[..from], clip(&arg[from + 1..to]).display(), &arg[to + 1..])
        }
        _ => arg.to_owned(),
    }
}

/// Real footage, where there is any: beside the repository, or where `FRAMELOOM_MEDIA` points.
pub fn footage() -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/media");
    let folder = std::env::var_os("FRAMELOOM_MEDIA").map_or(beside, PathBuf::from);
    let endings = ["mp4", "mkv", "mov", "avi", "webm", "ts"];
    let is_media = |p: &PathBuf| p.extension().is_some_and(|e| endings.iter().any(|x| e == *x));
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(is_media)
        .collect();
    files.sort();
    files
}
