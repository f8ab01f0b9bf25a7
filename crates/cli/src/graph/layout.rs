//! Where the boxes of a layered drawing stand: each below what it uses, framed with those of its scope.
//!
//! The method is that of Sugiyama, Tagawa and Toda (1981), level by level: a scope is laid out alone and then stands as
//! one box in the scope around it. Layers by longest paths; order in layers by barycenters; places by least squares.

use std::collections::{BTreeMap, BTreeSet};

/// A box to be placed.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Width and height.
    pub(super) size: (f64, f64),
    /// The scope it belongs to, with `/` between its parts.
    pub(super) scope: String,
}

/// A box in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rect {
    /// The left side.
    pub(super) x: f64,
    /// The upper side.
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// The frame of a scope.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) label: String,
    pub(super) rect: Rect,
}

/// Where all stands; the upper left corner is (0, 0).
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) size: (f64, f64),
    /// Of each item.
    pub(super) rects: Vec<Rect>,
    /// Outer ones first.
    pub(super) frames: Vec<Frame>,
    /// Of each edge: the points that it passes between its ends.
    pub(super) bends: Vec<Vec<(f64, f64)>>,
}

/// Between boxes of a layer.
const GAP: f64 = 14.0;
/// Between layers.
const LAYER_GAP: f64 = 26.0;
/// Between a frame and what is in it.
const MARGIN: f64 = 12.0;
/// Above what is in a frame, for its label.
const LABEL: f64 = 16.0;
/// The width kept free for an edge that passes a layer.
const LANE: f64 = 6.0;

/// Places `items`, of which `edges` (from, to) connect some.
pub(super) fn layout(items: &[Item], edges: &[(usize, usize)]) -> Layout {
    let mut tree = Group::default();
    for (index, item) in items.iter().enumerate() {
        tree.insert(item.scope.split('/').filter(|part| !part.is_empty()), index);
    }
    let mut layout = Layout {
        rects: items.iter().map(|item| Rect { width: item.size.0, height: item.size.1, ..Rect::default() }).collect(),
        bends: vec![Vec::new(); edges.len()],
        ..Layout::default()
    };
    let all: Vec<usize> = (0..edges.len()).collect();
    layout.size = tree.place(&mut layout, edges, &all).size;
    layout.frames.reverse();
    layout
}

/// A scope: what is in it, in the order of the items.
#[derive(Debug, Default)]
struct Group {
    name: String,
    members: Vec<Member>,
}

#[derive(Debug)]
enum Member {
    Item(usize),
    Group(Group),
}

/// What was placed together, to be moved together.
struct Placed {
    size: (f64, f64),
    items: Vec<usize>,
    /// The frames, by position.
    frames: std::ops::Range<usize>,
    /// The edges whose bends were set.
    edges: Vec<usize>,
}

