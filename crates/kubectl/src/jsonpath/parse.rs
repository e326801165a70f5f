//! From text to paths and templates.

use serde_json::Value;

use super::{Comparison, Filter, Operand, Part, Path, Start, Step};

type Parsed<T> = Result<T, String>;

/// Text that is read from its begin.
struct Cursor<'a> {
    rest: &'a str,
}

impl Cursor<'_> {
    fn take(&mut self, begin: &str) -> bool {
        match self.rest.strip_prefix(begin) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Text in quotes, the first of which is taken.
    fn quoted(&mut self, quote: char) -> Parsed<String> {
        let mut text = String::new();
        while let Some(c) = self.next() {
            match c {
                c if c == quote => return Ok(text),
                '\\' => text.push(match self.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some(other) => other,
                    None => break,
                }),
                c => text.push(c),
            }
        }
        Err("unterminated quoted string".into())
    }
}

/// A path that may stand in braces or not, and begin with a dot or not.
pub(super) fn relaxed(text: &str) -> Parsed<Path> {
    let inner = match text.trim() {
        "" => return Err("a path is empty: as .metadata.name".into()),
        text => match text.strip_prefix('{') {
            Some(rest) => rest.strip_suffix('}').ok_or_else(|| unexpected(text))?,
            None => text,
        },
    };
    if inner.contains(['{', '}']) {
        return Err(unexpected(text));
    }
    let inner = inner.trim();
    let begins = inner.starts_with(['.', '[', '@', '$']);
    let mut cursor = Cursor { rest: inner };
    let path = if begins { path(&mut cursor) } else { path_of(&mut cursor, Start::Here, true) }?;
    if cursor.rest.is_empty() { Ok(path) } else { Err(unexpected(text)) }
}

fn unexpected(text: &str) -> String {
    format!("unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{{name1.name2}}': {text}")
}

/// Text and paths.
pub(super) fn template(text: &str) -> Parsed<Vec<Part>> {
    let mut cursor = Cursor { rest: text };
    let (parts, ended) = parts(&mut cursor)?;
    if ended { Err("not in range, nothing to end".into()) } else { Ok(parts) }
}

/// Parts up to `{end}` or the end of the text; says which.
fn parts(cursor: &mut Cursor<'_>) -> Parsed<(Vec<Part>, bool)> {
    let mut parts = Vec::new();
    while !cursor.rest.is_empty() {
        let begin = cursor.rest.find('{').unwrap_or(cursor.rest.len());
        if begin > 0 {
            parts.push(Part::Text(cursor.rest[..begin].into()));
            cursor.rest = &cursor.rest[begin..];
            continue;
        }
        cursor.take("{");
        cursor.blanks();
        if cursor.take("end") {
            close(cursor)?;
            return Ok((parts, true));
        }
        if cursor.take("range ") {
            cursor.blanks();
            let over = path(cursor)?;
            close(cursor)?;
            let (inner, ended) = self::parts(cursor)?;
            if !ended {
                return Err("unterminated range, no {end}".into());
            }
            parts.push(Part::Range(over, inner));
            continue;
        }
        // `{.a .b}` is both.
        loop {
            cursor.blanks();
            match cursor.peek() {
                Some('}') | None => break,
                Some(quote @ ('"' | '\'')) => {
                    cursor.next();
                    parts.push(Part::Text(cursor.quoted(quote)?));
                }
                Some(_) => parts.push(Part::Path(path(cursor)?)),
            }
        }
        close(cursor)?;
    }
    Ok((parts, false))
}

fn close(cursor: &mut Cursor<'_>) -> Parsed<()> {
    cursor.blanks();
    if cursor.take("}") {
        return Ok(());
    }
    match cursor.peek() {
        None => Err("unclosed action".into()),
        Some(c) => Err(format!("unrecognized character in action: {c:?}")),
    }
}

fn path(cursor: &mut Cursor<'_>) -> Parsed<Path> {
    let start = if cursor.take("$") { Start::Root } else { Start::Here };
    if start == Start::Here {
        cursor.take("@");
    }
    path_of(cursor, start, false)
}

/// The steps of a path; `named` says that the first one is a name without its dot.
fn path_of(cursor: &mut Cursor<'_>, start: Start, named: bool) -> Parsed<Path> {
    let mut steps = Vec::new();
    if named {
        steps.push(name(cursor)?);
    }
    loop {
        if cursor.take("..") {
            steps.push(Step::Below);
            if !cursor.rest.starts_with('[') {
                steps.push(name(cursor)?);
            }
        } else if cursor.take(".") {
            // A dot alone is where one is.
            if cursor.rest.is_empty() || cursor.rest.starts_with(['}', ' ', '[', ')']) {
                continue;
            }
            steps.push(name(cursor)?);
        } else if cursor.take("[") {
            steps.push(brackets(cursor)?);
        } else {
            return match cursor.peek() {
                Some(c) if steps.is_empty() && !matches!(c, '}' | ')' | ' ') => {
                    Err(format!("unrecognized character in action: {c:?}"))
                }
                _ => Ok(Path { start, steps }),
            };
        }
    }
}

