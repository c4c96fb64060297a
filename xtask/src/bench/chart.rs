//! Charts of how a cost grows, as SVG.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use super::measure::Curve;
use super::plan::Cost;

const SIZE: (u32, u32) = (720, 360);

/// Writes one chart: CPU time over `axis`, which is logarithmic.
///
/// # Errors
/// If it cannot be drawn or written.
pub(super) fn write(file: &Path, title: &str, axis: &str, cost: Cost, curves: &[Curve]) -> anyhow::Result<()> {
    draw(file, title, axis, cost, curves).map_err(|error| anyhow!("{}: {error}", file.display()))
}

fn draw(file: &Path, title: &str, axis: &str, cost: Cost, curves: &[Curve]) -> Result<(), Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let right = points().map(|(at, _)| *at as f64).fold(1.0, f64::max);
    let left = points().map(|(at, _)| *at as f64).fold(right, f64::min);
    // The names stand where the curves are not: the others' cost falls to the right; over the caller's there is room for them.
    let (unit, place, room) = match cost {
        Cost::Caller => {
            ("ns of the caller's CPU an operation", SeriesLabelPosition::UpperLeft, 0.08 * curves.len() as f64)
        }
        Cost::Others => ("ns of the other threads' CPU an item", SeriesLabelPosition::UpperRight, 0.0),
    };
    let top = points().map(|(_, cost)| *cost).fold(1.0, f64::max) * (1.2 + room);
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((left..right * 1.1).log_scale(), 0.0..top)?;
    chart.configure_mesh().x_desc(axis).y_desc(unit).light_line_style(WHITE).draw()?;
    for ((name, points), colour) in curves.iter().zip([BLUE, RED, GREEN, MAGENTA].into_iter().cycle()) {
        let at = points.iter().map(|(at, cost)| (*at as f64, *cost));
        let series = LineSeries::new(at, colour.stroke_width(2)).point_size(3);
        chart
            .draw_series(series)?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(place)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Cost, write};

    #[test]
    fn a_chart_has_its_title_axis_and_curves() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chart.svg");
        let curves = [("ours", vec![(1, 10.0), (1_000, 12.0)]), ("theirs", vec![(1, 90.0)])];
        write(&file, "the title", "series", Cost::Others, &curves).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{text}");
        for part in ["the title", "series", "ours", "theirs", "other threads"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
