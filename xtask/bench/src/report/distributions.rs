//! A plot: distributions, a line a peer from the fastest hundredth to the slowest thousandth, as SVG.

use plotters::prelude::PathElement;
use plotters::style::text_anchor::HPos;
use plotters::style::{Color as _, RGBColor};

use super::canvas::{self, Area, GAP, INK, Outcome, TITLE, WIDTH, Whose, write};

/// The distributions that are compared with each other.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
}

/// One of them: the shares and the values that they do not exceed, in order.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

const HEIGHT: i32 = 300;
const AXIS: i32 = 70;
const NAMES: i32 = 190;
const ROW: i32 = 20;

const GRID: RGBColor = RGBColor(0xe8, 0xe8, 0xe8);

/// One for each peer, so that lines that cross can be told apart; ours are of one hue.
const PEERS: [RGBColor; 8] = [
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0xe3, 0x77, 0xc2),
    RGBColor(0xbc, 0xbd, 0x22),
    RGBColor(0x7f, 0x7f, 0x7f),
];
const OURS: [RGBColor; 6] = [
    RGBColor(0x08, 0x30, 0x6b),
    RGBColor(0x08, 0x51, 0x9c),
    RGBColor(0x21, 0x71, 0xb5),
    RGBColor(0x42, 0x92, 0xc6),
    RGBColor(0x6b, 0xae, 0xd6),
    RGBColor(0x9e, 0xca, 0xe1),
];

/// Draws it.
pub(super) fn draw(title: &str, panels: &[Panel]) -> Result<String, Box<dyn std::error::Error>> {
    let height = |panel: &Panel| TITLE + HEIGHT.max(panel.lines.len() as i32 * ROW) + 2 * GAP;
    canvas::draw(title, panels, height, draw_panel)
}

fn draw_panel(area: &Area<'_>, panel: &Panel, top: i32) -> Outcome {
    let title = format!("{} (logarithmic)", panel.title);
    write(area, title.trim_start(), (GAP, top + TITLE / 2), 18, HPos::Left)?;
    let scale = Scale::of(panel, top + TITLE);
    for decade in scale.decades() {
        let at = scale.height(decade);
        area.draw(&PathElement::new(vec![(AXIS, at), (WIDTH - NAMES, at)], GRID.stroke_width(1)))?;
        write(area, &decade.to_string(), (AXIS - 8, at), 14, HPos::Right)?;
    }
    for &(share, _) in panel.lines.first().map_or(&[][..], |line| &line.points) {
        let at = place(share);
        let ends = vec![(at, top + TITLE), (at, top + TITLE + HEIGHT)];
        area.draw(&PathElement::new(ends, GRID.stroke_width(1)))?;
        let label = format!("p{}", (share * 1000.0).round() / 10.0);
        write(area, &label, (at, top + TITLE + HEIGHT + GAP / 2 + 2), 14, HPos::Center)?;
    }
    let (mut ours, mut peers) = (OURS.iter().cycle(), PEERS.iter().cycle());
    for (row, line) in (0..).zip(&panel.lines) {
        let whose = Whose::of(&line.name);
        let own = if whose == Whose::Ours { ours.next() } else { peers.next() };
        let style = own.unwrap_or(&INK).stroke_width(if whose == Whose::Ours { 2 } else { 1 });
        let points = line.points.iter().map(|&(share, value)| (place(share), scale.height(value))).collect::<Vec<_>>();
        area.draw(&PathElement::new(points, style))?;
        let middle = top + TITLE + row * ROW + ROW / 2;
        let key = vec![(WIDTH - NAMES + GAP, middle), (WIDTH - NAMES + 3 * GAP, middle)];
        area.draw(&PathElement::new(key, style))?;
        write(area, &line.name, (WIDTH - NAMES + 4 * GAP, middle), 14, HPos::Left)?;
    }
    Ok(())
}

/// Where a share stands: by its odds, so that both ends have room.
fn place(share: f64) -> i32 {
    let odds = |share: f64| (share / (1.0 - share)).ln();
    let (first, last) = (odds(0.01), odds(0.999));
    AXIS + (f64::from(WIDTH - NAMES - AXIS) * (odds(share) - first) / (last - first)).round() as i32
}

/// From a value to its height.
struct Scale {
    top: i32,
    least: f64,
    most: f64,
}

impl Scale {
    fn of(panel: &Panel, top: i32) -> Self {
        let all = || panel.lines.iter().flat_map(|line| &line.points).map(|point| point.1).filter(|value| *value > 0.0);
        let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
        Self { top, least: least.min(most), most: most.max(least * 1.01) }
    }

    fn height(&self, value: f64) -> i32 {
        let share = (value.max(self.least) / self.least).ln() / (self.most / self.least).ln();
        self.top + HEIGHT - (f64::from(HEIGHT) * share.min(1.0)) as i32
    }

    /// The round numbers within.
    fn decades(&self) -> impl Iterator<Item = f64> {
        let (least, most) = (self.least, self.most);
        (-3..9)
            .flat_map(|power| [1.0, 3.0].map(|digit| digit * 10.0_f64.powi(power)))
            .filter(move |&value| least <= value && value <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_have_room() {
        assert_eq!([0.01, 0.999].map(place), [AXIS, WIDTH - NAMES]);
        let places = [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999].map(place);
        assert!(places.is_sorted_by(|a, b| b - a >= 40), "{places:?}");
    }

    #[test]
    fn heights_are_logarithmic_and_within_the_panel() {
        let line = Line { name: String::new(), points: vec![(0.5, 10.0), (0.99, 1000.0)] };
        let scale = Scale::of(&Panel { title: String::new(), lines: vec![line] }, 100);
        assert_eq!([10.0, 100.0, 1000.0].map(|value| scale.height(value)), [100 + HEIGHT, 100 + HEIGHT / 2, 100]);
        assert_eq!(scale.height(0.0), 100 + HEIGHT);
        assert_eq!(scale.decades().collect::<Vec<_>>(), [10.0, 30.0, 100.0, 300.0, 1000.0]);
    }
}
