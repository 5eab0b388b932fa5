// SPDX-License-Identifier: MIT OR Apache-2.0

//! A camera on one host, its pictures on the other. The kernel's virtual camera shows colour bars that
//! move by four pixels with each frame: so a picture tells whether it is whole, and which one it is.

mod product;
mod usecase;

use anyhow::{Context as _, Result, ensure};
use lab::{Host, Lab};
use product::{LIMIT, ours, unplug};
use usecase::{LONG, debian, fails, recipe, start};

/// As on the page.
const WIDTH: usize = 320;
/// Pixels from one frame to the next (`tpg_update_mv_step` in the kernel).
const STEP: usize = 4;
/// Enough to be sure of their order.
const FRAMES: usize = 30;
/// From left to right, as red, green, blue: 75 % of full colour.
const BARS: [[u8; 3]; 8] = [
    [191, 191, 191],
    [191, 191, 0],
    [0, 191, 191],
    [0, 191, 0],
    [191, 0, 191],
    [191, 0, 0],
    [0, 0, 191],
    [0, 0, 0],
];
/// Mean difference of a colour value that conversion and compression may make.
const TOLERANCE: usize = 24;

/// One row of each frame, from top, middle and bottom by turns: all rows are alike.
const ROWS: &str = "python3 -c '
import glob, sys
for n, name in enumerate(sorted(glob.glob(\"/srv/frames/*.rgb\"))):
    frame = open(name, \"rb\").read()
    if len(frame) == 320 * 180 * 3:
        row = (5, 90, 175)[n % 3]
        sys.stdout.buffer.write(frame[row * 960:row * 960 + 960])
' > /srv/rows";

/// How far the bars have moved to the left, if these are the bars.
fn shift(row: &[u8]) -> Result<usize> {
    let difference = |shift: usize| -> usize {
        let pixel = |x: usize| BARS[(x + shift) % WIDTH / (WIDTH / BARS.len())];
        let want = (0..WIDTH).flat_map(pixel);
        want.zip(row)
            .map(|(a, b)| usize::from(a.abs_diff(*b)))
            .sum()
    };
    let best = (0..WIDTH)
        .min_by_key(|shift| difference(*shift))
        .context("no shift")?;
    let mean = difference(best) / row.len();
    ensure!(
        mean < TOLERANCE,
        "these are no colour bars: {mean}, {:?}",
        &row[..30]
    );
    Ok(best)
}

/// Frames may be missing (the camera drops what nobody takes), but none comes late or twice.
fn in_order(rows: &[u8]) -> Result<()> {
    let shifts: Vec<usize> = rows.chunks(WIDTH * 3).map(shift).collect::<Result<_>>()?;
    for pair in shifts.windows(2) {
        let step = (pair[1] + WIDTH - pair[0]) % WIDTH;
        let near = (1..=20).any(|frames| step.abs_diff(frames * STEP) <= 1);
        ensure!(near, "out of order: {shifts:?}");
    }
    println!("{} frames, shifts {shifts:?}", shifts.len());
    Ok(())
}

fn wait_frames(host: &Host) -> Result<()> {
    let script =
        format!("until [ $(ls /srv/frames 2>/dev/null | wc -l) -ge {FRAMES} ]; do sleep 0.2; done");
    host.shell(&script)
        .timeout(LONG)
        .output()?
        .check()
        .map(drop)
}

fn start_camera() -> Result<Lab> {
    let lab = start(debian(ours()?, ours()?))?;
    lab.host("a").run(
        "modprobe vivid n_devs=1 node_types=0x1 && v4l2-ctl -d /dev/video0 \
         -c osd_text_mode=2 -c horizontal_movement=0",
    )?;
    Ok(lab)
}

#[test]
fn pictures_arrive_in_order_until_ctrl_c_or_an_unplug() -> Result<()> {
    let lab = start_camera()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let camera = recipe("camera")?;
    let mut receiver = camera.start("receiver", b)?;
    let mut sender = camera.start("sender", a)?;
    wait_frames(b)?;
    sender.signal("INT")?;
    sender.wait(LIMIT)?.check()?;
    receiver.wait(LIMIT)?.check()?;
    b.run(ROWS)?;
    let rows = b.read("/srv/rows")?;
    ensure!(rows.len() >= FRAMES * WIDTH * 3, "too few frames");
    in_order(&rows)?;
    let rate = camera.run("rate", b, LONG)?.text();
    ensure!(rate.ends_with("frames per second"), "{rate}");
    println!("{rate}");

    b.run("rm -r /srv/frames")?;
    let mut receiver = camera.start("receiver", b)?;
    let mut sender = camera.start("sender", a)?;
    wait_frames(b)?;
    unplug(&lab)?;
    for job in [&mut receiver, &mut sender] {
        let output = fails(job)?;
        let text = output.error_text() + &output.text();
        ensure!(text.contains("No such device"), "{text}");
    }
    camera.finish()?;
    lab.finish()
}