impl Group {
    fn insert<'a>(&mut self, mut path: impl Iterator<Item = &'a str>, item: usize) {
        let Some(name) = path.next() else { return self.members.push(Member::Item(item)) };
        let position =
            self.members.iter().position(|member| matches!(member, Member::Group(group) if group.name == name));
        let position = position.unwrap_or_else(|| {
            self.members.push(Member::Group(Group { name: name.into(), members: Vec::new() }));
            self.members.len() - 1
        });
        if let Member::Group(group) = &mut self.members[position] {
            group.insert(path, item);
        }
    }

    /// Places what is in the scope, with the upper left corner at (0, 0). `inner` are the edges with both ends in it.
    fn place(&self, layout: &mut Layout, edges: &[(usize, usize)], inner: &[usize]) -> Placed {
        let first_frame = layout.frames.len();
        let mut member_of = BTreeMap::new();
        for (position, member) in self.members.iter().enumerate() {
            member.items(&mut |item| {
                member_of.insert(item, position);
            });
        }
        let ends = |&edge: &usize| (member_of[&edges[edge].0], member_of[&edges[edge].1]);
        let parts: Vec<Placed> = self
            .members
            .iter()
            .enumerate()
            .map(|(position, member)| match member {
                Member::Item(item) => Placed {
                    size: (layout.rects[*item].width, layout.rects[*item].height),
                    items: vec![*item],
                    frames: 0..0,
                    edges: Vec::new(),
                },
                Member::Group(group) => {
                    let inner: Vec<usize> =
                        inner.iter().copied().filter(|edge| ends(edge) == (position, position)).collect();
                    group.place_framed(layout, edges, &inner)
                }
            })
            .collect();
        let links: BTreeSet<(usize, usize)> = inner.iter().map(ends).filter(|(from, to)| from != to).collect();
        let sizes: Vec<(f64, f64)> = parts.iter().map(|part| part.size).collect();
        let Layers { places, bends, size } = layers(&sizes, &links);
        for (part, place) in parts.iter().zip(&places) {
            layout.shift(part, *place);
        }
        let mut bent = Vec::new();
        for edge in inner {
            if let Some(points) = bends.get(&ends(edge)) {
                layout.bends[*edge] = points.clone();
                bent.push(*edge);
            }
        }
        Placed {
            size,
            items: member_of.into_keys().collect(),
            frames: first_frame..layout.frames.len(),
            edges: parts.into_iter().flat_map(|part| part.edges).chain(bent).collect(),
        }
    }

    /// As [`place`](Group::place), with a frame around.
    fn place_framed(&self, layout: &mut Layout, edges: &[(usize, usize)], inner: &[usize]) -> Placed {
        let mut placed = self.place(layout, edges, inner);
        layout.shift(&placed, (MARGIN, MARGIN + LABEL));
        let width = (placed.size.0 + 2.0 * MARGIN).max(super::text_width(&self.name) + 2.0 * MARGIN);
        placed.size = (width, placed.size.1 + 2.0 * MARGIN + LABEL);
        let rect = Rect { x: 0.0, y: 0.0, width: placed.size.0, height: placed.size.1 };
        layout.frames.push(Frame { label: self.name.clone(), rect });
        placed.frames.end += 1;
        placed
    }
}

impl Member {
    fn items(&self, visit: &mut impl FnMut(usize)) {
        match self {
            Member::Item(item) => visit(*item),
            Member::Group(group) => group.members.iter().for_each(|member| member.items(visit)),
        }
    }
}

impl Layout {
    fn shift(&mut self, placed: &Placed, (dx, dy): (f64, f64)) {
        let frames = self.frames[placed.frames.clone()].iter_mut().map(|frame| &mut frame.rect);
        frames.for_each(|rect| (rect.x, rect.y) = (rect.x + dx, rect.y + dy));
        for &item in &placed.items {
            let rect = &mut self.rects[item];
            (rect.x, rect.y) = (rect.x + dx, rect.y + dy);
        }
        for &edge in &placed.edges {
            self.bends[edge].iter_mut().for_each(|point| *point = (point.0 + dx, point.1 + dy));
        }
    }
}

/// Boxes in layers.
struct Layers {
    /// The upper left corner of each.
    places: Vec<(f64, f64)>,
    /// Where links pass the layers between their ends.
    bends: BTreeMap<(usize, usize), Vec<(f64, f64)>>,
    size: (f64, f64),
}

/// Places boxes of these sizes. Links go down, but for some of each circle.
fn layers(sizes: &[(f64, f64)], links: &BTreeSet<(usize, usize)>) -> Layers {
    let layer_of = assign_layers(sizes.len(), links);
    // A cell is a box, or a lane for a link that passes a layer.
    let mut widths: Vec<f64> = sizes.iter().map(|size| size.0).collect();
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); layer_of.iter().max().map_or(0, |last| last + 1)];
    (0..sizes.len()).for_each(|cell| rows[layer_of[cell]].push(cell));
    let mut steps = Vec::new();
    let mut lanes: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for &(from, to) in links {
        let mut above = from;
        for row in &mut rows[(layer_of[from] + 1).min(layer_of[to])..layer_of[to]] {
            let lane = widths.len();
            widths.push(LANE);
            row.push(lane);
            lanes.entry((from, to)).or_default().push(lane);
            steps.push((above, lane));
            above = lane;
        }
        if layer_of[from] < layer_of[to] {
            steps.push((above, to));
        }
    }
    let neighbors = Neighbors::new(widths.len(), &steps);
    order(&mut rows, &neighbors);
    let centers = spread(&rows, &widths, &neighbors);

    let (mut top, mut tops, mut middles) = (0.0, vec![0.0; widths.len()], vec![0.0; widths.len()]);
    for row in &rows {
        let height = row.iter().filter_map(|&cell| sizes.get(cell)).map(|size| size.1).fold(0.0, f64::max);
        for &cell in row {
            let own = sizes.get(cell).map_or(0.0, |size| size.1);
            (tops[cell], middles[cell]) = (top + (height - own) / 2.0, top + height / 2.0);
        }
        top += height + LAYER_GAP;
    }
    let left = (0..widths.len()).map(|cell| centers[cell] - widths[cell] / 2.0).fold(f64::INFINITY, f64::min);
    let right = (0..widths.len()).map(|cell| centers[cell] + widths[cell] / 2.0).fold(0.0, f64::max);
    let point = |lane: &usize| (centers[*lane] - left, middles[*lane]);
    Layers {
        places: (0..sizes.len()).map(|cell| (centers[cell] - widths[cell] / 2.0 - left, tops[cell])).collect(),
        bends: lanes.iter().map(|(link, lanes)| (*link, lanes.iter().map(point).collect())).collect(),
        size: ((right - left).max(0.0), (top - LAYER_GAP).max(0.0)),
    }
}

