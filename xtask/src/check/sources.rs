//! The files of the workspace, without build output, for the checks that read them.

use std::fs;
use std::path::{Path, PathBuf};

use super::Workspace;

/// Folders that start with a dot and belong to the project all the same.
const DOTTED: [&str; 3] = [".cargo", ".ci", ".github"];

/// One file that is text.
pub(super) struct Source {
    /// Relative to the workspace, with `/` between the parts.
    pub(super) path: String,
    pub(super) text: String,
}

impl Workspace {
    /// All text files, sorted by path. Files that are not UTF-8 are left out.
    ///
    /// # Errors
    /// If a folder or file cannot be read.
    pub(super) fn sources(&self) -> std::io::Result<Vec<Source>> {
        let mut sources = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let (path, kind) = (entry.path(), entry.file_type()?);
                if kind.is_dir() {
                    if !self.is_output(&path) {
                        folders.push(path);
                    }
                } else if kind.is_file()
                    && let Ok(text) = String::from_utf8(fs::read(&path)?)
                {
                    sources.push(Source { path: self.relative(&path), text });
                }
            }
        }
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(sources)
    }

    fn is_output(&self, folder: &Path) -> bool {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let hidden = name.starts_with('.') && !DOTTED.contains(&name.as_ref());
        // Folders that tests and tools leave (a second target folder, a local store) say so themselves.
        let of_node = name == "node_modules";
        hidden
            || of_node
            || folder == self.metadata.target_directory.as_std_path()
            || folder.join("CACHEDIR.TAG").exists()
    }

    fn relative(&self, path: &Path) -> String {
        let relative: PathBuf = path.strip_prefix(&self.root).unwrap_or(path).components().collect();
        relative.to_string_lossy().replace('\\', "/")
    }
}
