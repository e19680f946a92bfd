//! What kernels are told: the structures of `kernels/*.cu`, field by field.

/// Pictures of one launch.
pub(crate) const PICTURES: usize = 64;

/// `In`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct In {
    pub offset: u64,
    pub pitch: u32,
    pub step: u32,
}

/// `Out`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Out {
    pub offset: u64,
    pub pitch: u32,
    pub step: u32,
    pub m: [f32; 3],
    pub o: f32,
    pub gain: f32,
    pub bias: f32,
}

/// `Table`; until it is where the GPU reads it, its addresses count from the tables' beginning.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Table {
    pub starts: u64,
    pub weights: u64,
    pub stride: u32,
    pub taps: u32,
    pub next: u32,
    pub unused: u32,
}

impl Table {
    pub(crate) fn move_by(&mut self, base: u64) {
        self.starts += base;
        self.weights += base;
    }
}

/// `Pass`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    pub from: [u64; PICTURES],
    pub to: [u64; PICTURES],
    pub inputs: [In; 3],
    pub out: [Out; 3],
    pub x: [Table; 2],
    pub y: [Table; 2],
    pub between: u64,
    pub between_size: u64,
    pub between_at: [u64; 3],
    pub between_pitch: u32,
    pub row0: [u32; 3],
    pub rows: [u32; 3],
    pub table: [u32; 3],
    pub uses: u32,
    pub outs: u32,
    pub width: u32,
    pub height: u32,
    pub kind: u32,
    pub shift: u32,
    pub unit: u32,
    pub interleaved: u32,
    pub top: f32,
}

/// `ScaledPlane`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ScaledPlane {
    pub from: u64,
    pub to: u64,
    pub from_pitch: u32,
    pub to_pitch: u32,
    pub components: u32,
    pub last_word: u32,
    pub width: u32,
    pub height: u32,
    pub x: Table,
    pub y: Table,
}

/// `Scale`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub from: [u64; PICTURES],
    pub to: [u64; PICTURES],
    pub plane: [ScaledPlane; 3],
    pub pictures: u32,
}

/// `Mode`.
pub(crate) const STRAIGHT: u32 = 0;
pub(crate) const SPLIT: u32 = 1;
pub(crate) const JOIN: u32 = 2;

/// `Job`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Job {
    pub from: [u64; 2],
    pub to: [u64; 2],
    pub from_pitch: [u32; 2],
    pub to_pitch: [u32; 2],
    pub mode: u32,
    pub width: u32,
    pub height: u32,
    pub aligned: u32,
}

/// `Repack`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repack {
    pub from: [u64; PICTURES],
    pub to: [u64; PICTURES],
    pub job: [Job; 3],
    pub pictures: u32,
    pub plain: u32,
    pub add: u32,
    pub right: u32,
    pub top: u32,
    pub left: u32,
}

/// `Nv12Rgb`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nv12Rgb {
    pub from: [u64; PICTURES],
    pub to: [u64; PICTURES],
    pub luma: u64,
    pub chroma: u64,
    pub luma_pitch: u32,
    pub chroma_pitch: u32,
    pub width: u32,
    pub height: u32,
    pub last_pair: u32,
    pub last_row: u32,
    pub across_even: [u32; 2],
    pub across_odd: [u32; 2],
    pub down_even: [u32; 2],
    pub down_odd: [u32; 2],
    pub out: [Out; 3],
}

/// `Filled`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filled {
    pub offset: u64,
    pub pitch: u32,
    pub step: u32,
    pub width: u32,
    pub height: u32,
    pub left: u32,
    pub top: u32,
    pub right: u32,
    pub bottom: u32,
    pub value: u32,
    pub bytes: u32,
}

/// `Fill`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub to: [u64; PICTURES],
    pub component: [Filled; 3],
    pub pictures: u32,
    pub components: u32,
}
