//! Text whose columns end at tabs, as Go's `text/tabwriter` aligns it: a column is as wide as its widest
//! cell, among lines that stand together and have it.

/// Blanks between columns (kubectl `pkg/describe`: `tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)`).
const PADDING: usize = 2;

pub(super) fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let most = lines.iter().map(Vec::len).max().unwrap_or_default();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len()]).collect();
    for column in 0..most {
        let has = |line: &Vec<&str>| line.len() > column + 1;
        let mut begin = 0;
        while begin < lines.len() {
            let end = begin + lines[begin..].iter().take_while(|line| has(line)).count();
            let width = lines[begin..end].iter().map(|line| line[column].chars().count() + PADDING).max();
            for widths in &mut widths[begin..end] {
                widths[column] = width.unwrap_or_default();
            }
            begin = end.max(begin + 1);
        }
    }
    let mut aligned = String::new();
    for (line, widths) in lines.iter().zip(&widths) {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        aligned.push_str(cells.collect::<String>().trim_end());
        aligned.push('\n');
    }
    aligned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_stand_together_are_aligned() {
        let text = "Name:\ta\nNamespace:\tdefault\nContainers:\n  c:\n    Port:\t80\n    Host Port:\t0\nX:\ty\n\
                    A\tB\tC\nlonger\tb\tc\n";
        insta::assert_snapshot!(align(text), @r"
        Name:       a
        Namespace:  default
        Containers:
          c:
            Port:       80
            Host Port:  0
        X:              y
        A               B  C
        longer          b  c
        ");
    }
}
