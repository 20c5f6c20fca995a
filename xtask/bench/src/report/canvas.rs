//! What all plots are drawn with.

use plotters::prelude::{DrawingArea, IntoDrawingArea as _, IntoFont as _, RGBColor, SVGBackend, Text, TextStyle};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::peers;

pub(super) const WIDTH: i32 = 760;
pub(super) const TITLE: i32 = 34;
pub(super) const GAP: i32 = 14;

pub(super) const INK: RGBColor = RGBColor(0x20, 0x20, 0x20);
const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);

pub(super) type Outcome = Result<(), Box<dyn std::error::Error>>;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws a title, and below it the panels, each as high as `height` says and where `draw` is told that it begins.
pub(super) fn draw<P>(
    title: &str,
    panels: &[P],
    height: impl Fn(&P) -> i32,
    draw: impl Fn(&Area<'_>, &P, i32) -> Outcome,
) -> Result<String, Box<dyn std::error::Error>> {
    let whole = TITLE + panels.iter().map(&height).sum::<i32>() + GAP;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, whole as u32)).into_drawing_area();
        area.fill(&PAPER)?;
        write(&area, title, (GAP, TITLE / 2), 20, HPos::Left)?;
        let mut top = TITLE;
        for panel in panels {
            draw(&area, panel, top)?;
            top += height(panel);
        }
        area.present()?;
    }
    Ok(svg)
}

pub(super) fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, side: HPos) -> Outcome {
    let style = TextStyle::from(("sans-serif", size).into_font()).color(&INK).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text, at, style))?;
    Ok(())
}

/// Whose a figure is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    Peers,
    /// A lower bound.
    Bound,
}

impl Whose {
    pub(super) fn of(name: &str) -> Self {
        match name {
            ours if ours.starts_with("ours-") => Self::Ours,
            name if peers::is_compared_with(name) => Self::Peers,
            _ => Self::Bound,
        }
    }

    pub(super) fn colour(self) -> RGBColor {
        match self {
            Self::Ours => RGBColor(0x1f, 0x77, 0xb4),
            Self::Peers => RGBColor(0xb0, 0xb0, 0xb0),
            Self::Bound => RGBColor(0xe0, 0xd0, 0xa0),
        }
    }
}
