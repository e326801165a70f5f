//! The language of label selectors.
//!
//! Source: apimachinery `pkg/labels/selector.go` (`Lexer`, `Parser`), whose grammar stands at `Parse`.

use super::{Malformed, Operator, Requirement, check_key};
use crate::field::{Errors, Path};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    /// A word that may be an operator: `in`, `notin`.
    WordOperator(Operator),
    SymbolOperator(Operator),
    Not,
    Comma,
    Open,
    Close,
    Unknown,
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    kind: Kind,
    text: String,
}

pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, Malformed> {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut requirements = Vec::new();
    if parser.peek().kind == Kind::End {
        return Ok(requirements);
    }
    loop {
        let first = parser.peek();
        if !begins_requirement(first.kind) {
            let found = &first.text;
            return Err(Malformed(format!("found '{found}', expected: !, identifier, or 'end of string'")));
        }
        let requirement = parser.requirement();
        requirements
            .push(requirement.map_err(|why| Malformed(format!("unable to parse requirement: {why}")))?);
        let after = parser.next();
        match after.kind {
            Kind::End => return Ok(requirements),
            Kind::Comma if begins_requirement(parser.peek().kind) => {}
            Kind::Comma => {
                let found = &parser.peek().text;
                return Err(Malformed(format!("found '{found}', expected: identifier after ','")));
            }
            _ => {
                let found = &after.text;
                return Err(Malformed(format!("found '{found}', expected: ',' or 'end of string'")));
            }
        }
    }
}

fn begins_requirement(kind: Kind) -> bool {
    is_word(kind) || kind == Kind::Not
}

fn is_word(kind: Kind) -> bool {
    matches!(kind, Kind::Word | Kind::WordOperator(_))
}

fn is_symbol(c: char) -> bool {
    "=!(),><".contains(c)
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_symbol(first) {
            symbol_length(rest)
        } else {
            rest.find(|c: char| is_symbol(c) || c.is_whitespace()).unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(length);
        tokens.push(Token { kind: kind_of(token), text: token.into() });
        rest = after.trim_start();
    }
    tokens.push(Token { kind: Kind::End, text: String::new() });
    tokens
}

fn symbol_length(text: &str) -> usize {
    if text.starts_with("==") || text.starts_with("!=") { 2 } else { 1 }
}

fn kind_of(token: &str) -> Kind {
    match token {
        "in" => Kind::WordOperator(Operator::In),
        "notin" => Kind::WordOperator(Operator::NotIn),
        "=" => Kind::SymbolOperator(Operator::Equals),
        "==" => Kind::SymbolOperator(Operator::DoubleEquals),
        "!=" => Kind::SymbolOperator(Operator::NotEquals),
        ">" => Kind::SymbolOperator(Operator::GreaterThan),
        "<" => Kind::SymbolOperator(Operator::LessThan),
        "!" => Kind::Not,
        "," => Kind::Comma,
        "(" => Kind::Open,
        ")" => Kind::Close,
        other if other.starts_with(is_symbol) => Kind::Unknown,
        _ => Kind::Word,
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Token {
        // The last one is the end, and stays.
        self.tokens
            .get(self.at)
            .or(self.tokens.last())
            .cloned()
            .unwrap_or(Token { kind: Kind::End, text: String::new() })
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, Malformed> {
        let negated = self.peek().kind == Kind::Not;
        if negated {
            self.next();
        }
        let key = self.next();
        if !is_word(key.kind) {
            return Err(Malformed(format!("found '{}', expected: identifier", key.text)));
        }
        let mut errors = Errors::default();
        check_key(&key.text, &Path::new("<nil>"), &mut errors);
        if let Some(error) = errors.into_vec().first() {
            return Err(Malformed(error.to_string()));
        }
        if negated {
            return Requirement::new(&key.text, Operator::DoesNotExist, vec![]);
        }
        if matches!(self.peek().kind, Kind::End | Kind::Comma) {
            return Requirement::new(&key.text, Operator::Exists, vec![]);
        }
        let token = self.next();
        let (Kind::WordOperator(operator) | Kind::SymbolOperator(operator)) = token.kind else {
            let expected = "in, notin, =, ==, !=, gt, lt";
            return Err(Malformed(format!("found '{}', expected: {expected}", token.text)));
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.value()?],
        };
        Requirement::new(&key.text, operator, values)
    }

    /// One value; none is an empty one.
    fn value(&mut self) -> Result<String, Malformed> {
        let token = self.peek();
        match token.kind {
            Kind::End | Kind::Comma => Ok(String::new()),
            kind if is_word(kind) => Ok(self.next().text),
            _ => Err(Malformed(format!("found '{}', expected: identifier", token.text))),
        }
    }

    /// Values in parentheses; nothing between commas is an empty one.
    fn values(&mut self) -> Result<Vec<String>, Malformed> {
        let open = self.next();
        if open.kind != Kind::Open {
            return Err(Malformed(format!("found '{}' expected: '('", open.text)));
        }
        let mut values = Vec::new();
        loop {
            let token = self.next();
            let ended = match token.kind {
                Kind::Close => {
                    values.push(String::new());
                    true
                }
                Kind::Comma => {
                    values.push(String::new());
                    false
                }
                kind if is_word(kind) => {
                    values.push(token.text);
                    let after = self.next();
                    match after.kind {
                        Kind::Close => true,
                        Kind::Comma => false,
                        _ => return Err(Malformed(format!("found '{}', expected: ',' or ')'", after.text))),
                    }
                }
                _ => return Err(Malformed(format!("found '{}', expected: ',', or identifier", token.text))),
            };
            if ended {
                return Ok(values);
            }
        }
    }
}
