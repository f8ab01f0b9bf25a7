//! A graph as a picture that any browser shows.

use std::fmt::Write;

use thalweg::graph::{Graph, Op};

use super::layout::{Frame, Item, Layout, Rect, layout};
use super::{LINE, text_width};

/// One box of the picture.
struct Shape {
    lines: Vec<String>,
    /// The class that the style sheet colors.
    class: &'static str,
    /// What is shown when the pointer rests on it.
    tip: String,
}

/// The graph drawn from sources to results: a box for each node, framed by name scope, with name, op, dtype and shape;
/// numbers stand where they are used. Updates and fetches at the end.
pub(super) fn svg(graph: &Graph) -> String {
    let (mut shapes, mut items, mut edges) = (Vec::new(), Vec::new(), Vec::new());
    let mut box_of = vec![None; graph.len()];
    let mut add = |shape: Shape, scope: &str| {
        let width = shape.lines.iter().map(|line| text_width(line)).fold(0.0, f64::max);
        items.push(Item { size: (width + 16.0, shape.lines.len() as f64 * LINE + 8.0), scope: scope.into() });
        shapes.push(shape);
        shapes.len() - 1
    };
    for ((id, node), caption) in graph.ids().zip(graph.nodes()).zip(graph.captions()) {
        let Some(caption) = caption else { continue };
        let lines = caption.lines().map(|line| shortened(line, 36)).collect();
        let position = add(Shape { lines, class: class(&node.op), tip: node.describe() }, &node.scope);
        edges.extend(node.inputs.iter().filter_map(|input| Some((box_of[input.index()]?, position))));
        box_of[id.index()] = Some(position);
    }
    let roots =
        graph.updates().iter().map(|(variable, value)| (format!("update {}", variable.name()), *value, "update"));
    let fetches = graph.fetches().iter().enumerate().map(|(index, value)| (format!("fetch {index}"), *value, "fetch"));
    for (text, value, class) in roots.chain(fetches) {
        // An update stands with what it becomes.
        let scope = if class == "update" { &*graph[value].scope } else { "" };
        let position = add(Shape { lines: vec![shortened(&text, 36)], class, tip: text }, scope);
        edges.extend(box_of[value.index()].map(|from| (from, position)));
    }
    draw(&shapes, &layout(&items, &edges), &edges)
}

fn class(op: &Op) -> &'static str {
    match op {
        Op::Placeholder(_) => "placeholder",
        Op::Variable(_) => "variable",
        Op::Constant(_) => "constant",
        _ => "op",
    }
}

/// What does not fit ends in an ellipsis; it stands whole in the text form.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

const STYLE: &str = "\
text { font: 11px ui-monospace, Menlo, Consolas, monospace; fill: #222; }
.name { font-weight: bold; }
.meta { fill: #777; }
.frame rect { fill: #6a8caf; fill-opacity: 0.07; stroke: #9fb3c8; }
.frame text { fill: #5a7184; }
.edge { fill: none; stroke: #8a8f98; stroke-width: 1; }
.box rect { fill: #fff; stroke: #666; }
.placeholder rect { fill: #cfe5ff; }
.variable rect { fill: #fff3c4; }
.constant rect { fill: #eee; }
.update rect { fill: #e2f3dc; }
.fetch rect { fill: #d9efec; }
";

fn draw(shapes: &[Shape], layout: &Layout, edges: &[(usize, usize)]) -> String {
    const BORDER: f64 = 16.0;
    let (width, height) = (layout.size.0 + 2.0 * BORDER, layout.size.1 + 2.0 * BORDER);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"{:.0} {:.0} {width:.0} {height:.0}\">\n<style>\n{STYLE}</style>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 6 6\" refX=\"6\" refY=\"3\" markerWidth=\"6\" markerHeight=\"6\" \
         orient=\"auto\"><path d=\"M0,0 L6,3 L0,6 z\" fill=\"#8a8f98\"/></marker></defs>\n\
         <rect x=\"{:.0}\" y=\"{:.0}\" width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        -BORDER, -BORDER, -BORDER, -BORDER
    );
    let mut put = |text: String| {
        svg += &text;
        svg.push('\n');
    };
    for Frame { label, rect } in &layout.frames {
        let (x, y) = (rect.x + 8.0, rect.y + 14.0);
        put(format!(
            "<g class=\"frame\">{}<text x=\"{x:.1}\" y=\"{y:.1}\">{}</text></g>",
            outline(rect, 6),
            escaped(label)
        ));
    }
    for (&(from, to), bends) in edges.iter().zip(&layout.bends) {
        put(edge(&layout.rects[from], bends, &layout.rects[to]));
    }
    for (Shape { lines, class, tip }, rect) in shapes.iter().zip(&layout.rects) {
        let mut text = format!("<g class=\"box {class}\"><title>{}</title>{}", escaped(tip), outline(rect, 3));
        let has_name = lines.len() == 3;
        for (index, line) in lines.iter().enumerate() {
            let style = match (index, lines.len() - index) {
                (0, _) if has_name => " class=\"name\"",
                (1.., 1) => " class=\"meta\"",
                _ => "",
            };
            let x = rect.x + (rect.width - text_width(line)) / 2.0;
            let y = rect.y + 4.0 + (index as f64 + 0.8) * LINE;
            let _ = write!(text, "<text{style} x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(line));
        }
        put(text + "</g>");
    }
    svg + "</svg>"
}

fn outline(rect: &Rect, radius: u8) -> String {
    let Rect { x, y, width, height } = rect;
    format!("<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{radius}\"/>")
}

/// A curve from the lower side of a box to the upper side of another, through the bends.
fn edge(from: &Rect, bends: &[(f64, f64)], to: &Rect) -> String {
    let mut at = (from.x + from.width / 2.0, from.y + from.height);
    let end = (to.x + to.width / 2.0, to.y);
    let mut path = format!("M{:.1},{:.1}", at.0, at.1);
    for &(x, y) in bends.iter().chain([&end]) {
        let middle = (at.1 + y) / 2.0;
        let _ = write!(path, " C{:.1},{middle:.1} {x:.1},{middle:.1} {x:.1},{y:.1}", at.0);
        at = (x, y);
    }
    format!("<path class=\"edge\" marker-end=\"url(#tip)\" d=\"{path}\"/>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use thalweg::prelude::*;

    use super::*;

    #[test]
    fn every_node_has_a_box_in_the_frame_of_its_scope() {
        let x = placeholder("a<b", f32, ("batch", 4));
        let w = Variable::new("w", Array::from([[1.0f32; 2]; 4]));
        let y = scope("dense", || (x.matmul(&w) * 2.0).relu().named("y"));
        let picture = svg(&Graph::capture([&y], &[w.assign(&(&w * 0.5))]));
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>"));
        for part in ["a&lt;b", ">f32[batch,2]<", ">dense<", "mul 2.0", "update w", "fetch 0"] {
            assert!(picture.contains(part), "{part}\n{picture}");
        }
        assert_eq!(picture.matches("<g class=\"box").count(), 8, "{picture}");
        assert_eq!(picture.matches("class=\"edge\"").count(), 7, "{picture}");
    }

    #[test]
    fn long_texts_are_shortened() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("äbcdefg", 6), "äbcde…");
    }
}
