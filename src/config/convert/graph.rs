//! Circles in `depends_on`.

/// Every circle that the edges close, each once: its nodes in order, the first one again at the
/// end. `edges[n]` are the nodes that node `n` depends on.
pub(super) fn circles(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut circles = Vec::new();
    let mut is_done = vec![false; edges.len()];
    for start in 0..edges.len() {
        // The way from `start` to here, each node with the number of its edges already taken. A
        // list of its own instead of recursion: a chain may be as long as the config.
        let mut way: Vec<(usize, usize)> =
            if is_done.get(start) == Some(&false) { vec![(start, 0)] } else { Vec::new() };
        while let Some((node, taken)) = way.last_mut() {
            let next = edges.get(*node).and_then(|edges| edges.get(*taken)).copied();
            *taken += 1;
            match next {
                None => {
                    if let Some(done) = is_done.get_mut(*node) {
                        *done = true;
                    }
                    way.pop();
                }
                Some(next) if is_done.get(next) == Some(&true) => {}
                Some(next) => match way.iter().position(|(node, _)| *node == next) {
                    Some(at) => {
                        circles.push(way.iter().skip(at).map(|(node, _)| *node).chain(std::iter::once(next)).collect());
                    }
                    None => way.push((next, 0)),
                },
            }
        }
    }
    circles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_circle_is_found_once() {
        assert_eq!(circles(&[vec![1], vec![2], vec![]]), Vec::<Vec<usize>>::new());
        assert_eq!(circles(&[vec![0]]), [[0, 0]]);
        assert_eq!(circles(&[vec![1], vec![0]]), [[0, 1, 0]]);
        assert_eq!(circles(&[vec![1], vec![2], vec![3], vec![1], vec![4]]), [vec![1, 2, 3, 1], vec![4, 4]]);
    }

    #[test]
    fn a_long_chain_is_no_trouble() {
        let edges: Vec<Vec<usize>> = (1..=20_000).map(|next| if next < 20_000 { vec![next] } else { vec![] }).collect();
        assert!(circles(&edges).is_empty());
    }
}
