//! A plot: panels of horizontal bars, with whiskers, as SVG.

use plotters::prelude::{PathElement, Rectangle};
use plotters::style::Color as _;
use plotters::style::text_anchor::HPos;

use super::canvas::{self, Area, GAP, INK, Outcome, TITLE, WIDTH, Whose, write};
use crate::table::number;

/// The bars that are compared with each other.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    /// Where the whisker begins and ends.
    pub(super) low: f64,
    pub(super) high: f64,
}

const NAMES: i32 = 170;
const FIGURES: i32 = 70;
const LINE: i32 = 20;

/// From where on bars are drawn to a logarithmic scale: what is so much smaller would not be seen.
const RANGE: f64 = 50.0;

/// Draws it.
pub(super) fn draw(title: &str, panels: &[Panel]) -> Result<String, Box<dyn std::error::Error>> {
    let height = |panel: &Panel| TITLE + panel.bars.len() as i32 * LINE + GAP;
    canvas::draw(title, panels, height, draw_panel)
}

fn draw_panel(area: &Area<'_>, panel: &Panel, top: i32) -> Outcome {
    let scale = Scale::of(panel);
    let title = if scale.logarithmic { format!("{} (logarithmic)", panel.title) } else { panel.title.clone() };
    write(area, title.trim_start(), (GAP, top + TITLE / 2), 18, HPos::Left)?;
    for (line, bar) in (0..).zip(&panel.bars) {
        let middle = top + TITLE + line * LINE + LINE / 2;
        write(area, &bar.name, (NAMES - 8, middle), 16, HPos::Right)?;
        let colour = Whose::of(&bar.name).colour();
        let end = NAMES + scale.length(bar.value);
        area.draw(&Rectangle::new([(NAMES, middle - 6), (end, middle + 6)], colour.filled()))?;
        let (low, high) = (NAMES + scale.length(bar.low), NAMES + scale.length(bar.high));
        area.draw(&PathElement::new(vec![(low, middle), (high, middle)], INK.stroke_width(1)))?;
        for at in [low, high] {
            area.draw(&PathElement::new(vec![(at, middle - 3), (at, middle + 3)], INK.stroke_width(1)))?;
        }
        write(area, &number(bar.value), (end.max(high) + 6, middle), 16, HPos::Left)?;
    }
    Ok(())
}

/// From a value to the length of its bar.
struct Scale {
    logarithmic: bool,
    least: f64,
    most: f64,
}

impl Scale {
    fn of(panel: &Panel) -> Self {
        let all = || panel.bars.iter().flat_map(|bar| [bar.value, bar.low, bar.high]).filter(|value| *value > 0.0);
        let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
        // The smallest of them shall be seen, too.
        Self { logarithmic: most / least > RANGE, least: least / 2.0, most }
    }

    fn length(&self, value: f64) -> i32 {
        let share = match self.logarithmic {
            true => (value.max(self.least) / self.least).ln() / (self.most / self.least).ln(),
            false => value / self.most,
        };
        (f64::from(WIDTH - NAMES - FIGURES) * share) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(value: f64) -> Bar {
        Bar { name: String::new(), value, low: value, high: value }
    }

    #[test]
    fn bars_are_as_long_as_their_values_unless_some_could_not_be_seen() {
        let scale = Scale::of(&Panel { title: String::new(), bars: vec![bar(10.0), bar(20.0)] });
        assert!(!scale.logarithmic);
        assert_eq!(scale.length(20.0), 2 * scale.length(10.0));
        let scale = Scale::of(&Panel { title: String::new(), bars: vec![bar(1.0), bar(1000.0)] });
        assert!(scale.logarithmic && scale.length(1.0) > 20 && scale.length(1000.0) == WIDTH - NAMES - FIGURES);
    }
}