/// The layer of each box: below all that it follows, and then as near to what follows it as makes no link longer. Where
/// links make a circle, the box that comes first goes above.
fn assign_layers(count: usize, links: &BTreeSet<(usize, usize)>) -> Vec<usize> {
    let mut before: Vec<usize> = vec![0; count];
    links.iter().for_each(|&(_, to)| before[to] += 1);
    let after = |node: usize| links.range((node, 0)..=(node, usize::MAX)).map(|&(_, to)| to);
    let mut waiting = before.clone();
    let mut left: BTreeSet<usize> = (0..count).collect();
    let mut layer: Vec<usize> = vec![0; count];
    let mut order = Vec::with_capacity(count);
    while let Some(&first) = left.first() {
        let next = left.iter().copied().find(|&node| waiting[node] == 0).unwrap_or(first);
        left.remove(&next);
        order.push(next);
        for to in after(next).filter(|to| left.contains(to)) {
            waiting[to] -= 1;
            layer[to] = layer[to].max(layer[next] + 1);
        }
    }
    for &node in order.iter().rev() {
        let below = after(node).map(|to| layer[to]).min();
        if let Some(below) = below.filter(|&below| below > layer[node] && before[node] <= after(node).count()) {
            layer[node] = below - 1;
        }
    }
    layer
}

/// Which cells of the layers above and below each cell is linked with.
struct Neighbors {
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
}

impl Neighbors {
    fn new(count: usize, steps: &[(usize, usize)]) -> Neighbors {
        let mut neighbors = Neighbors { above: vec![Vec::new(); count], below: vec![Vec::new(); count] };
        for &(from, to) in steps {
            neighbors.below[from].push(to);
            neighbors.above[to].push(from);
        }
        neighbors
    }
}

/// How often places are improved, down and up.
const SWEEPS: usize = 12;

/// Orders each layer by where the neighbors of its cells stand, so that few links cross.
fn order(rows: &mut [Vec<usize>], neighbors: &Neighbors) {
    let cells = neighbors.above.len();
    let mut position = vec![0.0; cells];
    let mut settle = |row: &mut Vec<usize>, linked: Option<&[Vec<usize>]>| {
        if let Some(linked) = linked {
            let key = |cell: usize| mean(linked[cell].iter().map(|&other| position[other])).unwrap_or(position[cell]);
            let keys: BTreeMap<usize, f64> = row.iter().map(|&cell| (cell, key(cell))).collect();
            row.sort_by(|a, b| keys[a].total_cmp(&keys[b]));
        }
        // From 0 to 1, so that layers of different lengths compare.
        let length = row.len() as f64;
        row.iter().enumerate().for_each(|(index, &cell)| position[cell] = (index as f64 + 0.5) / length);
    };
    rows.iter_mut().for_each(|row| settle(row, None));
    for _ in 0..SWEEPS {
        rows.iter_mut().for_each(|row| settle(row, Some(&neighbors.above)));
        rows.iter_mut().rev().for_each(|row| settle(row, Some(&neighbors.below)));
    }
}

