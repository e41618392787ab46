//! Where things go in a frame of the live view, for any size of terminal. Apart from what is
//! drawn there, since it is arithmetic on sizes alone.

/// Checks that a target's sparkline goes back.
pub(super) const MARKS: usize = 30;
/// Rows of notes wanted, however many targets there are.
const NOTE_ROWS: usize = 5;

/// Which rows of the terminal hold what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Lines at the top.
    pub(super) head: usize,
    /// Whether there is room for blank lines and the columns' heads.
    pub(super) spaced: bool,
    /// Lines for targets.
    pub(super) table: usize,
    /// Lines for notes, without their rule; 0: no rule either.
    pub(super) notes: usize,
    /// Whether the last line says how to stop.
    pub(super) foot: bool,
}

impl Plan {
    pub(super) fn new(rows: usize, targets: usize) -> Plan {
        let head = if rows >= 5 { 2 } else { rows.min(1) };
        let (spaced, foot) = (rows >= 16, rows >= 3);
        let body = rows - head - usize::from(foot) - if spaced { 2 } else { 0 };
        if rows < 8 {
            return Plan { head, spaced, table: body, notes: 0, foot };
        }
        let rule = if spaced { 2 } else { 1 };
        let wanted = ((body - rule) / 3).clamp(1, NOTE_ROWS);
        let table = targets.min(body - rule - wanted);
        Plan { head, spaced, table, notes: body - rule - table, foot }
    }
}

/// How wide each column is; 0: left out.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) name: usize,
    pub(super) age: usize,
    pub(super) marks: usize,
}

impl Columns {
    /// `unknown`, and the longest times: `999.9 ms`, `59m 59s`.
    pub(super) const VERDICT: usize = 7;
    pub(super) const TIME: usize = 8;

    pub(super) fn new(cols: usize, longest: usize) -> Columns {
        let longest = longest.max("target".len());
        let fixed = Columns::VERDICT + Columns::TIME + 4;
        let (age, marks) = match cols {
            ..59 => (0, 0),
            59..99 => (4, 10),
            99..139 => (4, 20),
            _ => (4, MARKS),
        };
        let most = if age == 0 { cols.saturating_sub(fixed) } else { cols * 3 / 10 };
        Columns { name: longest.min(most), age, marks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_get_five_rows_where_there_is_room() {
        for (rows, targets, table, notes) in
            [(60, 1000, 48, 5), (24, 1000, 12, 5), (24, 3, 3, 14), (10, 1000, 4, 2), (7, 9, 4, 0)]
        {
            let plan = Plan::new(rows, targets);
            assert_eq!((plan.table, plan.notes), (table, notes), "{rows} {targets}");
        }
    }
}
