//! `jobs.toml`: the options of `frameloom transcode` by their long names, for many inputs.

use crate::args::{Cli, Command, TranscodeArgs};
use clap::{CommandFactory, Parser};
use frameloom::{Error, ErrorKind, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Options that belong to the whole run, or to one job by itself.
const NOT_HERE: [&str; 10] =
    ["output", "json", "quiet", "verbose", "dry-run", "resume", "yes", "no", "trace", "report"];
/// Options whose values are names of files: relative ones are meant from the job file's folder, as inputs and outputs are.
const PATHS: [&str; 2] = ["temp", "ladder"];

/// Reads a job file: the jobs as they would have been typed.
pub fn load(path: &Path) -> Result<Vec<TranscodeArgs>> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::io(ErrorKind::Input, "can't read the job file", &e).in_file(&file))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parse(&text, folder).map_err(|e| e.in_file(file))
}

/// The jobs of a job file that stands in `folder`.
pub fn parse(text: &str, folder: &Path) -> Result<Vec<TranscodeArgs>> {
    let wrong = |e: toml::de::Error| {
        Error::usage("this is no job file").because(e.to_string().trim_end().replace('\n', " "))
    };
    let mut top: Table = text.parse().map_err(wrong)?;
    let defaults = match top.remove("defaults") {
        None => Table::new(),
        Some(Value::Table(table)) => table,
        Some(_) => return Err(Error::usage("`defaults` is a table: [defaults]")),
    };
    let jobs = match top.remove("job") {
        Some(Value::Array(jobs)) if !jobs.is_empty() => jobs,
        _ => return Err(Error::usage("there are no jobs").hint("each begins with [[job]]")),
    };
    if let Some(key) = top.keys().next() {
        return Err(Error::usage(format!("unknown key {key:?}")).hint("known: [defaults], [[job]]"));
    }
    let options = options();
    let mut typed = Vec::new();
    for (i, job) in jobs.into_iter().enumerate() {
        let Value::Table(job) = job else { return Err(Error::usage("`job` is a list of tables: [[job]]")) };
        let mut all = defaults.clone();
        all.extend(job);
        let found = jobs_of(all, folder, &options)
            .map_err(|e| Error { message: format!("job {}: {}", i + 1, e.message), ..e })?;
        typed.extend(found);
    }
    Ok(typed)
}

/// Long names of the options that a job may have, and whether each takes a value.
fn options() -> Vec<(String, bool)> {
    let cli = Cli::command();
    let transcode = cli.get_subcommands().find(|c| c.get_name() == "transcode");
    let all = transcode.into_iter().flat_map(|c| c.get_arguments());
    all.filter_map(|a| Some((a.get_long()?.to_owned(), a.get_action().takes_values())))
        .filter(|(name, _)| !NOT_HERE.contains(&name.as_str()))
        .collect()
}

fn jobs_of(mut job: Table, folder: &Path, options: &[(String, bool)]) -> Result<Vec<TranscodeArgs>> {
    let inputs = inputs(job.remove("input"), folder)?;
    let outputs = match job.remove("output") {
        None => return Err(Error::usage("it has no `output`")),
        Some(Value::Array(all)) => all,
        Some(one) => vec![one],
    };
    let outputs = outputs.iter().map(output).collect::<Result<Vec<_>>>()?;
    if outputs.is_empty() {
        return Err(Error::usage("it has no `output`"));
    }
    if inputs.len() > 1 && !outputs.iter().any(|o| o.contains("{stem}") || o.contains("{name}")) {
        return Err(Error::usage("several inputs and one name for their outputs").hint(
            "{stem} in an output stands for the input's name without its ending, {name} for all of it",
        ));
    }
    let mut common: Vec<OsString> = Vec::new();
    for (key, value) in &job {
        let Some((name, takes_value)) = options.iter().find(|(name, _)| name == key) else {
            let names: Vec<&str> = options.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Error::usage(format!("unknown key {key:?}")).hint(format!(
                "input, output, or an option of `frameloom transcode`: {}",
                names.join(", ")
            )));
        };
        let values = match value {
            Value::Array(values) => values.iter().collect(),
            one => vec![one],
        };
        for value in values {
            match (takes_value, value) {
                (false, Value::Boolean(true)) => common.push(format!("--{name}").into()),
                (false, Value::Boolean(false)) => {}
                (false, _) => return Err(Error::usage(format!("{key} is true or false"))),
                (true, value) => {
                    let text = scalar(key, value)?;
                    let mut argument = OsString::from(format!("--{name}="));
                    match PATHS.contains(&key.as_str()) && text != "default" {
                        true => argument.push(folder.join(text)),
                        false => argument.push(text),
                    }
                    common.push(argument);
                }
            }
        }
    }
    inputs.iter().map(|input| typed(input, &outputs, &common, folder)).collect()
}