/// The center of each cell along its layer: near the mean of its neighbors, in order and without overlap.
fn spread(rows: &[Vec<usize>], widths: &[f64], neighbors: &Neighbors) -> Vec<f64> {
    let mut centers = vec![0.0; widths.len()];
    let settle = |row: &[usize], centers: &mut Vec<f64>, wish: &dyn Fn(usize, &[f64]) -> f64| {
        // Distances to the first cell if all touch: what is left to choose must not decrease along the row.
        let mut offset = 0.0;
        let mut offsets = Vec::with_capacity(row.len());
        for (index, &cell) in row.iter().enumerate() {
            if index > 0 {
                offset += (widths[row[index - 1]] + widths[cell]) / 2.0 + GAP;
            }
            offsets.push(offset);
        }
        let wishes: Vec<f64> = row.iter().zip(&offsets).map(|(&cell, offset)| wish(cell, centers) - offset).collect();
        for ((&cell, offset), x) in row.iter().zip(&offsets).zip(not_decreasing(&wishes)) {
            centers[cell] = x + offset;
        }
    };
    rows.iter().for_each(|row| settle(row, &mut centers, &|_, _| 0.0));
    let near = |cell: usize, linked: &[usize], centers: &[f64]| {
        mean(linked.iter().map(|&other| centers[other])).unwrap_or(centers[cell])
    };
    for _ in 0..SWEEPS {
        rows.iter().for_each(|row| settle(row, &mut centers, &|cell, at| near(cell, &neighbors.above[cell], at)));
        rows.iter().rev().for_each(|row| settle(row, &mut centers, &|cell, at| near(cell, &neighbors.below[cell], at)));
    }
    centers
}

/// The numbers nearest to `wishes`, by least squares, that do not decrease: neighbors that do are averaged.
fn not_decreasing(wishes: &[f64]) -> Vec<f64> {
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for &wish in wishes {
        let mut block = (wish, 1);
        while let Some(&(sum, count)) = blocks.last()
            && sum / count as f64 > block.0 / block.1 as f64
        {
            block = (block.0 + sum, block.1 + count);
            blocks.pop();
        }
        blocks.push(block);
    }
    blocks.iter().flat_map(|&(sum, count)| std::iter::repeat_n(sum / count as f64, count)).collect()
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = numbers.len();
    (count > 0).then(|| numbers.sum::<f64>() / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(scope: &str) -> Item {
        Item { size: (40.0, 20.0), scope: scope.into() }
    }

    fn overlap(a: &Rect, b: &Rect) -> bool {
        a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
    }

    #[test]
    fn numbers_are_moved_as_little_as_possible() {
        assert_eq!(not_decreasing(&[3.0, 1.0, 2.0, 5.0]), [2.0, 2.0, 2.0, 5.0]);
        assert_eq!(not_decreasing(&[]), [0.0; 0]);
    }

    #[test]
    fn boxes_stand_below_what_they_use_and_apart() {
        let items = [item(""), item(""), item("a"), item("a/b"), item("a/b"), item(""), item("c")];
        let edges = [(0, 2), (1, 3), (2, 3), (3, 4), (4, 5), (0, 5), (5, 6)];
        let layout = layout(&items, &edges);
        for &(from, to) in &edges {
            let (from, to) = (layout.rects[from], layout.rects[to]);
            assert!(from.y + from.height < to.y, "{from:?} is above {to:?}");
        }
        for (position, a) in layout.rects.iter().enumerate() {
            assert!(a.x >= 0.0 && a.y >= 0.0 && a.x + a.width <= layout.size.0 && a.y + a.height <= layout.size.1);
            assert!(layout.rects[..position].iter().all(|b| !overlap(a, b)), "{:?}", layout.rects);
        }
        let labels: Vec<&str> = layout.frames.iter().map(|frame| &*frame.label).collect();
        assert_eq!(labels, ["c", "a", "b"], "outer frames are drawn first");
        let (outside, inside) = (layout.rects[5], layout.rects[4]);
        let frame = layout.frames[1].rect;
        assert!(overlap(&frame, &inside) && !overlap(&frame, &outside));
        assert!(!layout.bends[5].is_empty(), "a link that passes layers has a lane");
    }

    #[test]
    fn scopes_that_use_each_other_are_placed() {
        let items = [item("a"), item("b"), item("a"), item("b")];
        let layout = layout(&items, &[(0, 1), (1, 2), (2, 3)]);
        assert_eq!(layout.frames.len(), 2);
        assert!(!overlap(&layout.frames[0].rect, &layout.frames[1].rect));
    }

    #[test]
    fn nothing_is_an_empty_drawing() {
        assert_eq!(layout(&[], &[]).size, (0.0, 0.0));
    }
}
