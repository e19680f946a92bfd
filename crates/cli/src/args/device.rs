//! Which devices work, and on what.

use clap::{Args, ValueEnum};
use frameloom::device::choice::{DecodeOn, DeviceChoice};
use frameloom::options::RunOptions;

/// What `transcode` and `frames` have in common.
#[derive(Debug, Args)]
pub struct DeviceArgs {
    /// Devices that may be used: cpu, cuda (all GPUs), cuda:0, cuda:0,2-3. A GPU decodes; what it gives is the same to the bit. For encoders of
    /// VAAPI and QSV a render node: vaapi:/dev/dri/renderD128, qsv:0.
    #[arg(long, value_name = "DEVICES", value_parser = devices, help_heading = "Parallel work")]
    pub devices: Option<DeviceChoice>,
    /// Where video is decoded, when there are GPUs: auto (there, where they can), gpu, cpu, or both (there until their
    /// engines are busy, and on the processor beside them).
    #[arg(long, value_enum, default_value = "auto", help_heading = "Parallel work")]
    pub decode: DecodeArg,
    /// Decoders side by side on each GPU; otherwise as many as there are workers, and with --decode both 8.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256), help_heading = "Parallel work")]
    pub sessions_per_device: Option<u32>,
}

impl DeviceArgs {
    /// Puts them into the request.
    pub fn apply(&self, run: RunOptions) -> RunOptions {
        RunOptions {
            devices: self.devices.clone().unwrap_or_default(),
            decode: self.decode.into(),
            sessions_per_device: self.sessions_per_device.map(|n| n as usize),
            ..run
        }
    }
}

/// Where video is decoded.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum DecodeArg {
    /// On GPUs where they can.
    #[default]
    Auto,
    /// On GPUs only.
    Gpu,
    /// On the processor only.
    Cpu,
    /// On both.
    Both,
}

impl From<DecodeArg> for DecodeOn {
    fn from(arg: DecodeArg) -> Self {
        match arg {
            DecodeArg::Auto => Self::Auto,
            DecodeArg::Gpu => Self::Gpu,
            DecodeArg::Cpu => Self::Cpu,
            DecodeArg::Both => Self::Both,
        }
    }
}

/// For what no encoder of VAAPI or QSV does.
pub(super) fn devices_of_images(text: &str) -> Result<DeviceChoice, String> {
    match devices(text)? {
        DeviceChoice { node: Some(_), .. } => {
            Err("images are made on the processor and on GPUs of NVIDIA's: cpu, cuda, cuda:0".into())
        }
        choice => Ok(choice),
    }
}

pub(super) fn devices(text: &str) -> Result<DeviceChoice, String> {
    text.parse().map_err(|e: frameloom::Error| match e.hint {
        Some(hint) => format!("{}; {hint}", e.message),
        None => e.message,
    })
}
