//! Profile and portable options: docs/tuning.md says what they become.

use clap::Args;
use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use frameloom::plan::tuning::{BRef, Profile, Tuning};

/// What many encoders can, in one notation.
#[derive(Debug, Args)]
#[command(next_help_heading = "Video, by portable names")]
pub struct TuningArgs {
    /// Settings for a use case; what else is given wins over them.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Profile::NAMES).try_map(|t| t.parse::<Profile>()))]
    pub profile: Option<Profile>,
    /// Frames that rate control sees in advance.
    #[arg(long, value_name = "FRAMES")]
    pub lookahead: Option<u32>,
    /// More bits to the blocks of a picture where the eye sees more; "=no" switches it off.
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = BoolishValueParser::new())]
    pub spatial_aq: Option<bool>,
    /// How strong that is, from 1 to 15; 8 is what encoders do by themselves.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=15))]
    pub aq_strength: Option<u32>,
    /// More bits to blocks that later frames build on; "=no" switches it off.
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = BoolishValueParser::new())]
    pub temporal_aq: Option<bool>,
    /// Most B-frames in a row; 0: none, so no frame waits for a later one.
    #[arg(long, value_name = "N")]
    pub bframes: Option<u32>,
    /// B-frames that others may refer to.
    #[arg(long, value_name = "WHICH", value_parser = PossibleValuesParser::new(BRef::NAMES).try_map(|t| t.parse::<BRef>()))]
    pub b_ref: Option<BRef>,
    /// Quantiser of I-frames as a factor of that of P-frames; 0.75 makes them finer.
    #[arg(long, value_name = "FACTOR", value_parser = super::positive)]
    pub i_qfactor: Option<f64>,
    /// Quantiser of B-frames as a factor of that of P-frames; 1.1 makes them coarser.
    #[arg(long, value_name = "FACTOR", value_parser = super::positive)]
    pub b_qfactor: Option<f64>,
    /// Smallest quantiser that rate control may choose.
    #[arg(long, value_name = "N")]
    pub qmin: Option<u32>,
}

impl TuningArgs {
    /// As a value of the request.
    pub fn tuning(&self) -> Tuning {
        Tuning {
            profile: self.profile,
            lookahead: self.lookahead,
            spatial_aq: self.spatial_aq,
            aq_strength: self.aq_strength,
            temporal_aq: self.temporal_aq,
            bframes: self.bframes,
            b_ref: self.b_ref,
            i_qfactor: self.i_qfactor,
            b_qfactor: self.b_qfactor,
            qmin: self.qmin,
        }
    }
}
