//! What a client takes, by the `Accept` headers (RFC 9110 s. 12.4 and 12.5).

use http::{HeaderMap, header::AsHeaderName};

/// The names in a header's lists, in their order, in lower case, but for those that are refused: a weight of zero. Other
/// weights are not looked at: what is offered is so little that its own order decides.
pub(crate) fn accepted(headers: &HeaderMap, header: impl AsHeaderName) -> impl Iterator<Item = String> {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|part| {
        let mut parts = part.split(';').map(|part| part.trim().to_ascii_lowercase());
        let name = parts.next()?;
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse::<f32>().ok());
        weight.is_none_or(|weight| weight > 0.0).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;

    use super::*;

    #[test]
    fn names_come_in_their_order_whatever_their_case_but_for_those_that_are_refused() {
        let read = |values: &[&'static str]| {
            let headers = values.iter().map(|value| (ACCEPT, value.parse().unwrap())).collect();
            accepted(&headers, ACCEPT).collect::<Vec<_>>()
        };
        assert_eq!(read(&["Text/HTML, b;q=0.5", "c ; Q=1.0"]), ["text/html", "b", "c"]);
        assert_eq!(read(&["a;q=0, b;level=1;q=0.000, c;Q=0 , d"]), ["d"]);
        assert_eq!(read(&["a;q=x"]), ["a"]);
        assert_eq!(read(&[]), Vec::<String>::new());
    }
}
