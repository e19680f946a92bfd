//! What `-o` and `--ladder` ask for.

use frameloom::options::ladder::{Ladder, folder_of, is_manifest};
use frameloom::options::spec::Spec;
use frameloom::options::{OutputOptions, OutputTarget};
use frameloom::package::{Packaging, SetTarget};
use frameloom::{Error, Result};
use std::ffi::OsString;
use std::path::Path;

/// The outputs of a job.
#[derive(Default)]
pub struct Outputs {
    pub targets: Vec<OutputTarget>,
    pub options: Vec<OutputOptions>,
    pub sets: Vec<SetTarget>,
    /// How the sets are cut, if there are any.
    pub packaging: Option<Packaging>,
}

/// From every `-o`, and what is common to all.
pub fn outputs(texts: &[OsString], ladder: Option<&Path>, common: &OutputOptions) -> Result<Outputs> {
    let ladder = ladder.map(Ladder::load).transpose()?;
    let mut all = Outputs::default();
    for text in texts {
        let Some(text) = text.to_str() else {
            // One that is no text has nothing but the name.
            all.targets.push(OutputTarget::File(text.into()));
            all.options.push(common.clone());
            continue;
        };
        let spec: Spec = text.parse()?;
        if is_manifest(Path::new(&spec.name)) {
            all.add_set(spec, ladder.as_ref(), common)?;
            continue;
        }
        all.targets.push(match spec.name.as_str() {
            "-" => OutputTarget::Stdout,
            name => OutputTarget::File(name.into()),
        });
        all.options.push(common.with(&spec)?);
    }
    if ladder.is_some() && all.sets.is_empty() {
        return Err(Error::usage("--ladder is for HLS or DASH, and there is no such output")
            .hint("an output whose name ends in .m3u8 or .mpd"));
    }
    Ok(all)
}

impl Outputs {
    fn add_set(&mut self, spec: Spec, ladder: Option<&Ladder>, common: &OutputOptions) -> Result<()> {
        let manifest = Path::new(&spec.name).to_owned();
        let folder = folder_of(&manifest);
        if common.format.is_some() || spec.settings.iter().any(|(key, _)| key == "format") {
            return Err(Error::usage("HLS and DASH have no --format")
                .in_file(spec.name)
                .hint("`container` in a ladder chooses between fmp4 and ts: docs/ladders.md"));
        }
        // Without a ladder a size is meant as it is.
        let fitted = ladder.is_some();
        let (ladder, common) = match ladder {
            Some(ladder) => {
                let mut ladder = ladder.clone();
                if spec.settings.iter().any(|(key, _)| key == "audio") {
                    ladder.audio = None;
                }
                (ladder, common.with(&spec)?)
            }
            None => (Ladder::single(spec.settings.clone()), common.clone()),
        };
        let is_dash = manifest.extension().is_some_and(|e| e.eq_ignore_ascii_case("mpd"));
        if is_dash && ladder.packaging.container != frameloom::package::Container::Fmp4 {
            return Err(Error::usage("DASH takes no transport streams")
                .in_file(spec.name)
                .hint("container = \"fmp4\" in the ladder"));
        }
        let renditions = ladder.outputs(&folder, &common)?;
        self.packaging = Some(ladder.packaging);
        // HLS and DASH of one name are two views of the same media.
        if let Some(at) = self.sets.iter().position(|set| set.folder == folder) {
            let set = &mut self.sets[at];
            let same = renditions.iter().all(|new| {
                self.targets.iter().zip(&self.options).any(|old| (old.0, old.1) == (&new.0, &new.1))
            });
            if !same || set.manifests.contains(&manifest) {
                return Err(Error::usage("two outputs would have the same folder, with other settings")
                    .in_file(folder.display().to_string()));
            }
            set.manifests.push(manifest);
            return Ok(());
        }
        let (targets, options): (Vec<_>, Vec<_>) = renditions.into_iter().unzip();
        self.targets.extend(targets);
        self.options.extend(options);
        self.sets.push(SetTarget { manifests: vec![manifest], folder, fitted });
        Ok(())
    }
}