/// A name after a dot.
fn name(cursor: &mut Cursor<'_>) -> Parsed<Step> {
    if cursor.take("*") {
        return Ok(Step::All);
    }
    let mut name = String::new();
    while let Some(c) = cursor.peek() {
        match c {
            '\\' => {
                cursor.next();
                name.extend(cursor.next());
                continue;
            }
            '.' | '[' | ']' | '}' | '{' | ' ' | ')' | '(' | '=' | '!' | '<' | '>' | ',' | '"' | '\'' => break,
            c => name.push(c),
        }
        cursor.next();
    }
    if name.is_empty() { Err("a name is missing behind a dot".into()) } else { Ok(Step::Field(name)) }
}

/// What stands in brackets, the first of which is taken.
fn brackets(cursor: &mut Cursor<'_>) -> Parsed<Step> {
    cursor.blanks();
    if cursor.take("?(") {
        let filter = filter(cursor)?;
        cursor.blanks();
        if cursor.take(")") && cursor.take("]") {
            return Ok(Step::Filter(Box::new(filter)));
        }
        return Err("unterminated filter".into());
    }
    let mut items = Vec::new();
    loop {
        cursor.blanks();
        items.push(item(cursor)?);
        cursor.blanks();
        if cursor.take(",") {
            continue;
        }
        if !cursor.take("]") {
            return Err("unterminated array".into());
        }
        let only = if items.len() == 1 { items.pop() } else { None };
        return Ok(only.unwrap_or(Step::Union(items)));
    }
}

fn item(cursor: &mut Cursor<'_>) -> Parsed<Step> {
    if let Some(quote @ ('"' | '\'')) = cursor.peek() {
        cursor.next();
        let text = cursor.quoted(quote)?;
        let path = path_of(&mut Cursor { rest: &text }, Start::Here, true).map(|path| path.steps);
        return Ok(Step::Quoted(text, path.unwrap_or_default()));
    }
    if cursor.take("*") {
        return Ok(Step::All);
    }
    let end = cursor.rest.find([',', ']']).ok_or("unterminated array")?;
    let (text, rest) = cursor.rest.split_at(end);
    cursor.rest = rest;
    let wrong = || format!("invalid array index {text}");
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    let number = |text: &str| -> Parsed<Option<i64>> {
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| wrong()) }
    };
    match parts.as_slice() {
        [index] => number(index)?.map(Step::Index).ok_or_else(wrong),
        [begin, end] => Ok(Step::Slice(number(begin)?, number(end)?, 1)),
        [begin, end, step] => {
            let step = number(step)?.unwrap_or(1);
            if step < 1 {
                Err("step must be > 0".into())
            } else {
                Ok(Step::Slice(number(begin)?, number(end)?, step))
            }
        }
        _ => Err(wrong()),
    }
}

fn filter(cursor: &mut Cursor<'_>) -> Parsed<Filter> {
    const SIGNS: [(&str, Comparison); 6] = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    cursor.blanks();
    let left = operand(cursor)?;
    cursor.blanks();
    let sign = SIGNS.into_iter().find(|(sign, _)| cursor.take(sign));
    let test = match sign {
        Some((_, comparison)) => {
            cursor.blanks();
            Some((comparison, operand(cursor)?))
        }
        None if cursor.rest.starts_with(')') => None,
        None => return Err(format!("unrecognized operator in filter: {}", cursor.rest)),
    };
    Ok(Filter { left, test })
}

fn operand(cursor: &mut Cursor<'_>) -> Parsed<Operand> {
    match cursor.peek() {
        Some('@' | '$' | '.') => return Ok(Operand::Path(path(cursor)?)),
        Some(quote @ ('"' | '\'')) => {
            cursor.next();
            return Ok(Operand::Value(Value::String(cursor.quoted(quote)?)));
        }
        _ => {}
    }
    let end = cursor.rest.find([')', ' ', '=', '!', '<', '>']).unwrap_or(cursor.rest.len());
    let (text, rest) = cursor.rest.split_at(end);
    cursor.rest = rest;
    let value: Value =
        serde_json::from_str(text).map_err(|_| format!("unrecognized value in filter: {text}"))?;
    Ok(Operand::Value(value))
}
