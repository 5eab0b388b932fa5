// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands of the documentation, run as they stand there.
//!
//! A comment, which no reader of the page sees, stands before a block of commands:
//!
//! ```text
//! .. run: backup/reader b
//!
//! On host b::
//!
//!     cat /dev/tbstream0 > /srv/copy
//! ```
//!
//! `backup` is the recipe, `reader` the block's name in it, `b` the host (`each`: any). In Markdown
//! the mark is `<!-- run: backup/reader b -->`. A test opens the recipe, runs its blocks by name,
//! and [`Recipe::finish`] fails if it has left one out.

use crate::exec::{Exec, Output};
use crate::host::Host;
use crate::job::Job;
use anyhow::{Context as _, Result, bail, ensure};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// For any host.
const EACH: &str = "each";

/// A marked block of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    recipe: String,
    name: String,
    host: String,
    script: String,
}

/// The marked blocks of one recipe, in the order of the page.
#[derive(Debug)]
pub struct Recipe {
    name: String,
    blocks: Vec<Block>,
    shells: BTreeMap<String, String>,
    done: RefCell<BTreeSet<String>>,
}

impl Recipe {
    /// Reads the blocks of a recipe from a page.
    ///
    /// # Errors
    /// The page has no such recipe, or a mark that is not understood.
    pub fn read(page: &Path, name: &str) -> Result<Self> {
        let of_page = read_page(page)?;
        let blocks: Vec<_> = of_page.into_iter().filter(|b| b.recipe == name).collect();
        ensure!(
            !blocks.is_empty(),
            "{} has no recipe `{name}`",
            page.display()
        );
        Ok(Self {
            name: name.to_owned(),
            blocks,
            shells: BTreeMap::new(),
            done: RefCell::default(),
        })
    }

    /// Another shell than bash on one host, which has none.
    #[must_use]
    pub fn shell_on(mut self, host: &str, program: &str) -> Self {
        self.shells.insert(host.to_owned(), program.to_owned());
        self
    }

    /// The names of all recipes of a page.
    ///
    /// # Errors
    /// There is no such page, or it has a mark that is not understood.
    pub fn names(page: &Path) -> Result<BTreeSet<String>> {
        Ok(read_page(page)?.into_iter().map(|b| b.recipe).collect())
    }

    /// Runs a block to its end; it is to succeed.
    ///
    /// # Errors
    /// The page has no such block for this host; it fails or takes longer.
    pub fn run(&self, name: &str, host: &Host, limit: Duration) -> Result<Output> {
        self.exec(name, host)?.timeout(limit).output()?.check()
    }

    /// A block that is about to run; it counts as run.
    ///
    /// # Errors
    /// The page has no such block for this host.
    pub fn exec<'a>(&self, name: &str, host: &'a Host) -> Result<Exec<'a>> {
        Ok(host.exec(self.argv(name, host.name())?))
    }

    /// Starts a block beside the test.
    ///
    /// # Errors
    /// The page has no such block for this host, or the guest does not answer.
    pub fn start<'a>(&self, name: &str, host: &'a Host) -> Result<Job<'a>> {
        host.spawn_exec(self.argv(name, host.name())?, &[])
    }

    /// As a person would: line by line, and no further than the first that fails.
    fn argv(&self, name: &str, host: &str) -> Result<[String; 4]> {
        let here = |b: &&Block| b.name == name && (b.host == host || b.host == EACH);
        let block = self.blocks.iter().find(here);
        let block = block
            .with_context(|| format!("recipe `{}` has no block `{name}` for {host}", self.name))?;
        self.done.borrow_mut().insert(key(block));
        let shell = self.shells.get(host);
        Ok([
            shell.map_or("bash", String::as_str).to_owned(),
            "-e".into(),
            "-c".into(),
            block.script.clone(),
        ])
    }

    /// That every block was run.
    ///
    /// # Errors
    /// One was not.
    pub fn finish(self) -> Result<()> {
        let done = self.done.borrow();
        let left: Vec<_> = self
            .blocks
            .iter()
            .map(key)
            .filter(|k| !done.contains(k))
            .collect();
        ensure!(
            left.is_empty(),
            "recipe `{}`: not run: {}",
            self.name,
            left.join(", ")
        );
        Ok(())
    }
}

fn key(block: &Block) -> String {
    format!("{} on {}", block.name, block.host)
}

