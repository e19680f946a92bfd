//! `frameloom devices`.

use crate::args::DevicesArgs;
use crate::printer::Printer;
use frameloom::Result;
use frameloom::device::nodes::render_nodes;
use frameloom::device::{Device, listing};
use frameloom_media::{encoders, library_versions};

/// Encoders whose seams are tested.
const TESTED: [&str; 9] =
    ["libx264", "libx265", "libsvtav1", "libaom-av1", "libvpx-vp9", "librav1e", "ffv1", "prores_ks", "mjpeg"];

pub fn run(_: &DevicesArgs, printer: &Printer) -> Result<()> {
    let cpu = Device::cpu();
    let gpus = listing::gpus();
    let nodes = render_nodes();
    let video: Vec<_> = encoders().into_iter().filter(|e| e.video).collect();
    if printer.is_json() {
        printer.object(&serde_json::json!({
            "type": "device",
            "name": cpu.name,
            "cores": cpu.cores,
            "memory_total": cpu.memory.total,
            "memory_available": cpu.memory.available,
        }));
        for gpu in gpus.iter().flatten() {
            let mut object = serde_json::json!(gpu);
            object["type"] = "device".into();
            object["memory_total"] = gpu.info.memory.into();
            printer.object(&object);
        }
        for node in &nodes {
            let mut object = serde_json::json!(node);
            object["type"] = "render_node".into();
            printer.object(&object);
        }
        printer.object(&serde_json::json!({
            "type": "libraries",
            "versions": library_versions().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        }));
        for e in &video {
            printer.object(&serde_json::json!({
                "type": "encoder", "name": e.name, "codec": e.codec, "description": e.long_name,
                "hardware": e.hardware, "experimental": e.experimental, "intra_only": e.intra_only,
                "tested": TESTED.contains(&e.name.as_str()),
            }));
        }
        return Ok(());
    }
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    printer.out(&format!(
        "cpu      {} cores, {:.1} GiB of memory, {:.1} GiB free",
        cpu.cores,
        gib(cpu.memory.total),
        gib(cpu.memory.available)
    ));
    match &gpus {
        Ok(gpus) => gpus.iter().for_each(|gpu| show_gpu(gpu, printer)),
        Err(why) => printer.out(&format!("no GPU   {why}")),
    }
    for node in &nodes {
        printer.out(&format!(
            "{}  render node of {} ({}), for VAAPI and QSV",
            node.name, node.driver, node.model
        ));
    }
    let versions: Vec<String> = library_versions().iter().map(|(n, v)| format!("{n} {v}")).collect();
    printer.out(&format!("FFmpeg   {}", versions.join(", ")));
    let names = |wanted: &dyn Fn(&str, bool) -> bool| {
        let names: Vec<&str> =
            video.iter().filter(|e| wanted(&e.name, e.hardware)).map(|e| e.name.as_str()).collect();
        names.join(" ")
    };
    printer.out(&format!("encoders with tested seams\n         {}", names(&|n, _| TESTED.contains(&n))));
    let missing: Vec<&str> = TESTED.into_iter().filter(|t| video.iter().all(|e| e.name != *t)).collect();
    if !missing.is_empty() {
        printer.out(&format!("missing from this FFmpeg\n         {}", missing.join(" ")));
    }
    printer.out(&format!(
        "others (usable, not tested)\n         {}",
        names(&|n, hardware| !TESTED.contains(&n) && !hardware)
    ));
    let in_hardware = names(&|_, hardware| hardware);
    if !in_hardware.is_empty() {
        printer.out(&format!("in hardware, where there is any (not yet run)\n         {in_hardware}"));
    }
    Ok(())
}

fn show_gpu(gpu: &listing::GpuListing, printer: &Printer) {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    printer.out(&format!(
        "{:<8} {}, {:.1} GiB of memory, {:.1} GiB free, {} processors, at {}, driver API {}",
        gpu.name,
        gpu.info.name,
        gib(gpu.info.memory),
        gib(gpu.memory_available),
        gpu.info.processors,
        gpu.info.pci,
        gpu.driver_api
    ));
    for link in &gpu.links {
        printer.out(&format!("         to {}: {}", link.to, link.summary()));
    }
    if let Some(trouble) = &gpu.trouble {
        printer.out(&format!("         {trouble}"));
    }
    let engines = gpu.decodes.iter().map(|d| d.engines).max().unwrap_or(0);
    if engines > 0 {
        printer.out(&format!("         {engines} video decoders:"));
    }
    for line in listing::summary(&gpu.decodes) {
        printer.out(&format!("           {line}"));
    }
}
