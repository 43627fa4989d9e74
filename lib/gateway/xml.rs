//! XML from outside, read into a small tree: no DTD, no entities but the five that XML itself names, no processing instructions, and
//! limits on size, depth and nodes that hold before anything grows.
//!
//! Names are local: the namespaces of ISO 20022 differ by version only, and a message's own is looked at by whoever needs it.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

const SIZE_LIMIT: usize = 256 * 1024;
const DEPTH_LIMIT: usize = 32;
/// Elements, attributes and pieces of text together.
const NODE_LIMIT: usize = 4_096;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Unreadable {
    #[error("XML larger than {SIZE_LIMIT} bytes")]
    TooLarge,
    #[error("XML nested deeper than {DEPTH_LIMIT}")]
    TooDeep,
    #[error("XML of more than {NODE_LIMIT} nodes")]
    TooManyNodes,
    #[error("XML with a {0}, which is not taken")]
    NotTaken(&'static str),
    #[error("not well-formed XML in UTF-8")]
    Malformed,
}

/// An element: its local name, attributes, own text and children.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    pub(super) fn parse(text: &[u8]) -> Result<Self, Unreadable> {
        if text.len() > SIZE_LIMIT {
            return Err(Unreadable::TooLarge);
        }
        let text = std::str::from_utf8(text).map_err(|_| Unreadable::Malformed)?;
        Builder::default().build(Reader::from_str(text))
    }

    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The only child: None when there are several, or none.
    pub(super) fn only_child(&self) -> Option<&Self> {
        if self.children.len() == 1 { self.children.first() } else { None }
    }

    pub(super) fn children(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The element at the end of `path`, taking the first of each name.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// The text at the end of `path`, without the space around it; None when there is none.
    pub(super) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path).map(|element| element.text.trim()).filter(|text| !text.is_empty())
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct Builder {
    /// Elements that are open, outermost first.
    open: Vec<Element>,
    root: Option<Element>,
    nodes: usize,
}