fn typed(input: &Path, outputs: &[String], common: &[OsString], folder: &Path) -> Result<TranscodeArgs> {
    let part = |p: Option<&std::ffi::OsStr>| p.unwrap_or_default().to_string_lossy().replace(',', "\\,");
    let (stem, name) = (part(input.file_stem()), part(input.file_name()));
    let mut line: Vec<OsString> = vec!["frameloom".into(), "transcode".into()];
    line.extend(common.iter().cloned());
    for output in outputs {
        line.push("--output".into());
        let text = output.replace("{stem}", &stem).replace("{name}", &name);
        line.push(
            if folder == Path::new(".")
                || Path::new(&text).is_absolute()
                || text.split(',').next() == Some("-")
            {
                text.into()
            } else {
                // A folder's own commas must not end the name.
                let Some(folder) = folder.to_str() else {
                    return Err(Error::usage("the job file's folder has a name that is no text")
                        .hint("name outputs from / on, or run it in that folder"));
                };
                format!("{}/{text}", folder.replace(',', "\\,")).into()
            },
        );
    }
    line.extend(["--".into(), input.as_os_str().to_owned()]);
    let cli = Cli::try_parse_from(line).map_err(|e| {
        let text = e.to_string();
        let text =
            text.trim_start_matches("error: ").split("\n\nUsage").next().unwrap_or_default().to_owned();
        Error::usage(text.replace('\n', " "))
    })?;
    match cli.command {
        Command::Transcode(args) => Ok(*args),
        _ => Err(Error::new(ErrorKind::Internal, "a job that is none")),
    }
}

fn scalar(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(n) => Ok(n.to_string()),
        Value::Float(n) => Ok(n.to_string()),
        Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            Err(Error::usage(format!("{key}: a text or a number is expected")))
        }
    }
}

/// "name,key=value" as it is, or a table with `name`.
fn output(value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Table(table) => {
            let Some(Value::String(name)) = table.get("name") else {
                return Err(Error::usage("an output needs a `name`"));
            };
            let mut text = name.replace(',', "\\,");
            for (key, value) in table.iter().filter(|(key, _)| *key != "name") {
                let value = match value {
                    Value::Boolean(true) => "1".to_owned(),
                    value => scalar(key, value)?.replace(',', "\\,"),
                };
                text += &format!(",{key}={value}");
            }
            Ok(text)
        }
        _ => Err(Error::usage("an output is a text (\"out.mp4,crf=20\") or a table with `name`")),
    }
}

fn inputs(value: Option<Value>, folder: &Path) -> Result<Vec<PathBuf>> {
    let wrong = || Error::usage("`input` is a name or a list of names; * and ? stand for any letters");
    let patterns: Vec<String> = match value {
        None => return Err(Error::usage("it has no `input`")),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => {
            all.into_iter().map(|v| v.as_str().map(str::to_owned).ok_or_else(wrong)).collect::<Result<_>>()?
        }
        Some(_) => return Err(wrong()),
    };
    let mut found = Vec::new();
    for pattern in patterns {
        let plain = folder.join(&pattern);
        // A name that is there is meant, whatever letters are in it.
        if pattern == "-" {
            found.push(pattern.into());
            continue;
        }
        if plain.exists() || !pattern.contains(['*', '?', '[']) {
            found.push(plain);
            continue;
        }
        let whole = Path::new(&glob::Pattern::escape(&folder.display().to_string())).join(&pattern);
        let matches = glob::glob(&whole.display().to_string())
            .map_err(|e| Error::usage(format!("input {pattern:?}")).because(e))?;
        let before = found.len();
        for path in matches {
            let path =
                path.map_err(|e| Error::new(ErrorKind::Input, format!("input {pattern:?}")).because(e))?;
            if path.is_file() {
                found.push(path);
            }
        }
        if found.len() == before {
            return Err(Error::usage(format!("nothing fits the input {pattern:?}")));
        }
    }
    if found.is_empty() {
        return Err(Error::usage("it has no `input`"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Error {
        parse(text, Path::new(".")).map(|all| all.len()).unwrap_err()
    }

    #[test]
    fn options_are_those_of_transcode() {
        let text = r#"
            [defaults]
            preset = "fast"
            fixed-gop = true
            [[job]]
            input = "a,b.mkv"
            output = [{ name = "x,y.mp4", crf = 20.5 }, "{stem}-2.mp4,size=64x64"]
            gop = 48
            encoder-opt = ["aq-mode=2", "me=hex"]
        "#;
        let jobs = parse(text, Path::new(".")).unwrap();
        let args = &jobs[0];
        assert_eq!(
            (args.video.gop, args.video.fixed_gop, args.video.preset.as_deref()),
            (Some(48), true, Some("fast"))
        );
        assert_eq!(args.outputs, ["x\\,y.mp4,crf=20.5", "a\\,b-2.mp4,size=64x64"]);
        assert_eq!(args.video.encoder_opt.len(), 2);
        assert_eq!(args.input, Path::new("./a,b.mkv"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("", "no jobs"),
            ("x = 1\n[[job]]\ninput='a'\noutput='b'", "\"x\""),
            ("[[job]]\ninput='a'", "output"),
            ("[[job]]\noutput='a'", "input"),
            ("[[job]]\ninput='a'\noutput='b'\ncfr=1", "cfr"),
            ("[[job]]\ninput='a'\noutput='b'\nresume=true", "resume"),
            ("[[job]]\ninput='a'\noutput='b'\ncrf='x'", "crf"),
            ("[[job]]\ninput='a'\noutput='b'\nfixed-gop=1", "fixed-gop"),
            ("[[job]]\ninput=['a','b']\noutput='c'", "{stem}"),
            ("[[job]]\ninput='no*such'\noutput='c'", "no*such"),
            ("[[job", "job file"),
        ] {
            let error = error(text);
            let all = format!("{error} {}", error.hint.as_deref().unwrap_or_default());
            assert!(error.kind == ErrorKind::Usage && all.contains(word), "{text}: {all}");
        }
    }
}
