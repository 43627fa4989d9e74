//! What is done to callbacks by those who must not be believed. Everything follows from a seed.

use rand::rngs::StdRng;
use rand::{Rng, RngCore};
use time::{Duration, OffsetDateTime};

use super::forge::{Dialect, Keys, Message};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Attack {
    Forged,
    BodyAltered,
    SignatureAltered,
    SignatureOfAnother,
    Stale,
    Future,
    OtherGatewaysKey,
    OtherGatewaysMessage,
    Unsigned,
    HeaderTwice,
    TooManySignatures,
    HeadersOfNoise,
    /// Signed by the gateway itself, and not a message.
    CutShort,
    Noise,
    Nested,
    NotOfTheDialect,
    Oversized,
    OtherType,
}

impl Attack {
    pub const ALL: [Self; 18] = [
        Self::Forged,
        Self::BodyAltered,
        Self::SignatureAltered,
        Self::SignatureOfAnother,
        Self::Stale,
        Self::Future,
        Self::OtherGatewaysKey,
        Self::OtherGatewaysMessage,
        Self::Unsigned,
        Self::HeaderTwice,
        Self::TooManySignatures,
        Self::HeadersOfNoise,
        Self::CutShort,
        Self::Noise,
        Self::Nested,
        Self::NotOfTheDialect,
        Self::Oversized,
        Self::OtherType,
    ];

    /// How it must be answered.
    pub fn answer(self) -> u16 {
        match self {
            Self::CutShort | Self::Noise | Self::Nested | Self::NotOfTheDialect => 400,
            Self::Oversized => 413,
            Self::OtherType => 415,
            _ => 401,
        }
    }

    /// Large ones are rare: what is to be tried is the many kinds, not the network.
    pub fn is_drawn(self, rng: &mut StdRng) -> bool {
        !matches!(self, Self::Oversized | Self::Nested) || rng.random_ratio(1, 50)
    }
}

pub struct Attacker {
    pub genuine: Keys,
    pub guessed: Keys,
    pub exchanged: Keys,
    pub limit: usize,
}

impl Attacker {
    pub fn make(&self, attack: Attack, dialect: Dialect, rng: &mut StdRng, now: OffsetDateTime) -> Message {
        let id = format!("msg_{:016x}", rng.next_u64());
        let body = varied(dialect, rng);
        let genuine = |at| self.genuine.sign(dialect, &id, at, &body);
        let far = Duration::seconds(rng.random_range(310..40_000_000));
        match attack {
            Attack::Forged => self.guessed.sign(dialect, &id, now, &body),
            Attack::OtherGatewaysKey => self.exchanged.sign(dialect, &id, now, &body),
            Attack::Stale => genuine(now - far),
            Attack::Future => genuine(now + far),
            Attack::BodyAltered => {
                let mut message = genuine(now);
                alter(&mut message.body, rng);
                message
            }
            Attack::SignatureAltered => {
                let mut message = genuine(now);
                alter_text(message.header_mut(dialect.signature()), rng);
                message
            }
            Attack::SignatureOfAnother => Message { body: varied(dialect, rng), ..genuine(now) },
            Attack::OtherGatewaysMessage => {
                let others = Dialect::ALL.map(|other| self.genuine.sign(other, &id, now, &varied(other, rng)));
                let other = (dialect as usize + rng.random_range(1..3)) % 3;
                others[other].clone()
            }
            Attack::Unsigned => {
                let mut message = genuine(now);
                let gone = rng.random_range(1..message.headers.len());
                message.headers.remove(gone);
                message
            }
            Attack::HeaderTwice => {
                let mut message = genuine(now);
                let forged = self.guessed.sign(dialect, &id, now, &body);
                let header = forged.headers.last().unwrap().clone();
                message.headers.insert(rng.random_range(0..=message.headers.len()), header);
                message
            }
            Attack::TooManySignatures => self.last_of_many(dialect, genuine(now), rng),
            Attack::HeadersOfNoise => {
                let mut message = genuine(now);
                let noisy = rng.random_range(1..message.headers.len());
                message.headers[noisy].1 = (0..rng.random_range(0..200)).map(|_| rng.random_range('!'..='~')).collect();
                message
            }
            Attack::CutShort => {
                let end = body.iter().rposition(|byte| !byte.is_ascii_whitespace()).unwrap();
                self.genuine.sign(dialect, &id, now, &body[..rng.random_range(0..end)])
            }
            Attack::Noise => {
                let mut noise = vec![0; rng.random_range(0..2_000)];
                rng.fill_bytes(&mut noise);
                self.genuine.sign(dialect, &id, now, &noise)
            }
            Attack::Nested => self.genuine.sign(dialect, &id, now, &nested(dialect, rng.random_range(1_000..20_000))),
            Attack::NotOfTheDialect => self.genuine.sign(dialect, &id, now, &misfit(dialect, rng)),
            Attack::Oversized => {
                let mut large = body.clone();
                large.resize(self.limit + rng.random_range(1..1_000), b' ');
                self.genuine.sign(dialect, &id, now, &large)
            }
            Attack::OtherType => {
                let mut message = genuine(now);
                let types = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "jason", ""];
                *message.header_mut("content-type") = types[rng.random_range(0..types.len())].to_owned();
                message
            }
        }
    }

    /// The gateway's own signature behind more than are tried. PayPal's scheme has one: it comes with a remark.
    fn last_of_many(&self, dialect: Dialect, mut message: Message, rng: &mut StdRng) -> Message {
        let own = message.header_mut(dialect.signature()).clone();
        let wrong = |rng: &mut StdRng| -> String {
            (0..64).map(|_| char::from(b"0123456789abcdef"[rng.random_range(0..16)])).collect()
        };
        *message.header_mut(dialect.signature()) = match dialect {
            Dialect::Stripe => {
                let (time, own) = own.split_once(',').unwrap();
                let wrong: Vec<String> = (0..rng.random_range(5..60)).map(|_| format!("v1={}", wrong(rng))).collect();
                format!("{time},{},{own}", wrong.join(","))
            }
            Dialect::Bank => {
                let wrong: Vec<String> = (0..rng.random_range(5..60)).map(|_| format!("v1,{}", wrong(rng))).collect();
                format!("{} {own}", wrong.join(" "))
            }
            Dialect::Paypal => format!("{own} {}", wrong(rng)),
        };
        message
    }
}