fn read_page(page: &Path) -> Result<Vec<Block>> {
    let text = std::fs::read_to_string(page).with_context(|| format!("{}", page.display()))?;
    parse(&text).with_context(|| format!("{}", page.display()))
}

/// All marked blocks of a page.
fn parse(text: &str) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(mark) = mark(line) else { continue };
        let (recipe, name, host) = parts(mark).with_context(|| format!("the mark `{line}`"))?;
        let script = indented(&mut lines).with_context(|| format!("behind the mark `{line}`"))?;
        let block = Block {
            recipe: recipe.to_owned(),
            name: name.to_owned(),
            host: host.to_owned(),
            script,
        };
        let same = |b: &Block| b.recipe == block.recipe && key(b) == key(&block);
        ensure!(!blocks.iter().any(same), "twice: `{line}`");
        blocks.push(block);
    }
    Ok(blocks)
}

fn mark(line: &str) -> Option<&str> {
    let markdown = || line.strip_prefix("<!-- run: ")?.strip_suffix(" -->");
    line.strip_prefix(".. run: ").or_else(markdown)
}

fn parts(mark: &str) -> Option<(&str, &str, &str)> {
    let (id, host) = mark.trim().split_once(' ')?;
    let (recipe, name) = id.split_once('/')?;
    let plain = |word: &str| !word.is_empty() && !word.contains([' ', '/']);
    (plain(recipe) && plain(name) && plain(host)).then_some((recipe, name, host))
}

/// The next indented lines, without their indentation. What stands before them is prose.
fn indented<'a>(lines: &mut (impl Iterator<Item = &'a str> + Clone)) -> Result<String> {
    let mut script: Vec<&str> = Vec::new();
    let mut indent = 0;
    loop {
        let mut ahead = lines.clone();
        let Some(line) = ahead.next() else { break };
        let width = line.len() - line.trim_start().len();
        let blank = line.trim().is_empty();
        if script.is_empty() {
            ensure!(mark(line).is_none(), "no block before the next mark");
            indent = width;
        }
        if !script.is_empty() && !blank && width == 0 {
            break;
        }
        if !script.is_empty() || (!blank && width > 0) {
            ensure!(blank || width >= indent, "less indented: `{line}`");
            script.push(line.get(indent..).unwrap_or(""));
        }
        *lines = ahead;
    }
    if script.is_empty() {
        bail!("no block");
    }
    Ok(script.join("\n").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
Title
=====

.. run: copy/reader b

On the *reader's* host, first::

    cat /dev/tbstream0 |
        cat > /srv/x

    sync

.. run: copy/writer a
::

  cat x > /dev/tbstream0
Then something else::

    not marked

<!-- run: start/load each -->

    modprobe x
";

    #[test]
    fn marked_blocks_are_found_with_their_inner_indentation() {
        let blocks = parse(PAGE).expect("a good page");
        let scripts: Vec<_> = blocks.iter().map(|b| b.script.as_str()).collect();
        let reader = "cat /dev/tbstream0 |\n    cat > /srv/x\n\nsync";
        assert_eq!(scripts, [reader, "cat x > /dev/tbstream0", "modprobe x"]);
        assert_eq!(key(&blocks[1]), "writer on a");
        assert_eq!(blocks[2].recipe, "start");
    }

    #[test]
    fn marks_that_would_run_nothing_or_the_wrong_thing_are_refused() {
        for page in [
            ".. run: copy/reader b\n\nno block follows\n",
            ".. run: copy/reader b\n\n.. run: copy/writer a\n\n    x\n",
            ".. run: copy b\n\n    x\n",
            ".. run: copy/reader\n\n    x\n",
            ".. run: x/y a\n\n    x\n\n.. run: x/y a\n\n    x\n",
            ".. run: x/y a\n\n    x\n  y\n",
        ] {
            assert!(parse(page).is_err(), "{page}");
        }
    }

    #[test]
    fn a_block_that_was_left_out_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let page = dir.path().join("page.rst");
        std::fs::write(&page, PAGE).expect("space");
        let recipe = Recipe::read(&page, "copy").expect("it is there");
        recipe.argv("reader", "b").expect("it is there");
        assert!(recipe.argv("reader", "a").is_err(), "another host's");
        let error = recipe.finish().expect_err("the writer").to_string();
        assert!(error.contains("writer on a"), "{error}");
        let start = Recipe::read(&page, "start").expect("it is there");
        start.argv("load", "a").expect("for each");
        start.finish().expect("all were run");
        assert!(Recipe::read(&page, "none").is_err());
    }
}
