//! Where the graph's nodes and edges are drawn: layered from left to right, and from top to bottom for narrow screens.
//!
//! Found by a port of dagre, once for each topology: the graph does not change while it runs. Coordinates are in CSS pixels;
//! nodes and labels have fixed sizes, because the server does not know the reader's font.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dagre::graph::{Graph, GraphOptions};
use dagre::layout::types::LabelPos;
use dagre::{EdgeLabel, GraphLabel, LayoutOptions, NodeLabel, RankDir, layout};
use serde::Serialize;
use topo_core::metrics::TopologySnapshot;

/// The size of a node.
pub(super) const NODE: (f64, f64) = (172.0, 62.0);
/// The size of an edge's label.
pub(super) const LABEL: (f64, f64) = (132.0, 46.0);
/// Space around the whole.
const MARGIN: f64 = 12.0;

/// Both drawings of a topology.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Layouts {
    node: Size,
    label: Size,
    wide: Drawing,
    narrow: Drawing,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Size {
    width: f64,
    height: f64,
}

/// One drawing: nodes in the order of the components, edges in that of the edges.
#[derive(Debug, Clone, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Drawing {
    pub(super) width: f64,
    pub(super) height: f64,
    /// The middle of each node.
    pub(super) nodes: Vec<[f64; 2]>,
    pub(super) edges: Vec<Line>,
}

/// An edge's way, and the middle of its label.
#[derive(Debug, Clone, Serialize, Default)]
pub(super) struct Line {
    pub(super) points: Vec<[f64; 2]>,
    pub(super) label: [f64; 2],
}

impl Layouts {
    /// Lays out the components of `snapshot`.
    pub(super) fn of(snapshot: &TopologySnapshot) -> Self {
        let size = |(width, height)| Size { width, height };
        let [wide, narrow] = [RankDir::LR, RankDir::TB].map(|direction| draw(snapshot, direction));
        Self { node: size(NODE), label: size(LABEL), wide, narrow }
    }
}

fn draw(snapshot: &TopologySnapshot, direction: RankDir) -> Drawing {
    // Not ours, and not worth a page: where it gives up on a graph, the nodes stand in a row.
    catch_unwind(AssertUnwindSafe(|| layered(snapshot, direction))).ok().flatten().unwrap_or_else(|| {
        tracing::warn!(topology = %snapshot.name, "the graph cannot be laid out; its components stand in a row");
        row(snapshot, direction)
    })
}

fn layered(snapshot: &TopologySnapshot, direction: RankDir) -> Option<Drawing> {
    let mut graph = Graph::with_options(GraphOptions { directed: true, multigraph: true, compound: false });
    let name = |at: usize| format!("{at:05}");
    for at in 0..snapshot.components.len() {
        let node = NodeLabel { width: NODE.0, height: NODE.1, ..NodeLabel::default() };
        graph.set_node(name(at), Some(node));
    }
    let mut ends = Vec::with_capacity(snapshot.edges.len());
    for (number, edge) in snapshot.edges.iter().enumerate() {
        let place = |of: &str| snapshot.components.iter().position(|component| *component.name == *of);
        let (from, to) = (name(place(&edge.from)?), name(place(&edge.to)?));
        let (width, height) = LABEL;
        let label = EdgeLabel { width, height, labelpos: LabelPos::Center, ..EdgeLabel::default() };
        graph.set_edge(from.as_str(), to.as_str(), Some(label), Some(name(number).as_str()));
        ends.push((from, to));
    }
    let (nodesep, ranksep) = if direction == RankDir::LR { (18.0, 24.0) } else { (24.0, 24.0) };
    let (marginx, marginy) = (MARGIN, MARGIN);
    let options =
        LayoutOptions { rankdir: direction, nodesep, ranksep, marginx, marginy, ..LayoutOptions::default() };
    layout(&mut graph, Some(options));
    let nodes = (0..snapshot.components.len())
        .map(|at| graph.node(&name(at)).and_then(|node| Some([node.x?, node.y?])))
        .collect::<Option<Vec<_>>>()?;
    let edges = (ends.iter().enumerate())
        .map(|(number, (from, to))| {
            let edge = graph.edge(from, to, Some(&name(number)))?;
            let points: Vec<_> = edge.points.iter().map(|point| [point.x, point.y]).collect();
            Some(Line { label: [edge.x?, edge.y?], points })
        })
        .collect::<Option<Vec<_>>>()?;
    let whole = graph.graph_label::<GraphLabel>()?;
    Some(Drawing { width: whole.width, height: whole.height, nodes, edges })
}

