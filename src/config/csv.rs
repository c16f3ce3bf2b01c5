//! Comma-separated values (RFC 4180) with the place of every field.

use std::ops::Range;

use crate::model::Mistake;

/// One field: its text without quotes, and where it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The text.
    pub text: String,
    /// Its bytes in the file, quotes included.
    pub span: Range<usize>,
}

/// Rows of fields; empty lines are left out. `;` and tabs separate, too, where the first line has more
/// of them than commas. A byte order mark and both kinds of line ends are read over.
pub fn read(text: &str) -> Result<Vec<Vec<Field>>, Mistake> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let separator = separator(body.lines().next().unwrap_or(""));
    let mut reader = Reader { text, at: text.len() - body.len() };
    let mut rows = Vec::new();
    let mut row = Vec::new();
    while reader.at < text.len() || !row.is_empty() {
        row.push(reader.field(separator)?);
        // A separator at the very end has an empty field behind it.
        if reader.next() != Some(separator) {
            rows.push(std::mem::take(&mut row));
        }
    }
    rows.retain(|row: &Vec<Field>| row.iter().any(|field| !field.span.is_empty()));
    Ok(rows)
}

fn separator(first: &str) -> char {
    let count = |c: char| first.matches(c).count();
    // The first of the best: a comma where nothing speaks for another one.
    [';', '\t'].into_iter().fold(',', |best, c| if count(c) > count(best) { c } else { best })
}

/// Quotes a field where it needs to be.
pub fn quoted(text: &str) -> String {
    let plain = !text.contains(['"', ',', ';', '\t', '\n', '\r']) && text.trim() == text;
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// The next character; both bytes of CR LF are one line end.
    fn next(&mut self) -> Option<char> {
        let rest = self.rest();
        let (c, length) = match rest.strip_prefix("\r\n") {
            Some(_) => ('\n', 2),
            None => rest.chars().next().map(|c| (c, c.len_utf8()))?,
        };
        self.at += length;
        Some(c)
    }

    fn field(&mut self, separator: char) -> Result<Field, Mistake> {
        if self.rest().starts_with('"') {
            return self.quoted_field(separator);
        }
        let start = self.at;
        let rest = self.rest();
        let line = rest.find([separator, '\n']).unwrap_or(rest.len());
        let raw = rest.get(..line).unwrap_or("");
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        let field = raw.trim();
        let lead = raw.len() - raw.trim_start().len();
        let span = start + lead..start + lead + field.len();
        let field = Field { text: field.to_owned(), span };
        self.at = start + raw.len();
        Ok(field)
    }

    fn quoted_field(&mut self, separator: char) -> Result<Field, Mistake> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let Some(quote) = rest.find('"') else {
                let line =
                    self.text.get(start..).and_then(|t| t.find('\n')).map_or(self.text.len(), |n| start + n);
                return Err(Mistake::new(
                    "syntax",
                    start..line,
                    "a quote is opened and never closed",
                    "end the field with a quote; a quote inside is written twice",
                ));
            };
            text.push_str(rest.get(..quote).unwrap_or(""));
            let doubled = rest.get(quote + 1..).is_some_and(|rest| rest.starts_with('"'));
            self.at += quote + 1;
            if !doubled {
                break;
            }
            text.push('"');
            self.at += 1;
        }
        let rest = self.rest();
        if !(rest.is_empty() || rest.starts_with([separator, '\n']) || rest.starts_with("\r\n")) {
            let end = rest.chars().next().map_or(self.at, |c| self.at + c.len_utf8());
            return Err(Mistake::new(
                "syntax",
                self.at..end,
                "something follows the closing quote",
                "a quote inside a quoted field is written twice",
            ));
        }
        Ok(Field { text, span: start..self.at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<Vec<String>> {
        let rows = read(text).unwrap();
        rows.into_iter().map(|row| row.into_iter().map(|f| f.text).collect()).collect()
    }

    #[test]
    fn separators_quotes_line_ends_and_a_byte_order_mark_are_read() {
        let wanted = vec![vec!["a", "b"], vec!["1,5", ""], vec!["say \"x\"\nor y", "2"]];
        for text in [
            "a,b\n\"1,5\",\n\"say \"\"x\"\"\nor y\",2",
            "\u{feff}a;b\r\n1,5;\r\n\r\n\"say \"\"x\"\"\nor y\"; 2 \r\n",
            "a\tb\n1,5\t\n\"say \"\"x\"\"\nor y\"\t2\n\n",
        ] {
            assert_eq!(texts(text), wanted, "{text:?}");
        }
        assert_eq!(texts(""), Vec::<Vec<String>>::new());
        assert_eq!(texts("a,\nb,"), [["a", ""], ["b", ""]]);
        assert_eq!(texts("a"), [["a"]]);
    }

    #[test]
    fn a_field_knows_its_place() {
        let text = "\u{feff}a, bc\r\n\"d\",e";
        let rows = read(text).unwrap();
        let spans: Vec<&str> = rows.iter().flatten().map(|f| &text[f.span.clone()]).collect();
        assert_eq!(spans, ["a", "bc", "\"d\"", "e"]);
    }

    #[test]
    fn wrong_quotes_are_told_at_their_place() {
        assert_eq!(read("a,b\n\"c,d\ne").unwrap_err().span, 4..8);
        assert_eq!(read("a,b\n\"c\"d,e").unwrap_err().span, 7..8);
    }
}
