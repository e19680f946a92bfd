//! Render nodes: the kernel's doors to graphics hardware, by which VAAPI and QSV encode.

use serde::Serialize;
use std::path::Path;

/// A render node of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RenderNode {
    /// Its path, as in `--devices`: "/dev/dri/renderD128".
    pub name: String,
    /// The kernel's driver: "i915", "xe", "amdgpu"; empty where the system doesn't tell.
    pub driver: String,
    /// Maker and model of the hardware in the PCI bus's numbers: "8086:9a49"; empty where it has none.
    pub model: String,
}

/// All of them, in the order of their numbers.
pub fn render_nodes() -> Vec<RenderNode> {
    nodes_in(Path::new("/dev/dri"))
}

/// The one that is used when none is named.
pub fn default_node() -> Option<String> {
    render_nodes().into_iter().next().map(|node| node.name)
}

/// What is known of a node.
pub fn describe(path: &str) -> RenderNode {
    let node = path.rsplit('/').next().unwrap_or(path);
    let device = Path::new("/sys/class/drm").join(node).join("device");
    let read = |file: &str| std::fs::read_to_string(device.join(file)).ok();
    let id = |file: &str| read(file).map(|text| text.trim().trim_start_matches("0x").to_owned());
    let driver = std::fs::read_link(device.join("driver")).ok();
    let driver = driver.and_then(|link| link.file_name().map(|name| name.to_string_lossy().into_owned()));
    let model = id("vendor").zip(id("device")).map(|(vendor, device)| format!("{vendor}:{device}"));
    RenderNode { name: path.to_owned(), driver: driver.unwrap_or_default(), model: model.unwrap_or_default() }
}

fn nodes_in(folder: &Path) -> Vec<RenderNode> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("renderD")?.parse::<u32>().ok();
    let mut found: Vec<(u32, String)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((number(&name)?, folder.join(name).display().to_string()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| describe(&path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_come_in_the_order_of_their_numbers() {
        let folder = std::env::temp_dir().join(format!("frameloom-nodes-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["renderD1000", "renderD999", "card0", "renderDx", "by-path"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let names: Vec<String> = nodes_in(&folder).into_iter().map(|node| node.name).collect();
        std::fs::remove_dir_all(&folder).unwrap();
        let wanted = ["renderD999", "renderD1000"].map(|name| folder.join(name).display().to_string());
        assert_eq!(names, wanted);
        assert_eq!(nodes_in(&folder), []);
    }
}