/// The dialect's message about a payment of its own: no two have the same bytes.
fn varied(dialect: Dialect, rng: &mut StdRng) -> Vec<u8> {
    let own = rng.next_u64() >> 16;
    let written = dialect.body().replace("8000-000000000001", &format!("8000-{own:012x}"));
    written.replace("8000000000000001", &format!("8000{own:012x}")).into_bytes()
}

/// One change that leaves other bytes.
fn alter(body: &mut Vec<u8>, rng: &mut StdRng) {
    let at = rng.random_range(0..body.len());
    match rng.random_range(0..4) {
        0 => body[at] ^= 1 << rng.random_range(0..8),
        1 => body.insert(at, rng.random_range(b'!'..=b'~') ^ 0x80),
        2 => body.truncate(at),
        _ => body.extend_from_slice(b"\n"),
    }
}

/// One digit of the signature's middle becomes another, whatever the alphabet: letters keep their case, so that no hexadecimal digit
/// stays the same one.
fn alter_text(text: &mut String, rng: &mut StdRng) {
    let mut bytes = text.clone().into_bytes();
    let at = bytes.len() - 40 + rng.random_range(0..30);
    bytes[at] = match bytes[at] {
        b'a'..=b'f' => b'0' + rng.random_range(0..10),
        _ => b'a' + rng.random_range(0..6),
    };
    *text = String::from_utf8(bytes).unwrap();
}

/// Deeper than anything a gateway sends.
fn nested(dialect: Dialect, depth: usize) -> Vec<u8> {
    match dialect {
        Dialect::Bank => format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth)),
        _ => format!("{{\"id\": \"evt_1\", \"type\": \"x\", \"event_type\": \"x\", \"data\": {{\"object\": {0}{1}}}, \"resource\": {0}{1}}}", "[".repeat(depth), "]".repeat(depth)),
    }
    .into_bytes()
}

/// Well-formed, signed, and still none of the gateway's messages.
fn misfit(dialect: Dialect, rng: &mut StdRng) -> Vec<u8> {
    const JSON: [&str; 8] = [
        "null",
        "[]",
        "{}",
        "\"evt_1\"",
        "{\"id\": 7, \"type\": \"charge.updated\", \"event_type\": 7, \"data\": {\"object\": {}}}",
        "{\"id\": \"evt_1\"}",
        "{\"id\": null, \"type\": null, \"event_type\": null, \"data\": null, \"resource\": {}}",
        "{\"data\": {\"object\": {\"object\": \"payment_intent\"}}}",
    ];
    const XML: [&str; 6] = [
        "<Document/>",
        "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;&b;&b;\">]><Document>&c;</Document>",
        "<?xml version=\"1.0\"?><!DOCTYPE a SYSTEM \"file:///etc/passwd\"><Document/>",
        "<a><b></a></b>",
        "<Document>&undeclared;</Document>",
        "<Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.002.001.10\"><CstmrPmtStsRpt/></Document>",
    ];
    let text = match dialect {
        Dialect::Bank => XML[rng.random_range(0..XML.len())],
        _ => JSON[rng.random_range(0..JSON.len())],
    };
    format!("{text}{}", " ".repeat(rng.random_range(0..64))).into_bytes()
}