impl Builder {
    fn build(mut self, mut reader: Reader<&[u8]>) -> Result<Element, Unreadable> {
        loop {
            match reader.read_event().map_err(|_| Unreadable::Malformed)? {
                Event::Start(start) => self.begin(&start)?,
                Event::Empty(start) => {
                    self.begin(&start)?;
                    self.end()?;
                }
                Event::End(_) => self.end()?,
                Event::Text(text) => self.text(&text.xml10_content())?,
                Event::CData(text) => self.text(&text.xml10_content())?,
                Event::GeneralRef(reference) => self.reference(&reference)?,
                Event::DocType(_) => return Err(Unreadable::NotTaken("document type")),
                Event::PI(_) => return Err(Unreadable::NotTaken("processing instruction")),
                Event::Comment(_) => self.count(1)?,
                Event::Decl(declaration) => match declaration.encoding() {
                    None => {}
                    Some(Ok(encoding)) if encoding.eq_ignore_ascii_case("utf-8") => {}
                    Some(_) => return Err(Unreadable::Malformed),
                },
                Event::Eof => return self.root.filter(|_| self.open.is_empty()).ok_or(Unreadable::Malformed),
            }
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), Unreadable> {
        self.nodes += nodes;
        if self.nodes > NODE_LIMIT { Err(Unreadable::TooManyNodes) } else { Ok(()) }
    }

    fn begin(&mut self, start: &BytesStart<'_>) -> Result<(), Unreadable> {
        self.count(1)?;
        if self.open.len() == DEPTH_LIMIT {
            return Err(Unreadable::TooDeep);
        }
        if self.open.is_empty() && self.root.is_some() {
            return Err(Unreadable::Malformed);
        }
        let mut element = Element { name: start.local_name().as_ref().to_owned(), ..Element::default() };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| Unreadable::Malformed)?;
            self.count(1)?;
            let value =
                attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).map_err(|_| Unreadable::Malformed)?;
            refuse_nul(&value)?;
            element.attributes.push((attribute.key.local_name().as_ref().to_owned(), value.into_owned()));
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Unreadable> {
        let element = self.open.pop().ok_or(Unreadable::Malformed)?;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    /// `&amp;` and its like, and characters by number. Nothing else can have been declared.
    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), Unreadable> {
        let character = reference.resolve_char_ref().map_err(|_| Unreadable::Malformed)?;
        match (character, resolve_predefined_entity(&reference.xml10_content())) {
            (Some(character), _) => self.text(character.encode_utf8(&mut [0; 4])),
            (None, Some(text)) => self.text(text),
            (None, None) => Err(Unreadable::NotTaken("declared entity")),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Unreadable> {
        self.count(1)?;
        refuse_nul(text)?;
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(Unreadable::Malformed),
        }
        Ok(())
    }
}

/// No character of XML, and PostgreSQL stores it in no text: what it stands in could never be recorded.
fn refuse_nul(text: &str) -> Result<(), Unreadable> {
    if text.contains('\0') { Err(Unreadable::Malformed) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Element, Unreadable> {
        Element::parse(text.as_bytes())
    }

    #[test]
    fn names_are_local_and_text_is_decoded() {
        let root = parse("<?xml version='1.0' encoding='UTF-8'?><a:R xmlns:a='x'><a:B c=' 1&lt;2 '> Tom &amp; J&#233;r&#x6f;me<![CDATA[ <3]]> </a:B><B/></a:R>")
            .unwrap();
        assert_eq!((root.name.as_str(), root.children("B").count()), ("R", 2));
        assert_eq!(root.text_at(&["B"]), Some("Tom & Jérome <3"));
        assert_eq!(root.child("B").unwrap().attribute("c"), Some(" 1<2 "));
        assert_eq!((root.text_at(&["B", "C"]), root.only_child()), (None, None));
    }

    #[test]
    fn text_that_no_column_can_hold_is_refused() {
        for text in
            ["<a>\0</a>", "<a>&#0;</a>", "<a>&#x00;</a>", "<a><![CDATA[\0]]></a>", "<a b='\0'/>", "<a b='&#0;'/>"]
        {
            assert_eq!(parse(text), Err(Unreadable::Malformed), "{text:?}");
        }
    }

    #[test]
    fn document_types_entities_and_instructions_are_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;\">]><a>&c;</a>";
        assert_eq!(parse(bomb), Err(Unreadable::NotTaken("document type")));
        assert_eq!(parse("<a>&c;</a>"), Err(Unreadable::NotTaken("declared entity")));
        assert_eq!(parse("<a b='&c;'/>"), Err(Unreadable::Malformed));
        assert_eq!(parse("<a><?xml-stylesheet href='x'?></a>"), Err(Unreadable::NotTaken("processing instruction")));
    }

    #[test]
    fn size_depth_and_nodes_have_limits() {
        let nested = |levels: usize| format!("{}{}", "<a>".repeat(levels), "</a>".repeat(levels));
        assert!(parse(&nested(DEPTH_LIMIT)).is_ok());
        assert_eq!(parse(&nested(DEPTH_LIMIT + 1)), Err(Unreadable::TooDeep));
        let many = |nodes: usize| format!("<a>{}</a>", "<b/>".repeat(nodes - 1));
        assert!(parse(&many(NODE_LIMIT)).is_ok());
        assert_eq!(parse(&many(NODE_LIMIT + 1)), Err(Unreadable::TooManyNodes));
        assert_eq!(parse("<a b='' c='' />").map(|root| root.attributes.len()), Ok(2));
        assert_eq!(parse(&format!("<a>{}</a>", " ".repeat(SIZE_LIMIT))), Err(Unreadable::TooLarge));
    }

    #[test]
    fn what_is_not_one_well_formed_tree_is_refused() {
        for text in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>x",
            "<a b='1' b='2'/>",
            "<a>&#xD800;</a>",
            "<a>&#0;</a>",
            "</a>",
        ] {
            assert_eq!(parse(text), Err(Unreadable::Malformed), "{text}");
        }
        assert_eq!(Element::parse(b"<a>\xff</a>"), Err(Unreadable::Malformed));
        assert_eq!(parse("<?xml version='1.0' encoding='ISO-8859-1'?><a/>"), Err(Unreadable::Malformed));
    }
}
