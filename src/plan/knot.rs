//! Circles in the graph of what waits for what.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use crate::spec::Span;

/// How many circles are reported.
const CIRCLES_MAX: usize = 100;

/// Why one thing comes before another.
#[derive(Clone, Copy)]
pub(super) enum Why<'a> {
    /// It may start before it is up.
    Itself,
    /// A supervisor may start before its children do, and is up after them.
    Belongs { child: &'a str, supervisor: &'a str },
    /// A supervisor starts its children in order.
    Ordered { supervisor: &'a str, first: &'a str, second: &'a str },
    /// A unit waits for another.
    Depends { unit: &'a str, verb: &'static str, target: &'a str, span: Span },
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Itself => Ok(()),
            Self::Belongs { child, supervisor } => write!(f, "`{child}` belongs to `{supervisor}`"),
            Self::Ordered { supervisor, first, second } => write!(f, "`{supervisor}` starts `{first}` before `{second}`"),
            Self::Depends { unit, verb: "after", target, .. } => write!(f, "`{unit}` starts after `{target}`"),
            Self::Depends { unit, verb, target, .. } => write!(f, "`{unit}` {verb} `{target}`"),
        }
    }
}

/// `from` comes before `to`.
#[derive(Clone, Copy)]
pub(super) struct Edge<'a> {
    from: usize,
    to: usize,
    pub(super) why: Why<'a>,
}

/// Numbered nodes and what comes before what.
pub(super) struct Graph<'a> {
    next: Vec<Vec<Edge<'a>>>,
    previous: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(nodes: usize) -> Self {
        Self { next: vec![Vec::new(); nodes], previous: vec![Vec::new(); nodes] }
    }

    pub(super) fn add(&mut self, from: usize, to: usize, why: Why<'a>) {
        self.next[from].push(Edge { from, to, why });
        self.previous[to].push(from);
    }

    /// Circles that share no node, each short, one at least for every knot; at most [`CIRCLES_MAX`].
    pub(super) fn circles(&self) -> Vec<Vec<Edge<'a>>> {
        let mut alive = vec![true; self.next.len()];
        let mut ins: Vec<usize> = self.previous.iter().map(Vec::len).collect();
        let mut outs: Vec<usize> = self.next.iter().map(Vec::len).collect();
        let ends = (0..alive.len()).filter(|&node| ins[node] == 0 || outs[node] == 0).collect();
        self.trim(ends, &mut alive, &mut ins, &mut outs);
        let mut circles = Vec::new();
        for node in 0..alive.len() {
            while alive[node] && circles.len() < CIRCLES_MAX {
                let circle = self.shortest_circle(self.find_on_circle(node, &alive), &alive);
                let dead = circle.iter().map(|edge| edge.from).collect();
                self.trim(dead, &mut alive, &mut ins, &mut outs);
                circles.push(circle);
            }
        }
        circles
    }

    /// Takes out the nodes `dead`, then all that no circle can pass any more: nothing before them, or nothing after.
    fn trim(&self, mut dead: Vec<usize>, alive: &mut [bool], ins: &mut [usize], outs: &mut [usize]) {
        while let Some(node) = dead.pop() {
            if !std::mem::replace(&mut alive[node], false) {
                continue;
            }
            for edge in &self.next[node] {
                ins[edge.to] -= 1;
                dead.extend((ins[edge.to] == 0).then_some(edge.to));
            }
            for &from in &self.previous[node] {
                outs[from] -= 1;
                dead.extend((outs[from] == 0).then_some(from));
            }
        }
    }

    /// A node that some circle passes, reachable from `node`. Every living node has a living one after it.
    fn find_on_circle(&self, mut node: usize, alive: &[bool]) -> usize {
        let mut seen = vec![false; alive.len()];
        while !std::mem::replace(&mut seen[node], true) {
            match self.next[node].iter().find(|edge| alive[edge.to]) {
                Some(edge) => node = edge.to,
                None => break,
            }
        }
        node
    }

    /// The shortest way from `node` back to it.
    fn shortest_circle(&self, node: usize, alive: &[bool]) -> Vec<Edge<'a>> {
        let mut came_by: BTreeMap<usize, Edge<'a>> = BTreeMap::new();
        let mut open = VecDeque::from([node]);
        while let Some(at) = open.pop_front().filter(|_| !came_by.contains_key(&node)) {
            for edge in self.next[at].iter().filter(|edge| alive[edge.to]) {
                came_by.entry(edge.to).or_insert_with(|| {
                    open.push_back(edge.to);
                    *edge
                });
            }
        }
        let mut circle = Vec::new();
        let mut at = node;
        while let Some(edge) = came_by.get(&at) {
            circle.push(*edge);
            at = edge.from;
            if at == node {
                break;
            }
        }
        circle.reverse();
        circle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nodes: usize, edges: &[(usize, usize)], expect: &[&[usize]]) {
        let mut graph = Graph::new(nodes);
        for &(from, to) in edges {
            graph.add(from, to, Why::Itself);
        }
        let circles: Vec<Vec<_>> = graph.circles().iter().map(|circle| circle.iter().map(|edge| edge.from).collect()).collect();
        assert_eq!(circles, expect);
    }

    #[test]
    fn circles_are_found() {
        check(3, &[(0, 1), (1, 2)], &[]);
        check(3, &[(0, 1), (1, 2), (2, 0)], &[&[0, 1, 2]]);
        check(2, &[(0, 0), (0, 1)], &[&[0]]);
        // Two circles with a bridge between them, and tails on both sides.
        check(7, &[(0, 1), (1, 2), (2, 1), (2, 3), (3, 4), (4, 5), (5, 4), (5, 6)], &[&[1, 2], &[4, 5]]);
        check(2, &[(0, 1), (0, 1), (1, 0)], &[&[0, 1]]);
    }

    #[test]
    fn long_chains_do_not_recurse() {
        let edges: Vec<_> = (0..200_000).map(|node| (node, node + 1)).collect();
        check(200_001, &edges, &[]);
    }
}