/// All components in the order of their adding.
fn row(snapshot: &TopologySnapshot, direction: RankDir) -> Drawing {
    let is_wide = direction == RankDir::LR;
    let step = if is_wide { NODE.0 + LABEL.0 } else { NODE.1 + LABEL.1 };
    let at = |place: usize| {
        let along = place as f64 * step;
        if is_wide {
            [MARGIN + NODE.0 / 2.0 + along, MARGIN + NODE.1 / 2.0]
        } else {
            [MARGIN + NODE.0 / 2.0, MARGIN + NODE.1 / 2.0 + along]
        }
    };
    let place =
        |of: &str| snapshot.components.iter().position(|component| *component.name == *of).unwrap_or(0);
    let line = |from: [f64; 2], to: [f64; 2]| Line {
        points: vec![from, to],
        label: [(from[0] + to[0]) / 2.0, (from[1] + to[1]) / 2.0],
    };
    let nodes: Vec<_> = (0..snapshot.components.len()).map(at).collect();
    let [last_x, last_y] = nodes.last().copied().unwrap_or_default();
    Drawing {
        width: last_x + NODE.0 / 2.0 + MARGIN,
        height: last_y + NODE.1 / 2.0 + MARGIN,
        edges: snapshot.edges.iter().map(|edge| line(at(place(&edge.from)), at(place(&edge.to)))).collect(),
        nodes,
    }
}

#[cfg(test)]
mod tests {
    use topo_core::metrics::{ComponentKind, ComponentSnapshot, EdgeSnapshot};

    use super::*;
    use crate::status::fixture;

    fn graph(components: usize, edges: &[(usize, usize)]) -> TopologySnapshot {
        let name = |at: usize| format!("component-{at}").into();
        let component =
            |at| ComponentSnapshot { name: name(at), kind: ComponentKind::Bolt, tasks: Vec::new() };
        let edge = |(from, to)| EdgeSnapshot { from: name(from), to: name(to), ..EdgeSnapshot::default() };
        TopologySnapshot {
            components: (0..components).map(component).collect(),
            edges: edges.iter().copied().map(edge).collect(),
            ..fixture::topology()
        }
    }

    fn assert_apart(drawing: &Drawing) {
        for (index, a) in drawing.nodes.iter().enumerate() {
            assert!(
                a[0] >= NODE.0 / 2.0
                    && a[0] <= drawing.width
                    && a[1] >= NODE.1 / 2.0
                    && a[1] <= drawing.height
            );
            for b in &drawing.nodes[..index] {
                let apart = (a[0] - b[0]).abs() >= NODE.0 || (a[1] - b[1]).abs() >= NODE.1;
                assert!(apart, "{a:?} and {b:?} overlap");
            }
        }
    }

    #[test]
    fn a_chain_goes_to_the_right_and_on_narrow_screens_down() {
        let Layouts { wide, narrow, .. } = Layouts::of(&graph(4, &[(0, 1), (1, 2), (2, 3)]));
        assert!(
            wide.nodes.is_sorted_by_key(|node| node[0])
                && wide.nodes.iter().all(|node| node[1] == wide.nodes[0][1])
        );
        assert!(narrow.nodes.is_sorted_by_key(|node| node[1]) && narrow.width < 240.0, "{}", narrow.width);
        assert!(wide.edges.iter().all(|edge| edge.points.len() >= 2));
        assert_apart(&wide);
        assert_apart(&narrow);
    }

    #[test]
    fn cycles_loops_twins_and_the_unconnected_are_drawn() {
        let edges = [(0, 1), (0, 1), (1, 2), (2, 1), (2, 2)];
        let Layouts { wide, narrow, .. } = Layouts::of(&graph(5, &edges));
        for drawing in [wide, narrow] {
            assert_apart(&drawing);
            assert_eq!(drawing.edges.len(), edges.len());
            assert!(drawing.edges.iter().all(|edge| edge.points.len() >= 2));
            assert_ne!(drawing.edges[0].label, drawing.edges[1].label, "twins have labels of their own");
        }
        assert_eq!(Layouts::of(&graph(0, &[])).wide.nodes.len(), 0);
    }

    #[test]
    fn two_hundred_components_do_not_overlap_and_what_cannot_be_laid_out_stands_in_a_row() {
        let edges: Vec<_> =
            (1..200_usize).flat_map(|at| [(at / 3, at), (at.saturating_sub(5), at)]).collect();
        let large = graph(200, &edges);
        assert_apart(&draw(&large, RankDir::LR));
        assert_apart(&row(&large, RankDir::LR));
        assert_apart(&row(&large, RankDir::TB));
    }
}
